/* SPDX-License-Identifier: MIT
 * The kernels in use. */
#ifndef TQ_CPU_DISPATCH_H
#define TQ_CPU_DISPATCH_H

#include "kernels/kernels.h"
#include "tqkv/status.h"

/* The kernels of the level in use. TQ_E_ISA if the environment asks for a level that is not to be had. */
tq_status tq_active_kernels(const tq_kernels **kernels);

#endif
