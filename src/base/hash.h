/* SPDX-License-Identifier: MIT
 * XXH3-64 with seed 0: what tells that bytes are those that were written. */
#ifndef TQ_BASE_HASH_H
#define TQ_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/arch.h"

uint64_t tq_hash(const void *bytes, size_t n);

#endif
