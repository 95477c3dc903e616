/* SPDX-License-Identifier: MIT
 * Status names and the record of a thread's last failure. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arch.h"
#include "tqkv/status.h"

static _Thread_local tq_error last_error;

const char *tq_status_name(tq_status status) {
    switch (status) {
#define NAME(s)                                                                                          \
    case s:                                                                                              \
        return #s
        NAME(TQ_OK);
        NAME(TQ_E_NULL);
        NAME(TQ_E_SIZE);
        NAME(TQ_E_OVERLAP);
        NAME(TQ_E_OVERFLOW);
        NAME(TQ_E_STRIDE);
        NAME(TQ_E_FORMAT);
        NAME(TQ_E_HEAD_DIM);
        NAME(TQ_E_BITS);
        NAME(TQ_E_NORMS_PER_POS);
        NAME(TQ_E_SCALE_FACTOR);
        NAME(TQ_E_NORM_RULE);
        NAME(TQ_E_HEADS);
        NAME(TQ_E_DOMAIN);
        NAME(TQ_E_MASK);
        NAME(TQ_E_SCALE);
        NAME(TQ_E_POSITION);
        NAME(TQ_E_POLICY);
        NAME(TQ_E_NOT_FINITE);
        NAME(TQ_E_RANGE);
        NAME(TQ_E_CODE);
        NAME(TQ_E_NO_MEMORY);
        NAME(TQ_E_IO);
        NAME(TQ_E_FILE_MAGIC);
        NAME(TQ_E_FILE_TRUNCATED);
        NAME(TQ_E_FILE_HEADER);
        NAME(TQ_E_FILE_TYPE);
        NAME(TQ_E_FILE_SHAPE);
        NAME(TQ_E_FILE_FIELD);
        NAME(TQ_E_FILE_CHECKSUM);
        NAME(TQ_E_ISA);
        NAME(TQ_E_UNSUPPORTED);
        NAME(TQ_E_DEVICE);
#undef NAME
    }
    return "TQ_E_?";
}

const tq_error *tq_last_error(void) {
    return &last_error;
}

tq_status tq_fail(tq_status status, uint64_t index, const char *field, const char *format, ...) {
    /* Built aside first: the caller's arguments may point into the old record. */
    tq_error e = {.status = status, .index = index};
    snprintf(e.field, sizeof e.field, "%s", field);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(e.message, sizeof e.message, format, arguments);
    va_end(arguments);
    tq_printable(e.field);
    tq_printable(e.message);
    last_error = e;
    return status;
}
