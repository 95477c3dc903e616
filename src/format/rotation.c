/* SPDX-License-Identifier: MIT
 * Rotations: v1's Walsh-Hadamard transforms, and v2's for every dimension. */
#include "format/rotation.h"

#include <math.h>

#define TQ_TABLE static const
#include "format/rotations.inc"

/* Why v2 tilts its first stage: a plain Hadamard matrix sends a vector with a single channel to values
 * of one magnitude, 1 at unit variance, and at 2 bits no centroid is near 1: 2.2 times the Gaussian
 * distortion. (a + b/2, a/2 - b) gives the two magnitudes 1.26 and 0.63, which lie well in every
 * codebook: at most 0.72 times at powers of two. tests/codec measures it for every dimension. */
static const float v2_tilt = 0.5f;

void tq_rotation_v1(tq_rotation *r, unsigned dim) {
    *r = (tq_rotation){
        .dim = dim,
        .pow2 = dim,
        .tilt = 1.0f,
        .scale = (float)(1.0 / sqrt(dim)),
        .scale_last = 1,
        .signs = dim == 256 ? v1_signs_256 : v1_signs_512,
    };
}

static const tq_odd_factor odd_factors[] = {
    {3, cas_3},   {5, cas_5},   {7, cas_7},   {11, cas_11}, {13, cas_13}, {17, cas_17},
    {19, cas_19}, {23, cas_23}, {29, cas_29}, {31, cas_31}, {37, cas_37}, {41, cas_41},
    {43, cas_43}, {47, cas_47}, {53, cas_53}, {59, cas_59}, {61, cas_61},
};

void tq_rotation_v2(tq_rotation *r, unsigned dim) {
    const unsigned pow2 = dim & -dim;
    *r = (tq_rotation){
        .dim = dim,
        .pow2 = pow2,
        .tilt = v2_tilt,
        /* A stage of tilt t lengthens by sqrt(1 + t^2), a Hadamard stage by sqrt(2), order p by sqrt(p).
         */
        .scale = (float)sqrt(2.0 / (1.0 + (double)v2_tilt * (double)v2_tilt) / dim),
        .signs = v2_signs,
    };
    unsigned rest = dim / pow2;
    for (const tq_odd_factor *f = odd_factors; rest > 1; f++)
        for (; rest % f->p == 0; rest /= f->p)
            r->odd[r->n_odd++] = *f;
}
