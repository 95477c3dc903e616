/* SPDX-License-Identifier: MIT
 * Sum of squares in the lane order. */
#include "kernels/kernels.h"
#include "kernels/lanes.h"

void tq_sum_squares_scalar(size_t n, size_t rows, const float *y, float *sums) {
    for (size_t t = 0; t < rows; t++, y += n) {
        float lane[TQ_LANES] = {0};
        for (size_t i = 0; i < n; i++)
            lane[i % TQ_LANES] += y[i] * y[i];
        sums[t] = tq_fold_lanes(lane);
    }
}
