/* SPDX-License-Identifier: MIT
 * Memory from a caller's allocator or the C library's. */
#include "cache/memory.h"

#include <stdlib.h>

#include "base/arch.h"
#include "base/size.h"

enum { ALIGNMENT = 64 };

/* aligned_alloc() of C11 wants whole multiples. */
static void *allocate(void *context, size_t bytes) {
    (void)context;
    size_t rounded;
    if (!tq_size_add(bytes, ALIGNMENT - 1, &rounded)) return NULL;
    return aligned_alloc(ALIGNMENT, rounded / ALIGNMENT * ALIGNMENT);
}

static void release(void *context, void *memory, size_t bytes) {
    (void)context;
    (void)bytes;
    free(memory);
}

tq_allocator tq_allocator_or_default(const tq_allocator *allocator) {
    return allocator != NULL ? *allocator : (tq_allocator){allocate, release, NULL};
}

tq_status tq_take(const tq_allocator *allocator, const char *what, size_t n, size_t size, void **memory) {
    size_t bytes;
    *memory = NULL;
    if (!tq_size_mul(n, size, &bytes) || bytes > PTRDIFF_MAX)
        return tq_fail(TQ_E_OVERFLOW, 0, what, "%s: %zu times %zu bytes do not fit in memory", what, n,
                       size);
    if (bytes == 0) return TQ_OK;
    *memory = allocator->allocate(allocator->context, bytes);
    if (*memory != NULL) return TQ_OK;
    return tq_fail(TQ_E_NO_MEMORY, bytes, what, "%s: no memory for %zu bytes", what, bytes);
}

void tq_give(const tq_allocator *allocator, void *memory, size_t n, size_t size) {
    if (memory != NULL) allocator->release(allocator->context, memory, n * size);
}
