/* SPDX-License-Identifier: MIT
 * Sums of squares on vectors of 16 lanes: one source for every instruction set. */
#include <assert.h>

#include "kernels/kernels.h"

void V_NAME(sum_squares)(size_t n, size_t rows, const float *y, float *sums) {
    assert(n % TQ_LANES == 0);
    for (size_t t = 0; t < rows; t++, y += n) {
        vf lanes = v_set(0.0f);
        for (size_t i = 0; i < n; i += TQ_LANES) {
            const vf x = v_load(y + i);
            lanes = v_add(lanes, v_mul(x, x));
        }
        sums[t] = v_fold(lanes);
    }
}
