/* SPDX-License-Identifier: MIT
 * The kernels of the level neon. This file alone is compiled with the level's flags. */
#define V_ISA neon
#include "kernels/vec/neon.h"

#include "kernels/vec/all.h"
