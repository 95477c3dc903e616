/* SPDX-License-Identifier: MIT
 * The kernels of the level avx2. This file alone is compiled with the level's flags. */
#define V_ISA avx2
#include "kernels/vec/avx2.h"

#include "kernels/vec/all.h"
