/* SPDX-License-Identifier: MIT
 * Memory whose size is checked. */
#ifndef LM_MEMORY_H
#define LM_MEMORY_H

#include <stddef.h>

/* count * size zeroed bytes, aligned to 64, never NULL for none; NULL if there is not so much. free()
 * releases them. */
void *lm_alloc(size_t count, size_t size);

#endif
