# SPDX-License-Identifier: MIT
# What is installed: component `runtime` to run programs, `dev` to build them. Everything is found
# relative to its own place, so that the prefix can be chosen late or moved. The build tree serves find_package()
# too, with -Dtqkv_DIR=BUILD_FOLDER.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tqkv)
file(RELATIVE_PATH lib_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})

# tqkv_install_library(NAME): both libraries, the CMake targets and the .pc file
function(tqkv_install_library name)
    install(TARGETS ${name} ${name}_static
        EXPORT ${name}Targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
    install(EXPORT ${name}Targets
        NAMESPACE tqkv::
        DESTINATION ${package_dir}
        COMPONENT dev)
    export(EXPORT ${name}Targets NAMESPACE tqkv:: FILE ${PROJECT_BINARY_DIR}/${name}Targets.cmake)
    set(pc_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
    file(RELATIVE_PATH prefix_from_pc ${pc_dir} ${CMAKE_INSTALL_PREFIX})
    file(RELATIVE_PATH lib_from_prefix ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
    file(RELATIVE_PATH include_from_prefix ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
    string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
    list(JOIN TQKV_OPENMP_FLAGS " " openmp_for_pc)
    string(APPEND openmp_for_pc " ${TQKV_OPENMP_STAYS}")
    configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/${name}.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT dev)
endfunction()

tqkv_install_library(tqkv)
set(not_installed "")
if(TQKV_BUILD_IO)
    tqkv_install_library(tqkv_io)
else()
    list(APPEND not_installed PATTERN io.h EXCLUDE)
endif()
if(TQKV_CUDA)
    tqkv_install_library(tqkv_cuda)
else()
    list(APPEND not_installed PATTERN "cuda*.h" EXCLUDE)
endif()
install(DIRECTORY include/tqkv
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    COMPONENT dev
    FILES_MATCHING PATTERN "*.h" ${not_installed})

if(TQKV_BUILD_CLI)
    # In the build tree libraries lie in lib, whatever they are installed into.
    set(command_rpath "$ORIGIN/../lib" "$ORIGIN/${lib_from_bin}")
    list(REMOVE_DUPLICATES command_rpath)
    set_target_properties(tqkv_cli PROPERTIES INSTALL_RPATH "${command_rpath}")
    install(TARGETS tqkv_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
    install(FILES docs/tqkv.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
endif()
# What the headers speak of, and programs to copy from.
install(FILES docs/block.md docs/choosing.md docs/format.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev)
if(NOT TQKV_CUDA)
    set(without_cuda PATTERN "cuda_*.c" EXCLUDE)
endif()
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev
    FILES_MATCHING PATTERN "*.c" ${without_cuda} PATTERN python EXCLUDE)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

configure_package_config_file(cmake/tqkvConfig.cmake.in tqkvConfig.cmake
    INSTALL_DESTINATION ${package_dir}
    NO_SET_AND_CHECK_MACRO)
# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file(tqkvConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tqkvConfig.cmake ${PROJECT_BINARY_DIR}/tqkvConfigVersion.cmake
    DESTINATION ${package_dir}
    COMPONENT dev)
