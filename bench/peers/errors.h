/* SPDX-License-Identifier: MIT
 * What a format loses, on plain vectors and on ones with outlier channels. */
#ifndef TQKV_BENCH_PEERS_ERRORS_H
#define TQKV_BENCH_PEERS_ERRORS_H

#include "formats.h"

enum { PEER_ERROR_ROWS = 1024 };

/* Relative squared errors: the sum of (x - y)^2 over that of x^2, y being x encoded and decoded. */
typedef struct peer_errors {
    double plain;
    double outliers; /* four coordinates of every vector 30 times as large, as keys of some models are */
} peer_errors;

/* x: [PEER_ERROR_ROWS][dim]. Returns 0, or -1 when the format fails or memory runs out. */
int peer_measure_errors(const peer_format *format, const float *x, size_t dim, peer_errors *errors);

#endif
