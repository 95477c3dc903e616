# SPDX-License-Identifier: MIT
# How every file of the project is compiled.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release)
endif()

# Results are defined to the byte, which these options give up.
if("${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_RELEASE} $ENV{CFLAGS}" MATCHES "-ffast-math|-Ofast|-funsafe-math")
    message(FATAL_ERROR "CFLAGS hold ${CMAKE_MATCH_0}: tqkv's results are defined to the byte and it "
                        "cannot be built so. Remove it, delete ${CMAKE_BINARY_DIR} and configure again.")
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
# POSIX.1-2008 with its XSI part, where glibc keeps realpath().
add_compile_definitions(_XOPEN_SOURCE=700)
add_compile_options(
    -ffp-contract=off
    -Wall
    -Wextra
    -Wpedantic
    -Wshadow
    -Wconversion
    -Wstrict-prototypes
    -Wmissing-prototypes
    -Wvla)
if(TQKV_WERROR)
    add_compile_options(-Werror)
endif()

if(TQKV_PLANT_FAULT)
    add_compile_definitions(TQKV_PLANT_FAULT)
endif()

if(TQKV_SANITIZE)
    set(sanitize -fsanitize=${TQKV_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_compile_options(${sanitize})
    add_link_options(${sanitize})
endif()
if(TQKV_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()

# The build tree looks as the installed one does, and can be moved as a whole.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
