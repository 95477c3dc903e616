/* SPDX-License-Identifier: MIT
 * exp(x) for x <= 0, step for step as in attend/attend_vec.h, which says how. */
#ifndef TQ_KERNELS_EXPONENTIAL_H
#define TQ_KERNELS_EXPONENTIAL_H

#include <math.h>

#include "base/arch.h"

static inline float tq_exponential(float x) {
    const float n = rintf(x * 1.44269504f);
    const float r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, x));
    float p = 1.0f / 5040.0f;
    if (x < -87.0f) return 0.0f;
    p = fmaf(p, r, 1.0f / 720.0f);
    p = fmaf(p, r, 1.0f / 120.0f);
    p = fmaf(p, r, 1.0f / 24.0f);
    p = fmaf(p, r, 1.0f / 6.0f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return ldexpf(p, (int)n);
}

#endif
