/* SPDX-License-Identifier: MIT
 * Memory from a caller's allocator or the C library's. */
#ifndef TQ_CACHE_MEMORY_H
#define TQ_CACHE_MEMORY_H

#include "base/arch.h"
#include "tqkv/runtime.h"

/* A copy of the allocator, the C library's for NULL. */
tq_allocator tq_allocator_or_default(const tq_allocator *allocator);

/* n times size bytes to *memory, NULL for none at all. TQ_E_OVERFLOW, TQ_E_NO_MEMORY with `what` as
 * field; *memory is then NULL. */
tq_status tq_take(const tq_allocator *allocator, const char *what, size_t n, size_t size, void **memory);

/* The same n and size again. NULL: nothing to do. */
void tq_give(const tq_allocator *allocator, void *memory, size_t n, size_t size);

#endif
