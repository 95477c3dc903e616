/* SPDX-License-Identifier: MIT
 * The kernels of the level avx512. This file alone is compiled with the level's flags. */
#define V_ISA avx512
#include "kernels/vec/avx512.h"

#include "kernels/vec/all.h"
