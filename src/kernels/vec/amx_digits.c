/* SPDX-License-Identifier: MIT
 * The kernels of the level amx: products of many rows by tiles, beside the vectors of avx512vbmi. */
#define V_ISA amx
#include "kernels/vec/avx512.h"
/* behind its floats */
#include "kernels/vec/bytes_avx512.h"
#include "kernels/vec/products_vnni.h"
#include "kernels/vec/tiles_amx.h"

#define V_FEWER(op) tq_##op##_avx512vbmi
#include "kernels/attend/tiles_vec.h"
