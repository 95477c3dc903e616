/* SPDX-License-Identifier: MIT
 * Kernels whose instructions few machines have, their own text, with functions for instructions. */
#ifndef TESTS_KERNELS_EMULATED_H
#define TESTS_KERNELS_EMULATED_H

#include "kernels/kernels.h"

#define EMULATED_KERNELS(X)                                                                              \
    TQ_DIGIT_PRODUCTS(X, emulated_vectors)                                                               \
    TQ_DIGIT_PRODUCTS(X, emulated_tiles)

#define DECLARE(op, level) tq_##op##_fn tq_##op##_##level;
EMULATED_KERNELS(DECLARE)
#undef DECLARE

#endif
