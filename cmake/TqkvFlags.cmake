# SPDX-License-Identifier: MIT
# How every file of the project is compiled.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release)
endif()

# Results are defined to the byte, which these options give up. src/base/arch.h has the last word, for each file
# and for options that are not seen here; this is said sooner, and knows some that leave no trace in a macro.
get_directory_property(all_options COMPILE_OPTIONS)
string(APPEND all_options " ${CMAKE_C_FLAGS}")
foreach(config ${CMAKE_BUILD_TYPE} ${CMAKE_CONFIGURATION_TYPES})
    string(TOUPPER ${config} config)
    string(APPEND all_options " ${CMAKE_C_FLAGS_${config}}")
endforeach()
if(all_options MATCHES "-Ofast|-f(fast-math|finite-math-only|unsafe-math-optimizations|associative-math\
|reciprocal-math|no-signed-zeros)")
    message(FATAL_ERROR "The C flags hold ${CMAKE_MATCH_0}: tqkv's results are defined to the byte and it "
                        "cannot be built so. Remove it (from CFLAGS, CMAKE_C_FLAGS, CMAKE_C_FLAGS_<CONFIG> or "
                        "add_compile_options()), delete ${CMAKE_BINARY_DIR} and configure again.")
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# POSIX.1-2008 with its XSI part, where glibc keeps realpath().
add_compile_definitions(_XOPEN_SOURCE=700)
# The options of C compilers; nvcc has its own.
function(tqkv_c_options)
    add_compile_options("$<$<COMPILE_LANGUAGE:C>:${ARGN}>")
endfunction()
tqkv_c_options(
    -ffp-contract=off
    -fno-math-errno
    -Wall
    -Wextra
    -Wpedantic
    -Wshadow
    -Wconversion
    -Wstrict-prototypes
    -Wmissing-prototypes
    -Wvla)
# Floats are computed as floats, which compilers for 32-bit x86, and older ones for s390x in a standard mode, have
# to be told. Where nothing helps, src/base/arch.h refuses.
include(CheckCSourceCompiles)
set(as_floats "#include <float.h>
#if FLT_EVAL_METHOD != 0
#error FLT_EVAL_METHOD
#endif
int main(void) { return 0; }")
check_c_source_compiles("${as_floats}" TQKV_FLOATS_BY_DEFAULT)
if(NOT TQKV_FLOATS_BY_DEFAULT)
    foreach(options -msse2\ -mfpmath=sse -fexcess-precision=fast)
        set(CMAKE_REQUIRED_FLAGS ${options})
        string(MAKE_C_IDENTIFIER TQKV_FLOATS_BY${options} name)
        check_c_source_compiles("${as_floats}" ${name})
        if(${name})
            add_compile_options(SHELL:${options})
            break()
        endif()
    endforeach()
    unset(CMAKE_REQUIRED_FLAGS)
endif()
if(TQKV_WERROR)
    tqkv_c_options(-Werror)
endif()

if(TQKV_PLANT_FAULT)
    add_compile_definitions(TQKV_PLANT_FAULT)
endif()

if(TQKV_SANITIZE)
    set(sanitize -fsanitize=${TQKV_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    tqkv_c_options(${sanitize})
    add_link_options(${sanitize})
endif()
if(TQKV_COVERAGE)
    tqkv_c_options(--coverage)
    add_link_options(--coverage)
endif()

# The build tree looks as the installed one does, and can be moved as a whole.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
# Both are linked with one run path: when cmake changes it on the way, it leaves an empty entry in the build tree's,
# which stands for the current folder. The folders of libraries from elsewhere are part of it.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
