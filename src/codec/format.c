/* SPDX-License-Identifier: MIT
 * The list of formats and their names. */
#include <string.h>

#include "tqkv/codec.h"

static const struct {
    const char *name;
    tq_format format;
} names[] = {
    {"tq2", TQ_TQ2},       {"tq3", TQ_TQ3},       {"tq4", TQ_TQ4},       {"tq5", TQ_TQ5},
    {"tq6", TQ_TQ6},       {"tq7", TQ_TQ7},       {"tq8", TQ_TQ8},       {"tq4-v1", TQ_TQ4_V1},
    {"tq5-v1", TQ_TQ5_V1}, {"tq6-v1", TQ_TQ6_V1}, {"tq8-v1", TQ_TQ8_V1},
};

enum { N_FORMATS = sizeof names / sizeof names[0] };

const tq_format *tq_formats(size_t *count) {
    static const tq_format all[N_FORMATS] = {TQ_TQ2, TQ_TQ3,    TQ_TQ4,    TQ_TQ5,    TQ_TQ6,   TQ_TQ7,
                                             TQ_TQ8, TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};
    if (count != NULL) *count = N_FORMATS;
    return all;
}

const char *tq_format_name(tq_format format) {
    for (size_t i = 0; i < N_FORMATS; i++)
        if (names[i].format == format) return names[i].name;
    return NULL;
}

unsigned tq_format_bits(tq_format format) {
    return tq_format_name(format) == NULL ? 0 : (unsigned)format & 0xff;
}

tq_status tq_format_from_name(const char *name, tq_format *format) {
    if (name == NULL || format == NULL)
        return tq_fail(TQ_E_NULL, 0, name == NULL ? "name" : "format", "the name or its place is NULL");
    for (size_t i = 0; i < N_FORMATS; i++)
        if (strcmp(names[i].name, name) == 0) {
            *format = names[i].format;
            return TQ_OK;
        }
    return tq_fail(TQ_E_FORMAT, 0, "format",
                   "no format '%.40s': there are tq2 to tq8, and tq4-v1, tq5-v1, "
                   "tq6-v1, tq8-v1",
                   name);
}
