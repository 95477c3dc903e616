/* SPDX-License-Identifier: MIT
 * Any bytes as a block of a cache: refused with an error that says so, or taken by a cache that fits it,
 * and the same bytes when they come out again.
 *
 * The length and the checksum would stop nearly every mutation. When one of them is all that is wrong,
 * the right one is written in, so that what lies behind is reached too. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tqkv/block.h"

enum { AT_BYTES = 16, SMALLEST = 200, MOST_VALUES = 1 << 16, MOST_POSITIONS = 1 << 12 };

static void put(uint8_t *at, uint64_t value) {
    for (size_t i = 0; i < sizeof value; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void repair(uint8_t *bytes, size_t size) {
    static const char before[] = "have checksum ";
    tq_cache_block info = {.size = sizeof info};
    if (size < SMALLEST) return;
    if (tq_cache_block_info(bytes, size, &info) == TQ_E_FILE_TRUNCATED) put(bytes + AT_BYTES, size);
    if (tq_cache_block_info(bytes, size, &info) != TQ_E_FILE_CHECKSUM) return;
    const char *right = strstr(tq_last_error()->message, before);
    REQUIRE(right != NULL);
    put(bytes + size - 8, strtoull(right + strlen(before), NULL, 16));
}

static void check_info(const tq_cache_block *b, size_t size) {
    REQUIRE(b->bytes == size);
    REQUIRE(b->first <= b->sinks_end && b->sinks_end <= b->codes_first);
    REQUIRE(b->codes_first <= b->codes_end && b->codes_end <= b->end);
    REQUIRE(b->layer.n_kv_heads > 0);
    const uint64_t held = b->sinks_end - b->first + b->end - b->codes_first;
    REQUIRE(held == 0 ||
            held * b->layer.n_kv_heads < size); /* a position takes more than a byte a head */
}

/* A cache that has to take the block: with its sinks, room for what it has, and no centre of its own yet.
 */
static bool fitting(const tq_cache_block *b, tq_cache_config *c) {
    const uint64_t codes = b->codes_end - b->codes_first, recent = b->end - b->codes_end;
    const bool gap = b->first > 0 || b->sinks_end < b->codes_first;
    if (b->layer.n_kv_heads > MOST_VALUES / 1024) return false;
    if (b->first > 0 && b->sinks_end > b->first) return false; /* its sinks' beginning is missing */
    *c = (tq_cache_config){.size = sizeof(tq_cache_config),
                           .policy = gap || b->end > MOST_POSITIONS ? TQ_CACHE_RING : TQ_CACHE_GLOBAL,
                           .layer = b->layer,
                           .sinks = b->first == 0 ? (size_t)b->sinks_end : 0,
                           .recent = (size_t)recent,
                           .learn_centre = b->has_k_centre ? 1 : 0,
                           .centre_stretch = b->centre_stretch};
    c->capacity = 1 + (size_t)(c->policy == TQ_CACHE_RING ? codes + recent : b->end);
    if (c->policy == TQ_CACHE_RING && b->end % 2 == 0) { /* which pages with a window take as well */
        c->policy = TQ_CACHE_PAGED;
        c->window = 1;
    }
    return true;
}

static void check_again(const tq_cache_block *b, const tq_cache *cache, const uint8_t *bytes,
                        size_t size) {
    size_t again = 0;
    uint8_t *copy = malloc(size);
    REQUIRE(copy != NULL);
    REQUIRE(tq_cache_length(cache) == b->end && tq_cache_encoded_end(cache) == b->codes_end);
    REQUIRE(tq_cache_export_size(cache, b->first, b->end, &again) == TQ_OK && again == size);
    REQUIRE(tq_cache_export(cache, b->first, b->end, copy, size) == TQ_OK);
    REQUIRE(memcmp(copy, bytes, size) == 0);
    free(copy);
}

static void check_taken(const tq_cache_block *b, const uint8_t *bytes, size_t size) {
    tq_cache_config config;
    tq_cache *cache;
    if (!fitting(b, &config)) return;
    const tq_page_pool_config pool = {
        .size = sizeof pool, .layer = b->layer, .n_pages = config.capacity + 1, .page_rows = 3};
    if (config.policy == TQ_CACHE_PAGED) REQUIRE(tq_page_pool_create(&pool, &config.pool) == TQ_OK);
    REQUIRE(tq_cache_create(&config, &cache) == TQ_OK);
    const tq_status status = tq_cache_import(cache, bytes, size);
    if (status == TQ_OK)
        check_again(b, cache, bytes, size);
    else /* vectors that are too long for codes of v2 */
        REQUIRE(status == TQ_E_RANGE && tq_cache_length(cache) == 0);
    tq_cache_destroy(cache);
    tq_page_pool_destroy(config.pool);
}

/* A cache of another kind, with positions in it: whatever comes, it is right or as it was. */
static void check_other(const uint8_t *bytes, size_t size) {
    static const float zeros[10 * 32];
    const tq_cache_config config = tq_cache_config_default(1, 32, 100);
    tq_cache *cache;
    REQUIRE(tq_cache_create(&config, &cache) == TQ_OK);
    REQUIRE(tq_cache_append(cache, 10, zeros, zeros) == TQ_OK);
    const tq_status status = tq_cache_import(cache, bytes, size);
    REQUIRE(status == TQ_OK || (tq_last_error()->status == status && tq_cache_length(cache) == 10));
    tq_cache_destroy(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    tq_cache_block info = {.size = sizeof info};
    uint8_t *copy = malloc(size + 1);
    REQUIRE(copy != NULL);
    if (size != 0) memcpy(copy + 1, bytes, size); /* at an odd address, to its end */
    repair(copy + 1, size);
    const tq_status status = tq_cache_block_info(copy + 1, size, &info);
    if (status == TQ_OK) {
        check_info(&info, size);
        check_taken(&info, copy + 1, size);
    } else {
        REQUIRE(tq_last_error()->status == status);
        REQUIRE(strncmp(tq_last_error()->message, "block: ", 7) == 0);
        REQUIRE(tq_last_error()->index <= size);
    }
    check_other(copy + 1, size);
    free(copy);
    return 0;
}
