/* SPDX-License-Identifier: MIT
 * The kernels of the level amx on any machine. */
#define V_ISA emulated_tiles
#include "emulated/vectors.h"
/* behind them */
#include "emulated/tiles.h"
#include "kernels/vec/products_vnni.h"

#include "emulated/emulated.h"

#define V_FEWER(op) tq_##op##_scalar
#include "kernels/attend/tiles_vec.h"
