# House functions over MLIR's CMake. Libraries are static archives of ours; the
# tools link MLIR and LLVM once, shared or (TIDEGATE_STATIC_LLVM) static.

# Headers of MLIR and LLVM, their warnings silenced, for code that uses the IR.
add_library(tidegate_mlir INTERFACE)
target_include_directories(tidegate_mlir SYSTEM INTERFACE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
target_compile_definitions(tidegate_mlir INTERFACE ${LLVM_DEFINITIONS_LIST})
if(TIDEGATE_STATIC_LLVM)
  # Every archive in one group: the linker takes the members that are used, and
  # drops the sections that are not.
  file(GLOB mlir_archives ${LLVM_LIBRARY_DIR}/libMLIR*.a)
  execute_process(COMMAND ${TIDEGATE_LLVM_CONFIG} --link-static --libfiles orcjit native passes
                  OUTPUT_VARIABLE llvm_archives OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(llvm_archives)
  find_library(ZSTD_ARCHIVE libzstd.a REQUIRED)
  find_library(ZLIB_ARCHIVE libz.a REQUIRED)
  target_link_libraries(tidegate_mlir INTERFACE -Wl,--start-group ${mlir_archives} ${llvm_archives} -Wl,--end-group
                        ${ZSTD_ARCHIVE} ${ZLIB_ARCHIVE} ${CMAKE_DL_LIBS} rt m)
else()
  target_link_libraries(tidegate_mlir INTERFACE MLIR LLVM)
endif()

# tidegate_library(<Name> [MLIR] SOURCES ... [LINK ...] [DEPENDS ...])
# A static library `Tidegate<Name>`; MLIR says that it uses the IR.
function(tidegate_library name)
  cmake_parse_arguments(arg "MLIR" "" "SOURCES;LINK;DEPENDS" ${ARGN})
  set(target Tidegate${name})
  add_library(${target} STATIC ${arg_SOURCES})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-comment
                         -Wno-maybe-uninitialized -Wno-restrict) # false alarms of GCC 12
  target_link_libraries(${target} PUBLIC ${arg_LINK})
  if(arg_MLIR)
    target_link_libraries(${target} PUBLIC tidegate_mlir)
    # Debian's MLIR is a release build: NDEBUG changes the size of its types.
    target_compile_definitions(${target} PRIVATE NDEBUG)
    # The compiler's own speed is not what users wait for; building it is.
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  if(arg_DEPENDS)
    add_dependencies(${target} ${arg_DEPENDS})
  endif()
endfunction()

# tidegate_dialect(<Name> NAMESPACE <ns> SOURCES ... [LINK ...] [DEPENDS ...])
# Runs tablegen on <Name>Ops.td (dialect, ops, types, attributes, enums) and
# builds `Tidegate<Name>`.
function(tidegate_dialect name)
  cmake_parse_arguments(arg "" "NAMESPACE" "SOURCES;LINK;DEPENDS" ${ARGN})
  set(LLVM_TARGET_DEFINITIONS ${name}Ops.td)
  mlir_tablegen(${name}Dialect.h.inc -gen-dialect-decls -dialect=${arg_NAMESPACE})
  mlir_tablegen(${name}Dialect.cpp.inc -gen-dialect-defs -dialect=${arg_NAMESPACE})
  mlir_tablegen(${name}Ops.h.inc -gen-op-decls)
  mlir_tablegen(${name}Ops.cpp.inc -gen-op-defs)
  mlir_tablegen(${name}Enums.h.inc -gen-enum-decls)
  mlir_tablegen(${name}Enums.cpp.inc -gen-enum-defs)
  mlir_tablegen(${name}Attributes.h.inc -gen-attrdef-decls -attrdefs-dialect=${arg_NAMESPACE})
  mlir_tablegen(${name}Attributes.cpp.inc -gen-attrdef-defs -attrdefs-dialect=${arg_NAMESPACE})
  add_public_tablegen_target(Tidegate${name}IncGen)
  tidegate_library(${name} MLIR SOURCES ${arg_SOURCES} LINK ${arg_LINK}
                   DEPENDS Tidegate${name}IncGen ${arg_DEPENDS})
  set_property(GLOBAL APPEND PROPERTY TIDEGATE_IR_LIBS Tidegate${name})
endfunction()

# tidegate_interfaces(<Name> OP|ATTR ...): tablegen of one interface file <Name>.td.
function(tidegate_interface name)
  set(LLVM_TARGET_DEFINITIONS ${name}.td)
  mlir_tablegen(${name}.h.inc -gen-op-interface-decls)
  mlir_tablegen(${name}.cpp.inc -gen-op-interface-defs)
  add_public_tablegen_target(Tidegate${name}IncGen)
endfunction()

# tidegate_passes(<Name> SOURCES ... [LINK ...]): passes declared in Passes.td.
function(tidegate_passes name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  set(LLVM_TARGET_DEFINITIONS Passes.td)
  mlir_tablegen(Passes.h.inc -gen-pass-decls -name ${name})
  add_public_tablegen_target(Tidegate${name}PassesIncGen)
  tidegate_library(${name}Passes MLIR SOURCES ${arg_SOURCES} LINK ${arg_LINK}
                   DEPENDS Tidegate${name}PassesIncGen)
  set_property(GLOBAL APPEND PROPERTY TIDEGATE_PASS_LIBS Tidegate${name}Passes)
endfunction()

# tidegate_executable(<name> SOURCES ... LINK ...)
function(tidegate_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-comment
                         -Wno-maybe-uninitialized -Wno-restrict) # false alarms of GCC 12
  target_compile_definitions(${name} PRIVATE NDEBUG)
  target_link_libraries(${name} PRIVATE ${arg_LINK} tidegate_mlir)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

# tidegate_unit_test(<Name> SOURCES ... LINK ...): a GoogleTest program, one ctest entry.
function(tidegate_unit_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  set(target ${name}Test)
  add_executable(${target} ${arg_SOURCES})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_compile_definitions(${target} PRIVATE TIDEGATE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE ${arg_LINK} GTest::gtest GTest::gtest_main)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/unit)
  add_test(NAME unit.${name} COMMAND ${target})
  if(arg_TIMEOUT)
    set_tests_properties(unit.${name} PROPERTIES TIMEOUT ${arg_TIMEOUT})
  endif()
endfunction()
