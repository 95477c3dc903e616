/* SPDX-License-Identifier: MIT
 * Memory whose size is checked. */
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *lm_alloc(size_t count, size_t size) {
    const size_t line = 64;
    if (size != 0 && count > ((size_t)PTRDIFF_MAX - line) / size) return NULL;
    const size_t bytes = (count * size / line + 1) * line;
    void *memory = aligned_alloc(line, bytes);
    if (memory != NULL) memset(memory, 0, bytes);
    return memory;
}
