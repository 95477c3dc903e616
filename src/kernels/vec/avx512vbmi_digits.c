/* SPDX-License-Identifier: MIT
 * The kernels of the level avx512vbmi that work on digits, in a file of their own: they take long to
 * compile. */
#define V_ISA avx512vbmi
#include "kernels/vec/avx512.h"
/* behind its floats */
#include "kernels/vec/bytes_avx512.h"
#include "kernels/vec/products_vnni.h"

#include "kernels/attend/accumulate_digits_vec.h"
#include "kernels/attend/score_digits_vec.h"
#include "kernels/attend/whole_vec.h"
