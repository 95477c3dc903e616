/* SPDX-License-Identifier: MIT
 * The kernels of the level neondotprod: NEON's with another product of bytes. */
#define V_ISA neondotprod
#include "kernels/vec/neon.h"
/* behind its floats */
#include "kernels/vec/products_neondotprod.h"

#include "kernels/attend/accumulate_digits_vec.h"
#include "kernels/attend/score_digits_vec.h"
