/* SPDX-License-Identifier: MIT
 * The kernels of the level avx512vbmi. This file alone is compiled with the level's flags. */
#define V_ISA avx512vbmi
#include "kernels/vec/avx512.h"

#include "kernels/vec/all.h"
