/* SPDX-License-Identifier: MIT
 * The formats that are compared: ggml's row functions and ours behind one face. */
#ifndef TQKV_BENCH_PEERS_FORMATS_H
#define TQKV_BENCH_PEERS_FORMATS_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"

enum { N_PEER_FORMATS = 9 };

/* One of either side. */
typedef struct peer_format {
    const char *name;
    int ggml_type; /* -1: ours */
    tq_format ours;
} peer_format;

/* In the order in which tables show them, theirs first. */
extern const peer_format peer_formats[N_PEER_FORMATS];

/* Before anything else. */
void peer_begin(void);

/* Bytes of an encoded vector with its scales or norms; 0: the format does not serve this dimension. */
size_t peer_row_bytes(const peer_format *format, size_t dim);

/* Both work on `rows` vectors side by side, in one call, on the calling thread, and return 0 or, after a
 * message, -1. codes: rows * peer_row_bytes() bytes.
 * domain: of ours; theirs have one. */
int peer_encode(const peer_format *format, size_t rows, size_t dim, const float *src, uint8_t *codes);
int peer_decode(const peer_format *format, size_t rows, size_t dim, const uint8_t *codes,
                tq_domain domain, float *dst);

#endif
