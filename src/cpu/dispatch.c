/* SPDX-License-Identifier: MIT
 * Fills the table of kernels from the list. */
#include "cpu/dispatch.h"

static const tq_kernels scalar = {
#define TQ_KERNEL(op, isa, symbol) .op = symbol,
#include "kernels/kernels.inc"
#undef TQ_KERNEL
};

const tq_kernels *tq_active_kernels(void) {
    return &scalar;
}
