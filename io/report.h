/* SPDX-License-Identifier: MIT
 * How the file library reports failures: file name first, then the byte, then what is wrong. */
#ifndef IO_REPORT_H
#define IO_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/status.h"

/* Records "NAME: byte N: TEXT" and returns status; tq_error.index becomes the byte. */
tq_status tqio_fail(const char *name, tq_status status, uint64_t byte, const char *field,
                    const char *format, ...) TQ_PRINTF(5, 6);

/* The same where no byte of a file is at fault: "NAME: TEXT", and tq_error.index becomes index. */
tq_status tqio_fail_whole(const char *name, tq_status status, uint64_t index, const char *field,
                          const char *format, ...) TQ_PRINTF(5, 6);

/* Records "NAME: cannot ACTION: what errno says", TQ_E_IO. */
tq_status tqio_fail_os(const char *name, const char *action, int error);

/* Copies text from a file for a message: NUL becomes '?', what does not fit ends in "...". Returns out.
 */
const char *tqio_printable(const char *text, size_t length, char *out, size_t size);

/* Room for the start of a word quoted from a file. */
typedef struct tqio_quote {
    char text[40];
} tqio_quote;

#endif
