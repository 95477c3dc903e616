/* SPDX-License-Identifier: MIT
 * The tqkv.model.* strings of a model file, read and checked. */
#ifndef LM_FIELDS_H
#define LM_FIELDS_H

#include <stdbool.h>

#include "tqkv/io.h"

typedef struct lm_file {
    const tq_safetensors *tensors;
    const char *path; /* for messages */
} lm_file;

/* What a number must be. */
typedef struct lm_range {
    double least, most;
    bool whole;
} lm_range;

/* Records "PATH: TEXT" and returns status. */
tq_status lm_file_fail(const lm_file *f, tq_status status, const char *field, const char *format, ...)
    TQ_PRINTF(4, 5);

/* Fails with what tqkv.model.KEY is, safe for a terminal, and what it should be. */
tq_status lm_field_fail(const lm_file *f, const char *key, const char *text, const char *expected);

/* n numbers under tqkv.model.KEY, separated by commas. TQ_E_FILE_FIELD. */
tq_status lm_field_numbers(const lm_file *f, const char *key, lm_range range, size_t n, double *out);

/* The text under tqkv.model.KEY. TQ_E_FILE_FIELD if it is missing or empty. */
tq_status lm_field_text(const lm_file *f, const char *key, const char **out);

/* Whether there is something under tqkv.model.KEY. */
bool lm_field_is_there(const lm_file *f, const char *key);

/* It must be this text: what else could stand there is not served. */
tq_status lm_field_is(const lm_file *f, const char *key, const char *expected);

/* An item of up to four bytes of a tensor, little-endian. */
static inline uint32_t lm_item(const uint8_t *bytes, size_t size) {
    uint32_t x = 0;
    for (size_t i = 0; i < size; i++)
        x |= (uint32_t)bytes[i] << 8 * i;
    return x;
}

#endif
