/* SPDX-License-Identifier: MIT
 * Finds the first value that an encoder must refuse. */
#include <math.h>

#include "kernels/kernels.h"

size_t tq_scan_scalar(size_t n, const float *x, float limit) {
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= limit)) return i;
    return n;
}
