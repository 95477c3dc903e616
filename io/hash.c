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

uint64_t tqio_hash_numbers(const void *numbers, size_t n_bytes, size_t item) {
    enum { BATCH = 4096 };
    const uint8_t *data = numbers;
    uint8_t batch[BATCH];
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < n_bytes; i += BATCH) {
        size_t part = n_bytes - i < BATCH ? n_bytes - i : BATCH;
        tqio_copy_numbers(batch, data + i, part, item);
        XXH3_64bits_update(&state, batch, part);
    }
    return XXH3_64bits_digest(&state);
}
