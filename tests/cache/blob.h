/* SPDX-License-Identifier: MIT
 * Blocks for tests: made, sealed again after they were changed, and refused without a trace. */
#ifndef TESTS_CACHE_BLOB_H
#define TESTS_CACHE_BLOB_H

#include "beside.h"
#include "tqkv/block.h"

/* At an odd address, and ending where an address sanitizer sees it. */
typedef struct blob {
    uint8_t *bytes;
    size_t n;
    void *memory;
} blob;

blob blob_new(size_t n);
blob blob_copy(const blob *from, size_t n); /* the first n bytes; zeros behind its end */
void blob_free(blob *b);

/* The positions of a cache. Fails if that allocates, or another size is written than was said. */
blob blob_export(const tq_cache *cache, uint64_t first, uint64_t end);
blob blob_whole(const tq_cache *cache);

/* Fails unless both are the same bytes, hash included; frees both. */
void blob_same(blob a, blob b);

/* Writes the hash that belongs to the bytes as they are. */
void blob_seal(blob *b);

/* The import must be refused so, and the cache and its memory be what they were. field NULL: any */
void blob_refused(const beside *to, const blob *b, tq_status want, const char *field);

/* A block of `from`'s positions below `end` becomes those of `to`, which is empty; models too. */
void blob_restore(beside *to, const beside *from, uint64_t end);

#endif
