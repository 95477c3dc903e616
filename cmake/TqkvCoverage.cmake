# SPDX-License-Identifier: MIT
# Target `coverage`: which lines the tests run since the last build have reached.

find_program(LCOV lcov)
find_program(GENHTML genhtml)
if(NOT LCOV OR NOT GENHTML)
    message(FATAL_ERROR "lcov is missing (Debian package lcov). Run scripts/install-deps coverage.")
endif()
set(report ${PROJECT_BINARY_DIR}/coverage)
add_custom_target(coverage
    COMMAND ${LCOV} --quiet --capture --directory ${PROJECT_BINARY_DIR} --output-file ${report}.all
    COMMAND ${LCOV} --quiet --extract ${report}.all ${PROJECT_SOURCE_DIR}/src/* ${PROJECT_SOURCE_DIR}/io/*
            ${PROJECT_SOURCE_DIR}/cli/* ${PROJECT_SOURCE_DIR}/measure/* --output-file ${report}.info
    COMMAND ${GENHTML} --quiet --prefix ${PROJECT_SOURCE_DIR} --output-directory ${report} ${report}.info
    COMMAND ${LCOV} --list ${report}.info
    COMMAND ${CMAKE_COMMAND} -E echo "Line by line: ${report}/index.html"
    COMMENT "Coverage of src, io, measure and cli by the tests"
    VERBATIM)
