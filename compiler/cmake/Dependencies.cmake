# Everything the project takes from outside, and the build types.

option(TIDEGATE_STATIC_LLVM "Link MLIR and LLVM statically into the tools" OFF)
option(TIDEGATE_SANITIZE "Build with address and undefined-behaviour sanitizers" OFF)
option(TIDEGATE_TESTS "Build the tests" ON)
option(TIDEGATE_PYTHON "Build the Python module, from position-independent objects" OFF)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
if(TIDEGATE_PYTHON) # A shared library of the same objects as the tools.
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()
# The build type Dev has no flags of its own: quick to compile, fast enough to
# run the tests.
if(TIDEGATE_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

find_program(TIDEGATE_LLVM_CONFIG NAMES llvm-config-22 REQUIRED)
execute_process(COMMAND ${TIDEGATE_LLVM_CONFIG} --cmakedir OUTPUT_VARIABLE llvm_cmake_dir
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${TIDEGATE_LLVM_CONFIG} --bindir OUTPUT_VARIABLE TIDEGATE_LLVM_BIN
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
find_package(LLVM 22.1 REQUIRED CONFIG PATHS ${llvm_cmake_dir} NO_DEFAULT_PATH)
find_package(MLIR REQUIRED CONFIG PATHS ${llvm_cmake_dir}/../mlir NO_DEFAULT_PATH)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
set(LLVM_EXTERNAL_LIT ${TIDEGATE_LLVM_BIN}/lit)
include(TableGen)
include(AddLLVM)
include(AddMLIR)

find_package(OpenMP REQUIRED COMPONENTS CXX)
if(TIDEGATE_STATIC_LLVM)
  set(Boost_USE_STATIC_LIBS ON)
endif()
find_package(Threads REQUIRED)
find_package(Boost REQUIRED COMPONENTS program_options)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(ZLIB REQUIRED)

if(TIDEGATE_STATIC_LLVM)
  if(NOT TARGET MLIRIR)
    message(FATAL_ERROR "TIDEGATE_STATIC_LLVM needs MLIR's static archives (libmlir-22-dev)")
  endif()
  find_program(LLD NAMES ld.lld-22 ld.lld)
  if(LLD)
    add_link_options(-fuse-ld=lld)
  endif()
  add_compile_options(-ffunction-sections -fdata-sections)
  add_link_options(-Wl,--gc-sections -static-libstdc++ -static-libgcc)
endif()
