/* SPDX-License-Identifier: MIT
 * What this is compiled for: the processor family, and arithmetic as it is written. Every source file of
 * the library includes it, so that none can be compiled otherwise; a test tries. */
#ifndef TQ_BASE_ARCH_H
#define TQ_BASE_ARCH_H

#include <float.h>

/* clang knows the first two of these alone. */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ != 0) ||            \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "tqkv's results are defined to the byte: compile without -ffast-math, its parts, and -Ofast"
#endif
#if FLT_EVAL_METHOD != 0
#error "tqkv computes floats as floats: FLT_EVAL_METHOD must be 0 (-msse2 -mfpmath=sse on 32-bit x86)"
#endif

#if defined(__x86_64__)
#define TQ_X86_64
#elif defined(__aarch64__)
#define TQ_AARCH64
#endif

#endif
