/* SPDX-License-Identifier: MIT
 * Finds the first value that an encoder must refuse, on vectors of 16 lanes: one source for every
 * instruction set. */
#include "kernels/kernels.h"

size_t V_NAME(scan)(size_t n, const float *x, float limit) {
    const vf most = v_set(limit);
    size_t i = 0;
    for (; n - i >= TQ_LANES; i += TQ_LANES)
        if (v_beyond(v_load(x + i), most) != 0) break;
    return i + tq_scan_scalar(n - i, x + i, limit);
}
