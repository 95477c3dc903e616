/* SPDX-License-Identifier: MIT
 * The kernels of products of digits on vectors of 64 bytes, as avx512vbmi has them, on any machine. */
#define V_ISA emulated_vectors
#include "emulated/vectors.h"
/* behind them */
#include "kernels/vec/products_vnni.h"

#include "emulated/emulated.h"

#include "kernels/attend/accumulate_digits_vec.h"
#include "kernels/attend/score_digits_vec.h"
