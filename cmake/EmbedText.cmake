# SPDX-License-Identifier: MIT
# tqkv_embed_text(TARGET FILE SYMBOL): FILE's bytes, and a NUL behind them, become `const char SYMBOL[]` in a source
# that is generated and added to TARGET; anew when FILE changes. Who uses it declares `extern const char SYMBOL[];`.
#
# The same file is the script that writes the source: cmake -DFILE= -DSYMBOL= -DOUTPUT= -P EmbedText.cmake

function(tqkv_embed_text target file symbol)
    get_filename_component(path "${file}" ABSOLUTE)
    set(output ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
    add_custom_command(OUTPUT ${output}
        COMMAND ${CMAKE_COMMAND} -DFILE=${path} -DSYMBOL=${symbol} -DOUTPUT=${output}
                -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
        DEPENDS ${path} ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
        COMMENT "Embedding ${file} as ${symbol}"
        VERBATIM)
    target_sources(${target} PRIVATE ${output})
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
    file(READ "${FILE}" bytes HEX)
    # Characters, one by one: a string may have no more than 4,095 of them in C11, and '\xe4' is a char's value
    # whether char has a sign or not.
    string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
    if(bytes MATCHES "'.x00'")
        message(FATAL_ERROR "${FILE} holds a NUL: it would end there")
    endif()
    string(REPEAT "......." 16 line)
    string(REGEX REPLACE "(${line})" "\\1\n    " bytes "${bytes}")
    get_filename_component(name "${FILE}" NAME)
    file(WRITE "${OUTPUT}" "/* ${name}, by cmake/EmbedText.cmake. */
extern const char ${SYMBOL}[];
const char ${SYMBOL}[] = {
    ${bytes}'\\0'};
")
endif()
