/* SPDX-License-Identifier: MIT
 * Blocks for tests. */
#include "blob.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "broken.h"

enum { ADDRESS = 3, BEHIND = 8 };

blob blob_new(size_t n) {
    blob b = {.n = n, .memory = zeroed(1, ADDRESS + n)};
    b.bytes = (uint8_t *)b.memory + ADDRESS;
    return b;
}

blob blob_copy(const blob *from, size_t n) {
    blob b = blob_new(n);
    memcpy(b.bytes, from->bytes, n < from->n ? n : from->n);
    return b;
}

void blob_free(blob *b) {
    free(b->memory);
    *b = (blob){0};
}

blob blob_export(const tq_cache *cache, uint64_t first, uint64_t end) {
    size_t n = 0;
    if (tq_cache_export_size(cache, first, end, &n) != TQ_OK) broken("%s", tq_last_error()->message);
    blob b = blob_new(n + BEHIND);
    memset(b.bytes, 0xA5, b.n);
    if (tq_cache_export(cache, first, end, b.bytes, n - 1) != TQ_E_SIZE)
        broken("a byte too few is taken");
    for (size_t i = 0; i < b.n; i++)
        if (b.bytes[i] != 0xA5) broken("byte %zu is written though there is no room", i);
    if (tq_cache_export(cache, first, end, b.bytes, b.n) != TQ_OK) broken("%s", tq_last_error()->message);
    for (size_t i = n; i < b.n; i++)
        if (b.bytes[i] != 0xA5) broken("byte %zu of a block of %zu is written", i, n);
    blob exact = blob_copy(&b, n);
    blob_free(&b);
    return exact;
}

blob blob_whole(const tq_cache *cache) {
    return blob_export(cache, 0, tq_cache_length(cache));
}

void blob_same(blob a, blob b) {
    if (a.n != b.n) broken("a block of %zu bytes, %zu wanted", a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        if (a.bytes[i] != b.bytes[i])
            broken("byte %zu of %zu is %u, %u wanted", i, a.n, a.bytes[i], b.bytes[i]);
    blob_free(&a);
    blob_free(&b);
}

void blob_seal(blob *b) {
    tq_put_u64(b->bytes + b->n - 8, tq_hash(b->bytes, b->n - 8));
}

void blob_refused(const beside *to, const blob *b, tq_status want, const char *field) {
    const memory before = *to->memory;
    const blob whole = blob_whole(to->cache);
    tq_cache_bytes held = {.size = sizeof held}, now = {.size = sizeof now};
    if (tq_cache_count_bytes(to->cache, &held) != TQ_OK) broken("no bytes");
    beside_refused(to, tq_cache_import(to->cache, b->bytes, b->n), want, field);
    if (tq_cache_count_bytes(to->cache, &now) != TQ_OK) broken("no bytes");
    if (memcmp(&held, &now, sizeof now) != 0) broken("memory is not what it was");
    if (want != TQ_E_NO_MEMORY && before.requests != to->memory->requests)
        broken("memory is asked for before the block is found wrong");
    blob_same(blob_whole(to->cache), whole);
}

void blob_restore(beside *to, const beside *from, uint64_t end) {
    const size_t requests = from->memory->requests;
    blob b = blob_export(from->cache, 0, end);
    if (from->memory->requests != requests) broken("exporting allocates");
    if (tq_cache_import(to->cache, b.bytes, b.n) != TQ_OK) broken("%s", tq_last_error()->message);
    blob_free(&b);
    model_adopt(to->model, from->model, end);
    beside_check(to);
}
