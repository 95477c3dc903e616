/* SPDX-License-Identifier: MIT
 * The kernels of the level neon that work on digits, in a file of their own: they take long to compile.
 */
#define V_ISA neon
#include "kernels/vec/neon.h"
/* behind its floats */
#include "kernels/vec/products_neon.h"

#include "kernels/attend/accumulate_digits_vec.h"
#include "kernels/attend/score_digits_vec.h"
#include "kernels/attend/whole_vec.h"
