/* SPDX-License-Identifier: MIT
 * What a format loses, on plain vectors and on ones with outlier channels. */
#include "errors.h"

#include <stdlib.h>

static int relative_error(const peer_format *format, const float *x, size_t dim, double *error) {
    const size_t n = PEER_ERROR_ROWS * dim;
    float *y = calloc(n, sizeof *y);
    uint8_t *codes = calloc(PEER_ERROR_ROWS, peer_row_bytes(format, dim));
    double far = 0.0, all = 0.0;
    int rc = !y || !codes ? -1 : peer_encode(format, PEER_ERROR_ROWS, dim, x, codes);
    if (rc == 0) rc = peer_decode(format, PEER_ERROR_ROWS, dim, codes, TQ_ORIGINAL, y);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const double a = x[i], b = y[i];
        far += (a - b) * (a - b);
        all += a * a;
    }
    *error = far / all;
    free(y);
    free(codes);
    return rc;
}

int peer_measure_errors(const peer_format *format, const float *x, size_t dim, peer_errors *errors) {
    const size_t n = PEER_ERROR_ROWS * dim;
    float *loud = calloc(n, sizeof *loud);
    int rc = loud ? relative_error(format, x, dim, &errors->plain) : -1;
    for (size_t i = 0; loud && i < n; i++)
        loud[i] = i % (dim / 4) == 5 ? 30.0f * x[i] : x[i]; /* a quarter of D apart: never in one block */
    if (rc == 0) rc = relative_error(format, loud, dim, &errors->outliers);
    free(loud);
    return rc;
}
