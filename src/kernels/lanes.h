/* SPDX-License-Identifier: MIT
 * The reduction that every sum follows: 16 lanes, then halves. */
#ifndef TQ_KERNELS_LANES_H
#define TQ_KERNELS_LANES_H

#include "kernels/kernels.h"

static inline float tq_fold_lanes(float lane[TQ_LANES]) {
    for (int width = TQ_LANES / 2; width >= 1; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

#endif
