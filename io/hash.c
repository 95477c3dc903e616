/* SPDX-License-Identifier: MIT
 * XXH3-64, compiled in from xxHash's header. */
#include "hash.h"

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include "bytes.h"

uint64_t tqio_hash_bytes(const void *bytes, size_t n) {
    return XXH3_64bits(bytes, n);
}

uint64_t tqio_hash_floats(const float *floats, size_t n) {
    enum { BATCH = 1024 };
    uint8_t batch[4 * BATCH];
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < n; i += BATCH) {
        size_t part = n - i < BATCH ? n - i : BATCH;
        tqio_floats_to_bytes(batch, floats + i, part);
        XXH3_64bits_update(&state, batch, 4 * part);
    }
    return XXH3_64bits_digest(&state);
}
