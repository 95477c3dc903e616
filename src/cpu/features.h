/* SPDX-License-Identifier: MIT
 * What the processor and the operating system offer. */
#ifndef TQ_CPU_FEATURES_H
#define TQ_CPU_FEATURES_H

#include <stdbool.h>

#include "tqkv/cpu.h"

/* Whether code of the level can run here. */
bool tq_cpu_has(tq_isa isa);

#endif
