/* SPDX-License-Identifier: MIT
 * Sum of squares in the lane order. */
#include "kernels/kernels.h"
#include "kernels/lanes.h"

float tq_sum_squares_scalar(size_t n, const float *y) {
    float lane[TQ_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % TQ_LANES] += y[i] * y[i];
    return tq_fold_lanes(lane);
}
