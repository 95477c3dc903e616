/* SPDX-License-Identifier: MIT
 * What a benchmark works on: arrays of a stated size, filled, and walked through in slices. */
#ifndef TQKV_CLI_BENCH_DATA_H
#define TQKV_CLI_BENCH_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"

typedef enum cli_set { CLI_SET_L2, CLI_SET_RAM } cli_set;

/* "l2" or "ram". */
const char *cli_set_name(cli_set set);

/* Arrays that serve any row of either set. */
typedef struct cli_bench_data {
    float *dense; /* normally distributed, unit variance */
    float *other; /* of the same size: where decoded, rotated and copied values go */
    uint8_t *codes;
    float *norms;
    void *owned[4];
} cli_bench_data;

/* How a set is cut up for vectors of one format and dimension. */
typedef struct cli_slices {
    size_t count;
    size_t rows;       /* vectors of a slice; one call takes them all */
    size_t dim;        /* floats of a vector */
    size_t code_bytes; /* of a vector */
    size_t norms;      /* of a vector */
} cli_slices;

/* Bytes of each dense array. l2: 512 KiB a thread, so that both sides of a copy are 1 MiB a thread.
 * ram: 512 MiB. */
size_t cli_set_bytes(cli_set set, size_t threads);

/* Room for `set` or anything smaller. CLI_DONE or CLI_FAILED after a message. */
int cli_bench_data_begin(cli_bench_data *data, cli_set set, size_t threads);
void cli_bench_data_free(cli_bench_data *data);

/* The slices of a set: one of l2, many of ram. */
tq_status cli_slice(const tq_codec *codec, cli_set set, size_t threads, cli_slices *slices);

/* Fills codes and norms with encoded vectors of `dense`, the same again and again. */
tq_status cli_fill_codes(cli_bench_data *data, const tq_codec *codec, const cli_slices *slices);

/* Normally distributed values of unit variance, the same every time. n is even. */
void cli_fill_gaussian(float *x, size_t n);

/* Where a slice begins in each array. */
static inline size_t cli_dense_at(const cli_slices *s, size_t slice) {
    return slice * s->rows * s->dim;
}
static inline size_t cli_codes_at(const cli_slices *s, size_t slice) {
    return slice * s->rows * s->code_bytes;
}
static inline size_t cli_norms_at(const cli_slices *s, size_t slice) {
    return slice * s->rows * s->norms;
}

#endif
