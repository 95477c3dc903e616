/* SPDX-License-Identifier: MIT
 * The tqkv.model.* strings of a model file, read and checked. */
#include "fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SHOWN = 68 }; /* a message holds 224 bytes: the end of a path tells files apart better */

tq_status lm_file_fail(const lm_file *f, tq_status status, const char *field, const char *format, ...) {
    char text[sizeof((tq_error *)0)->message];
    const size_t length = strlen(f->path);
    const bool cut = length > PATH_SHOWN;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return tq_fail(status, 0, field, "%s%s: %s", cut ? "..." : "",
                   cut ? f->path + length - PATH_SHOWN : f->path, text);
}

/* The start of a text from a file, without what could play tricks on a terminal. */
static const char *quoted(const char *text, char out[40]) {
    size_t n = 0;
    for (; text[n] != '\0' && n < 36; n++)
        out[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    memcpy(out + n, text[n] == '\0' ? "" : "...", text[n] == '\0' ? 1 : 4);
    return out;
}

bool lm_field_is_there(const lm_file *f, const char *key) {
    char name[64];
    snprintf(name, sizeof name, "tqkv.model.%s", key);
    return tq_safetensors_metadata(f->tensors, name, NULL) != NULL;
}

tq_status lm_field_text(const lm_file *f, const char *key, const char **out) {
    char name[64];
    snprintf(name, sizeof name, "tqkv.model.%s", key);
    size_t length;
    *out = tq_safetensors_metadata(f->tensors, name, &length);
    if (*out != NULL && **out != '\0' && strlen(*out) == length) return TQ_OK;
    return lm_file_fail(f, TQ_E_FILE_FIELD, name, "no metadata field %s: this is no model of tqkv's",
                        name);
}

tq_status lm_field_fail(const lm_file *f, const char *key, const char *text, const char *expected) {
    char shown[40];
    return lm_file_fail(f, TQ_E_FILE_FIELD, key, "tqkv.model.%s is \"%s\"; %s", key, quoted(text, shown),
                        expected);
}

tq_status lm_field_is(const lm_file *f, const char *key, const char *expected) {
    const char *text;
    char only[80];
    tq_status status = lm_field_text(f, key, &text);
    if (status != TQ_OK || strcmp(text, expected) == 0) return status;
    snprintf(only, sizeof only, "only \"%s\" is served", expected);
    return lm_field_fail(f, key, text, only);
}

static bool in_range(double x, lm_range range) {
    return x >= range.least && x <= range.most && (!range.whole || x == floor(x)); /* false for a NaN */
}

tq_status lm_field_numbers(const lm_file *f, const char *key, lm_range range, size_t n, double *out) {
    const char *text;
    char shown[40];
    tq_status status = lm_field_text(f, key, &text);
    if (status != TQ_OK) return status;
    const char *p = text;
    for (size_t i = 0; i < n; i++) {
        char *end;
        const bool starts = (*p >= '0' && *p <= '9') || *p == '-' || *p == '.';
        out[i] = starts ? strtod(p, &end) : NAN;
        if (!starts || *end != (i + 1 < n ? ',' : '\0'))
            return lm_file_fail(f, TQ_E_FILE_FIELD, key, "tqkv.model.%s is \"%s\"; %zu number%s expected",
                                key, quoted(text, shown), n,
                                n == 1 ? " is" : "s, separated by commas, are");
        if (!in_range(out[i], range))
            return lm_file_fail(f, TQ_E_FILE_FIELD, key,
                                "tqkv.model.%s holds %g; a %snumber from %g to %g is expected", key,
                                out[i], range.whole ? "whole " : "", range.least, range.most);
        p = end + 1;
    }
    return TQ_OK;
}
