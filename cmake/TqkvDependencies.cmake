# SPDX-License-Identifier: MIT
# Finds what the chosen parts need, and says which Debian package is missing.

if(TQKV_BUILD_CLI AND NOT TQKV_BUILD_IO)
    message(FATAL_ERROR "TQKV_BUILD_CLI needs TQKV_BUILD_IO: turn both on, or both off.")
endif()
if(TQKV_BUILD_CLI AND NOT TQKV_BUILD_LM)
    message(FATAL_ERROR "TQKV_BUILD_CLI needs TQKV_BUILD_LM, for tqkv eval and generate: turn both on, or both off.")
endif()
if(TQKV_BUILD_LM AND NOT TQKV_BUILD_IO)
    message(FATAL_ERROR "TQKV_BUILD_LM needs TQKV_BUILD_IO: turn both on, or both off.")
endif()
if(TQKV_FUZZ AND NOT TQKV_BUILD_IO)
    message(FATAL_ERROR "TQKV_FUZZ needs TQKV_BUILD_IO: it is the file readers that are fuzzed.")
endif()
if(TQKV_FUZZ AND NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TQKV_FUZZ needs clang: configure in a new folder with -DCMAKE_C_COMPILER=clang.")
endif()

find_package(PkgConfig)
if(NOT PKG_CONFIG_FOUND)
    message(FATAL_ERROR "pkg-config is missing (Debian package pkg-config). Run scripts/install-deps.")
endif()

# tqkv_require(PREFIX module package group): gives PkgConfig::PREFIX
function(tqkv_require prefix module package group)
    pkg_check_modules(${prefix} QUIET IMPORTED_TARGET GLOBAL ${module})
    if(NOT ${prefix}_FOUND)
        message(FATAL_ERROR "${module} is missing (Debian package ${package}). "
                            "Run scripts/install-deps ${group}, then configure again.")
    endif()
endfunction()

if(TQKV_OPENMP)
    find_package(OpenMP COMPONENTS C)
    if(NOT OpenMP_C_FOUND)
        message(FATAL_ERROR "OpenMP is missing: with clang, install Debian's libomp-dev; "
                            "or configure with -DTQKV_OPENMP=OFF.")
    endif()
    # The driver knows where its runtime lies, here and where the static library is linked.
    separate_arguments(TQKV_OPENMP_FLAGS NATIVE_COMMAND "${OpenMP_C_FLAGS}")
    include(CheckLinkerFlag)
    check_linker_flag(C -Wl,-z,nodelete TQKV_HAS_NODELETE)
    if(TQKV_HAS_NODELETE)
        set(TQKV_OPENMP_STAYS -Wl,-z,nodelete)
    endif()
endif()

# Its header alone, while the library is built: programs that use the library need nothing of it.
tqkv_require(XXHASH libxxhash libxxhash-dev build)
if(TQKV_BUILD_IO)
    tqkv_require(JANSSON jansson libjansson-dev build)
endif()
if(TQKV_BUILD_LM)
    tqkv_require(OPENBLAS openblas libopenblas-pthread-dev build)
endif()
if(TQKV_BUILD_CLI)
    tqkv_require(POPT popt libpopt-dev build)
    tqkv_require(SMARTCOLS smartcols libsmartcols-dev build)
endif()
if(TQKV_BUILD_TESTS)
    tqkv_require(CMOCKA cmocka libcmocka-dev test)
endif()
