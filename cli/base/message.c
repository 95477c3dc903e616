/* SPDX-License-Identifier: MIT
 * Messages on standard error, each with the sub-command's name in front. */
#include "base/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"

static const char *command_name;

void cli_set_command_name(const char *name) {
    command_name = name;
}

/* What a path or a word of the user's could do to the terminal it is kept from: tq_printable(). */
static void print_line(FILE *stream, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, arguments);
    fprintf(stream, "%s\n", text ? tq_printable(text) : "out of memory");
    free(text);
}

void cli_print_line(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line(stdout, format, arguments);
    va_end(arguments);
}

static void say(const char *kind, const char *format, va_list arguments) {
    cli_progress_end();
    fprintf(stderr, "tqkv%s%s: %s", command_name ? " " : "", command_name ? command_name : "", kind);
    print_line(stderr, format, arguments);
}

int cli_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

int cli_misuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try 'tqkv%s%s --help'.\n", command_name ? " " : "",
            command_name ? command_name : "");
    return CLI_MISUSE;
}

void cli_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("note: ", format, arguments);
    va_end(arguments);
}

int cli_out_of_memory(void) {
    return cli_fail("out of memory");
}

int cli_check(const char *file, tq_status status) {
    const char *text = tq_last_error()->message;
    if (status == TQ_OK) return CLI_DONE;
    if (status == TQ_E_NO_MEMORY) return cli_out_of_memory();
    if (status == TQ_E_NORM_RULE || status == TQ_E_SCALE_FACTOR || status == TQ_E_BITS)
        return cli_misuse("%s", text);
    return file ? cli_fail("%s: %s", file, text) : cli_fail("%s", text);
}

int cli_flush_output(void) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return CLI_DONE;
    const int reason = errno;
    return cli_fail("standard output: %s", reason ? strerror(reason) : "not everything could be written");
}
