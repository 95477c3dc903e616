# SPDX-License-Identifier: MIT
# tqkv_library(NAME OBJECTS EXPORTED): the shared library NAME and the static NAME_static from one set of
# objects. Clients, in this tree and outside it, call them tqkv::EXPORTED and tqkv::EXPORTED_static.

function(tqkv_library name objects exported)
    add_library(${name} SHARED $<TARGET_OBJECTS:${objects}>)
    add_library(${name}_static STATIC $<TARGET_OBJECTS:${objects}>)
    # Before 1.0 a new minor version may change the interface, and so is another library.
    set(soversion ${PROJECT_VERSION_MAJOR})
    if(soversion EQUAL 0)
        string(APPEND soversion .${PROJECT_VERSION_MINOR})
    endif()
    set_target_properties(${name} PROPERTIES
        VERSION ${PROJECT_VERSION}
        SOVERSION ${soversion}
        INSTALL_RPATH "$ORIGIN"
        LINKER_LANGUAGE C
        EXPORT_NAME ${exported})
    set_target_properties(${name}_static PROPERTIES
        OUTPUT_NAME ${name}
        LINKER_LANGUAGE C
        EXPORT_NAME ${exported}_static)
    add_library(tqkv::${exported} ALIAS ${name})
    add_library(tqkv::${exported}_static ALIAS ${name}_static)
    foreach(library ${name} ${name}_static)
        target_include_directories(${library} INTERFACE
            $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    endforeach()
endfunction()
