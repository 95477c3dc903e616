/* SPDX-License-Identifier: MIT
 * Encoding and decoding: a vector is checked against the CPU, then all is timed. */
#ifndef TQKV_BENCH_GPU_CODEC_H
#define TQKV_BENCH_GPU_CODEC_H

#include "stage.h"

/* Tokens of one layer, keys and values in one launch, each to a slot of a pool of pages. */
typedef struct encode_row {
    size_t tokens;
    uint32_t kv_heads, dim;
    tq_format k, v;
    tq_type type; /* of what is encoded */
    int centres;  /* not 0: keys have one for each TQ_DEFAULT_CENTRE_STRETCH positions */
} encode_row;

typedef struct decode_row {
    size_t positions;
    uint32_t kv_heads, dim;
    tq_format format;
    tq_type type;
    tq_domain domain;
} decode_row;

/* Print a line of JSON. Skip the row, and say so, unless there is time. */
void encode_measure(stage *s, const encode_row *row, int there_is_time);
void decode_measure(stage *s, const decode_row *row, int there_is_time);

#endif
