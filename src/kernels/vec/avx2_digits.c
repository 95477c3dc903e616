/* SPDX-License-Identifier: MIT
 * The kernels of the level avx2 that work on digits, in a file of their own: they take long to compile.
 */
#define V_ISA avx2
#include "kernels/vec/avx2.h"
/* behind its floats */
#include "kernels/vec/products_avx2.h"

#include "kernels/attend/accumulate_digits_vec.h"
#include "kernels/attend/score_digits_vec.h"
#include "kernels/attend/whole_vec.h"
