/* SPDX-License-Identifier: MIT
 * The kernels of the level avxvnni: AVX2's with another product of bytes. */
#define V_ISA avxvnni
#include "kernels/vec/avx2.h"
/* behind its floats */
#include "kernels/vec/products_avxvnni.h"

#include "kernels/attend/accumulate_digits_vec.h"
#include "kernels/attend/score_digits_vec.h"
