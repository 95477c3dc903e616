/* SPDX-License-Identifier: MIT
 * Error texts of the file library. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_ROOM = 72, /* a message holds 224 bytes: a long path must not push the reason out of it */
    TEXT_ROOM = sizeof((tq_error *)0)->message
};

/* The end of a path tells files apart better than its start does. */
static const char *short_name(const char *name, char out[NAME_ROOM]) {
    size_t length = strlen(name);
    if (length < NAME_ROOM) {
        memcpy(out, name, length + 1);
        return out;
    }
    const char *tail = name + length - (NAME_ROOM - 4);
    while (((unsigned char)*tail & 0xc0) == 0x80) /* not from the middle of a UTF-8 character */
        tail++;
    snprintf(out, NAME_ROOM, "...%s", tail);
    return out;
}

tq_status tqio_fail(const char *name, tq_status status, uint64_t byte, const char *field,
                    const char *format, ...) {
    char shown[NAME_ROOM];
    char text[TEXT_ROOM];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return tq_fail(status, byte, field, "%s: byte %llu: %s", short_name(name, shown),
                   (unsigned long long)byte, text);
}

tq_status tqio_fail_whole(const char *name, tq_status status, uint64_t index, const char *field,
                          const char *format, ...) {
    char shown[NAME_ROOM];
    char text[TEXT_ROOM];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return tq_fail(status, index, field, "%s: %s", short_name(name, shown), text);
}

tq_status tqio_fail_os(const char *name, const char *action, int error) {
    char why[128];
    if (strerror_r(error, why, sizeof why) != 0) snprintf(why, sizeof why, "error %d", error);
    return tqio_fail_whole(name, TQ_E_IO, 0, "path", "cannot %s: %s", action, why);
}

const char *tqio_printable(const char *text, size_t length, char *out, size_t size) {
    size_t shown = length < size ? length : size - 4;
    for (size_t i = 0; i < shown; i++)
        out[i] = text[i] != '\0' ? text[i] : '?'; /* tq_fail() looks after the others */
    memcpy(out + shown, shown < length ? "..." : "", shown < length ? 4 : 1);
    return out;
}
