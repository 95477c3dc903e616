/* SPDX-License-Identifier: MIT
 * The kernels in use. */
#ifndef TQ_CPU_DISPATCH_H
#define TQ_CPU_DISPATCH_H

#include "kernels/kernels.h"

const tq_kernels *tq_active_kernels(void);

#endif
