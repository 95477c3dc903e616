/* SPDX-License-Identifier: MIT
 * What a benchmark works on: arrays of a stated size, filled, and walked through in slices. */
#ifndef TQKV_MEASURE_DATA_H
#define TQKV_MEASURE_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"

typedef enum measure_set { MEASURE_SET_L2, MEASURE_SET_RAM } measure_set;

/* "l2" or "ram". */
const char *measure_set_name(measure_set set);

/* Arrays that serve any row of either set. */
typedef struct measure_data {
    float *dense; /* normally distributed, unit variance */
    float *other; /* of the same size: where decoded, rotated and copied values go */
    uint8_t *codes;
    uint8_t *norms;
    void *owned[4];
} measure_data;

/* How a set is cut up for vectors of one format and dimension. */
typedef struct measure_slices {
    size_t count;
    size_t rows;       /* vectors of a slice; one call takes them all */
    size_t dim;        /* floats of a vector */
    size_t code_bytes; /* of a vector */
    size_t norm_bytes; /* of a vector */
} measure_slices;

/* Bytes of each dense array. l2: 512 KiB a thread, so that both sides of a copy are 1 MiB a thread.
 * ram: 512 MiB. */
size_t measure_set_bytes(measure_set set, size_t threads);

/* Room for `set` or anything smaller. TQ_E_NO_MEMORY. */
tq_status measure_data_begin(measure_data *data, measure_set set, size_t threads);
void measure_data_free(measure_data *data);

/* The slices of a set: one of l2, many of ram. */
tq_status measure_slice(const tq_codec *codec, measure_set set, size_t threads, measure_slices *slices);

/* Fills codes and norms with encoded vectors of `dense`, the same again and again. */
tq_status measure_fill_codes(measure_data *data, const tq_codec *codec, const measure_slices *slices);

/* Normally distributed values of unit variance, the same every time. n is even. */
void measure_fill_gaussian(float *x, size_t n);

/* Where a slice begins in each array. */
static inline size_t measure_dense_at(const measure_slices *s, size_t slice) {
    return slice * s->rows * s->dim;
}
static inline size_t measure_codes_at(const measure_slices *s, size_t slice) {
    return slice * s->rows * s->code_bytes;
}
static inline size_t measure_norms_at(const measure_slices *s, size_t slice) {
    return slice * s->rows * s->norm_bytes;
}

#endif
