/* SPDX-License-Identifier: MIT
 * Messages on standard error, each with the sub-command's name in front. Whatever they quote, they leave
 * the terminal alone. */
#ifndef TQKV_CLI_MESSAGE_H
#define TQKV_CLI_MESSAGE_H

#include "base/command.h"
#include "tqkv/status.h"

#if defined(__GNUC__)
#define CLI_PRINTF __attribute__((format(printf, 1, 2)))
#else
#define CLI_PRINTF
#endif

/* Names the sub-command that is running: messages start with "tqkv NAME: ". NULL: just "tqkv: ". */
void cli_set_command_name(const char *name);

/* One line about a failure; returns CLI_FAILED. */
int cli_fail(const char *format, ...) CLI_PRINTF;

/* One line about wrong use and one that points at --help; returns CLI_MISUSE. */
int cli_misuse(const char *format, ...) CLI_PRINTF;

/* One line that is worth knowing and no failure. */
void cli_note(const char *format, ...) CLI_PRINTF;

/* One line on standard output that quotes a path; as safe for the terminal. */
void cli_print_line(const char *format, ...) CLI_PRINTF;

int cli_out_of_memory(void);

/* CLI_DONE if the status is TQ_OK; else the message of the library's last error. Messages of the file
 * library name the file themselves (file: NULL); those of the codec do not. An option's value that the
 * library refuses is wrong use, everything else a failure.
 */
int cli_check(const char *file, tq_status status);

/* Makes sure that everything printed so far has arrived; CLI_FAILED with a message if it has not. */
int cli_flush_output(void);

#endif
