/* SPDX-License-Identifier: MIT
 * XXH3-64, compiled in from xxHash's header: nothing of it is linked or exported. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t tq_hash(const void *bytes, size_t n) {
    return XXH3_64bits(bytes, n);
}
