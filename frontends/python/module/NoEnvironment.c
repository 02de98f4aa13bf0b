/* What the copy of Boost.Program_options in this library takes for `environ`; see CMakeLists.txt. */
__attribute__((visibility("hidden"))) char **tidegate_no_environment = 0;
