/* SPDX-License-Identifier: MIT
 * Blocks as bytes: damaged, cut, foreign and absurd ones change nothing; golden ones are taken for ever.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "blob.h"
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

#define COUNT(a)   (sizeof(a) / sizeof(a)[0])
#define K(field)   (64 + (field))
#define V(field)   (128 + (field))
#define HEADER     192
#define NAN_BITS   0x7FC00000u
#define HALF_INF   0x7C00u
#define NO_SUCH_ID 0x123456789ABCDEFull

/* A cache with sinks, codes, recent positions and a centre that can be given, and another of that kind.
 */
typedef struct pair {
    setup s, other;
    beside from, to;
    float centre[32];
    blob block; /* all of `from`: 2 sinks, 4 encoded, 3 in float16 */
} pair;

static tq_cache_config config_of(pair *p) {
    for (size_t i = 0; i < COUNT(p->centre); i++)
        p->centre[i] = (float)i / 4;
    return (tq_cache_config){.size = sizeof(tq_cache_config),
                             .capacity = 40,
                             .recent = 3,
                             .sinks = 2,
                             .k_centre = p->centre,
                             .layer = setup_layer(0, 1)};
}

static void open_pair_config(pair *p, const tq_cache_config *c) {
    rng r = {11};
    setup_open_config(&p->s, c, 0, 0);
    setup_open_config(&p->other, c, 0, 0);
    setup_cache(&p->s, &p->from);
    setup_cache(&p->other, &p->to);
    assert_int_equal(beside_append_drawn(&p->from, 9, &r), TQ_OK);
    p->block = blob_whole(p->from.cache);
}

static void open_pair(pair *p, tq_cache_policy policy) {
    tq_cache_config c = config_of(p);
    c.policy = policy;
    open_pair_config(p, &c);
}

static void close_pair(pair *p) {
    blob_free(&p->block);
    beside_close(&p->from);
    beside_close(&p->to);
    setup_close(&p->s);
    setup_close(&p->other);
}

static void refused(const pair *p, const blob *b, tq_status want, const char *field) {
    tq_cache_block info = {.size = sizeof info, .bytes = 7};
    assert_int_equal(tq_cache_block_info(b->bytes, b->n, &info), want);
    if (field != NULL) assert_string_equal(tq_last_error()->field, field);
    assert_true(tq_last_error()->index <= b->n);
    assert_int_equal(info.bytes, 7);
    blob_refused(&p->to, b, want, field);
}

/* Every byte, into an empty cache and behind positions. */
static void damage(void **state) {
    (void)state;
    pair p;
    rng r = {1};
    open_pair(&p, TQ_CACHE_GLOBAL);
    for (int filled = 0; filled < 2; filled++) {
        if (filled) assert_int_equal(beside_append_drawn(&p.to, 6, &r), TQ_OK);
        blob whole = blob_export(p.from.cache, filled ? 6 : 0, 9);
        for (size_t i = 0; i < whole.n; i++) {
            const uint8_t was = whole.bytes[i];
            const tq_status want = i < 8               ? TQ_E_FILE_MAGIC
                                   : i < 12            ? TQ_E_FILE_HEADER
                                   : i >= 16 && i < 24 ? TQ_E_FILE_TRUNCATED
                                                       : TQ_E_FILE_CHECKSUM;
            whole.bytes[i] = (uint8_t)(was ^ (1u << rng_below(&r, 8)));
            refused(&p, &whole, want, NULL);
            whole.bytes[i] = was;
        }
        assert_int_equal(tq_cache_import(p.to.cache, whole.bytes, whole.n), TQ_OK);
        blob_free(&whole);
        tq_cache_clear(p.to.cache);
        model_clear(p.to.model);
    }
    close_pair(&p);
}

/* Every length, and more bytes than there are. With the right hash too: what the header says counts. */
static void cuts(void **state) {
    (void)state;
    pair p;
    open_pair(&p, TQ_CACHE_GLOBAL);
    for (size_t n = 0; n < p.block.n + 70; n++) {
        if (n == p.block.n) continue;
        blob cut = blob_copy(&p.block, n);
        refused(&p, &cut, TQ_E_FILE_TRUNCATED, n < HEADER + 8 ? "header" : "bytes");
        if (n >= HEADER + 8) {
            tq_put_u64(cut.bytes + 16, n);
            refused(&p, &cut, TQ_E_FILE_CHECKSUM, "xxh3");
            blob_seal(&cut);
            refused(&p, &cut, TQ_E_FILE_SHAPE, "bytes");
        }
        blob_free(&cut);
    }
    close_pair(&p);
}

typedef struct absurd {
    size_t at, width;
    uint64_t value;
    tq_status status;
    const char *field;
} absurd;

static void put(uint8_t *at, size_t width, uint64_t value) {
    for (size_t i = 0; i < width; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void refused_with(const pair *p, const absurd *a) {
    blob b = blob_copy(&p->block, p->block.n);
    put(b.bytes + a->at, a->width, a->value);
    blob_seal(&b);
    refused(p, &b, a->status, a->field);
    blob_free(&b);
}

/* The hash is right, and the rest is what somebody else writes, or means harm with. */
static void absurd_headers(void **state) {
    (void)state;
    static const absurd all[] = {
        {12, 4, 0, TQ_E_FILE_FIELD, "n_kv_heads"},
        {12, 4, 2, TQ_E_FILE_SHAPE, "bytes"},
        {12, 4, UINT32_MAX, TQ_E_FILE_SHAPE, "bytes"},
        {24, 8, 1, TQ_E_FILE_SHAPE, "bytes"},
        {24, 8, 3, TQ_E_FILE_SHAPE, "positions"},
        {24, 8, UINT64_MAX, TQ_E_FILE_SHAPE, "positions"},
        {32, 8, 0, TQ_E_FILE_SHAPE, "bytes"},
        {32, 8, 3, TQ_E_FILE_SHAPE, "positions"},
        {40, 8, 1, TQ_E_FILE_SHAPE, "positions"},
        {40, 8, 6, TQ_E_FILE_SHAPE, "positions"}, /* a centre of no codes */
        {48, 8, 1, TQ_E_FILE_SHAPE, "positions"},
        {48, 8, 10, TQ_E_FILE_SHAPE, "positions"},
        {48, 8, 7, TQ_E_FILE_SHAPE, "bytes"},
        {56, 8, 5, TQ_E_FILE_SHAPE, "positions"},
        {56, 8, UINT64_MAX, TQ_E_FILE_SHAPE, "bytes"},
        {56, 8, (uint64_t)1 << 58, TQ_E_FILE_SHAPE, "bytes"},
        {K(0), 4, 1, TQ_E_FILE_FIELD, "k.store"},
        {K(0), 4, TQ_STORE_F16, TQ_E_FILE_FIELD, "k.format"},
        {V(0), 4, TQ_STORE_BF16, TQ_E_FILE_FIELD, "v.dense"},
        {V(0), 4, 77, TQ_E_FILE_FIELD, "v.store"},
        {K(4), 4, 0, TQ_E_FILE_FIELD, "k.dense"},
        {V(4), 4, 1, TQ_E_FILE_FIELD, "v.dense"},
        {K(8), 4, 0, TQ_E_FILE_FIELD, "k.format"},
        {K(8), 4, 0x108000, TQ_E_FILE_FIELD, "k.format"},
        {K(8), 4, TQ_TQ7, TQ_E_FILE_FIELD, "k.codebook"},
        {V(8), 4, UINT32_MAX, TQ_E_FILE_FIELD, "v.format"},
        {V(8), 4, TQ_TQ8_V1, TQ_E_FILE_FIELD, "v.head_dim"},
        {K(12), 4, 0, TQ_E_FILE_FIELD, "k.head_dim"},
        {K(12), 4, 33, TQ_E_FILE_FIELD, "k.head_dim"},
        {K(12), 4, 64, TQ_E_FILE_FIELD, "k.rotation"},
        {V(12), 4, 0xFFFFFFF0, TQ_E_FILE_FIELD, "v.head_dim"},
        {K(16), 4, 0, TQ_E_FILE_FIELD, "k.norm_rule"},
        {V(16), 4, 4, TQ_E_FILE_FIELD, "v.norm_rule"},
        {V(16), 4, UINT32_MAX, TQ_E_FILE_FIELD, "v.norm_rule"},
        {K(20), 4, 0x3F800000, TQ_E_FILE_FIELD, "k.scale_factor_d512"},
        {K(20), 4, NAN_BITS, TQ_E_FILE_FIELD, "k.scale_factor_d512"},
        {V(20), 4, 0x80000000, TQ_E_FILE_FIELD, "v.scale_factor_d512"},
        {K(24), 4, 0, TQ_E_FILE_SHAPE, "bytes"},
        {K(24), 4, 2, TQ_E_FILE_FIELD, "k.centre"},
        {V(24), 4, 1, TQ_E_FILE_FIELD, "v.centre"},
        {K(28), 4, 1, TQ_E_FILE_FIELD, "k.unused"},
        {K(32), 8, NO_SUCH_ID, TQ_E_FILE_FIELD, "k.codebook"},
        {V(32), 8, 0, TQ_E_FILE_FIELD, "v.codebook"},
        {K(40), 8, NO_SUCH_ID, TQ_E_FILE_FIELD, "k.rotation"},
        {V(40), 8, 0, TQ_E_FILE_FIELD, "v.rotation"},
        {K(48), 8, 1, TQ_E_FILE_SHAPE, "bytes"}, /* as many centres as positions */
        {K(48), 8, 5, TQ_E_FILE_SHAPE, "bytes"},
        {K(56), 1, 1, TQ_E_FILE_FIELD, "k.unused"},
        {K(63), 1, 1, TQ_E_FILE_FIELD, "k.unused"},
        {V(48), 8, 1, TQ_E_FILE_FIELD, "v.centre_stretch"},
        {V(56), 1, 1, TQ_E_FILE_FIELD, "v.unused"},
        {HEADER, 2, 0x7E00, TQ_E_FILE_FIELD, "centre"},
        {HEADER + 2, 2, HALF_INF, TQ_E_FILE_FIELD, "centre"},
        {HEADER + 31 * 2, 2, 0xFC00, TQ_E_FILE_FIELD, "centre"},
        {HEADER + 64, 2, HALF_INF, TQ_E_FILE_FIELD, "sinks"},
        {HEADER + 64 + 254, 2, 0xFE00, TQ_E_FILE_FIELD, "sinks"},
        {HEADER + 320, 2, HALF_INF, TQ_E_FILE_FIELD, "recent"},
        {HEADER + 320 + 382, 2, 0xFFFF, TQ_E_FILE_FIELD, "recent"},
        {HEADER + 704, 2, 0x7E00, TQ_E_FILE_FIELD, "norms"},
        {HEADER + 706, 2, HALF_INF, TQ_E_FILE_FIELD, "norms"},
        {HEADER + 704 + 14, 2, 0xBC00, TQ_E_FILE_FIELD, "norms"},
        {HEADER + 704 + 14, 2, 0x8000, TQ_E_FILE_FIELD, "norms"},
    };
    pair p;
    open_pair(&p, TQ_CACHE_RING);
    for (size_t i = 0; i < COUNT(all); i++)
        refused_with(&p, &all[i]);
    /* The one before its first is at a place of its own, and what is left whole is taken. */
    blob again = blob_copy(&p.block, p.block.n);
    blob_seal(&again);
    assert_int_equal(tq_cache_import(p.to.cache, again.bytes, again.n), TQ_OK);
    blob_same(again, blob_whole(p.to.cache));
    tq_cache_clear(p.to.cache);
    close_pair(&p);
}

/* A dense side has a store and head_dim alone, and values that a cache could have taken. */
static void absurd_dense_sides(void **state) {
    (void)state;
    enum {
        SINKS = HEADER,
        RECENT = SINKS + 2 * (2 * 32 + 2 * 48),
        NORMS = RECENT + 3 * (2 * 32 + 2 * 48),
        BYTES = NORMS + 4 * (2 * 32 + 2 * 48) + 8
    };
    static const absurd all[] = {
        {K(0), 4, TQ_STORE_F32, TQ_E_FILE_FIELD, "k.store"},
        {K(0), 4, TQ_STORE_F16, TQ_E_FILE_FIELD, "k.dense"},
        {K(0), 4, TQ_STORE_CODES, TQ_E_FILE_FIELD, "k.dense"},
        {V(0), 4, TQ_STORE_CODES, TQ_E_FILE_FIELD, "v.format"},
        {V(4), 4, TQ_STORE_BF16, TQ_E_FILE_FIELD, "v.dense"},
        {K(8), 4, TQ_TQ4, TQ_E_FILE_FIELD, "k.format"},
        {K(12), 4, 33, TQ_E_FILE_FIELD, "k.head_dim"},
        {V(12), 4, 64, TQ_E_FILE_SHAPE, "bytes"},
        {V(16), 4, TQ_NORM_PLAIN, TQ_E_FILE_FIELD, "v.norm_rule"},
        {K(20), 4, 0x3F800000, TQ_E_FILE_FIELD, "k.scale_factor_d512"},
        {K(24), 4, 1, TQ_E_FILE_FIELD, "k.centre"},
        {K(32), 8, NO_SUCH_ID, TQ_E_FILE_FIELD, "k.codebook"},
        {V(40), 8, NO_SUCH_ID, TQ_E_FILE_FIELD, "v.rotation"},
        {SINKS, 2, 0x5C01, TQ_E_FILE_FIELD, "sinks"}, /* bfloat16 just beyond TQ_MAX_ABS */
        {SINKS + 2 * 2 * 32, 2, HALF_INF, TQ_E_FILE_FIELD, "sinks"},
        {RECENT, 2, 0xFF80, TQ_E_FILE_FIELD, "recent"},
        {NORMS, 2, 0x7F80, TQ_E_FILE_FIELD, "codes"},
        {BYTES - 10, 2, 0x7E00, TQ_E_FILE_FIELD, "codes"},
    };
    tq_cache_config c = {.size = sizeof c, .capacity = 40, .recent = 3, .sinks = 2};
    c.layer = (tq_cache_layer){1, {0, 32, 0, 0}, {0, 48, 0, 0}, TQ_STORE_BF16, TQ_STORE_F16};
    pair p;
    open_pair_config(&p, &c);
    assert_int_equal(p.block.n, BYTES);
    for (size_t i = 0; i < COUNT(all); i++)
        refused_with(&p, &all[i]);
    put(p.block.bytes + SINKS, 2, 0x5C00);
    put(p.block.bytes + BYTES - 10, 2, 0xFBFF);
    blob_seal(&p.block);
    assert_int_equal(tq_cache_import(p.to.cache, p.block.bytes, p.block.n), TQ_OK);
    blob_same(blob_copy(&p.block, p.block.n), blob_whole(p.to.cache));
    tq_cache_clear(p.to.cache);
    close_pair(&p);
}

/* A gap is a ring's: only behind its sinks, from position 0 on. */
static void gaps(void **state) {
    (void)state;
    const tq_cache_config c = {
        .size = sizeof c, .policy = TQ_CACHE_RING, .capacity = 9, .layer = setup_layer(0, 1)};
    setup s;
    beside b;
    rng r = {2};
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &b);
    assert_int_equal(beside_append_drawn(&b, 20, &r), TQ_OK);
    blob block = blob_whole(b.cache);
    tq_put_u64(block.bytes + 24, 1);
    tq_put_u64(block.bytes + 32, 1);
    blob_seal(&block);
    beside_clear(&b);
    blob_refused(&b, &block, TQ_E_FILE_SHAPE, "positions");
    blob_free(&block);
    beside_close(&b);
    setup_close(&s);
}

/* The block of open_pair() for caches that differ in one thing each. */
static void other_caches(void **state) {
    (void)state;
    enum { OTHERS = 20 };
    static const struct {
        tq_status status;
        const char *field;
    } want[OTHERS] = {
        {TQ_E_HEADS, "n_kv_heads"},
        {TQ_E_FORMAT, "format"},
        {TQ_E_FORMAT, "format"},
        {TQ_E_HEAD_DIM, "head_dim"},
        {TQ_E_NORM_RULE, "norm_rule"},
        {TQ_E_NORM_RULE, "norm_rule"},
        {TQ_E_FILE_FIELD, "k_centre"},
        {TQ_E_FILE_FIELD, "k_centre"},
        {TQ_OK, NULL},
        {TQ_E_POSITION, "sinks"},
        {TQ_E_POSITION, "codes"},
        {TQ_E_POSITION, "end"},
        {TQ_E_POSITION, "end"},
        {TQ_OK, NULL},
        {TQ_OK, NULL},
        {TQ_E_FORMAT, "store"},
        {TQ_E_FORMAT, "store"},
        {TQ_E_HEAD_DIM, "head_dim"},
        {TQ_E_FILE_FIELD, "k_centre"},
        {TQ_OK, NULL},
    };
    static float wide[64];
    for (unsigned i = 0; i < OTHERS; i++) {
        pair p;
        open_pair(&p, TQ_CACHE_GLOBAL);
        tq_cache_config c = config_of(&p);
        float centre[32];
        memcpy(centre, p.centre, sizeof centre);
        if (i == 0) c.layer.n_kv_heads = 2;
        if (i == 1) c.layer.k.format = TQ_TQ7;
        if (i == 2) c.layer.v.format = TQ_TQ3;
        if (i == 3) c.layer.k.head_dim = c.layer.v.head_dim = 48;
        if (i == 4) c.layer.k.norm_rule = TQ_NORM_UNBIASED;
        if (i == 5) c.layer.v.norm_rule = TQ_NORM_PLAIN;
        if (i == 6) c.k_centre = NULL;
        if (i == 7) centre[31] = nextafterf(centre[31], 0) - 1.0f / 256; /* the next float16 */
        if (i == 7) c.k_centre = centre;
        if (i == 8) c.k_centre = NULL;
        if (i == 8) c.learn_centre = 30;
        if (i == 18) c.k_centre = NULL, c.learn_centre = 5, c.centre_stretch = 7;
        if (i == 19) centre[31] = nextafterf(centre[31], 0), c.k_centre = centre; /* the same float16 */
        if (i == 9) c.sinks = 3;
        if (i == 10) c.sinks = 1;
        if (i == 11) c.capacity = 8, c.recent = 2;
        if (i == 12) c.capacity = 9, c.recent = 4;
        if (i == 13) c.recent = 1;
        if (i == 14) c.layer.v.norm_rule = TQ_NORM_DEFAULT; /* stands for the same */
        if (i == 15) c.layer.k_store = TQ_STORE_F16, c.k_centre = NULL;
        if (i == 16) c.layer.v_store = TQ_STORE_BF16;
        if (i == 17) c.layer.v.head_dim = 48;
        if (i == 0 || i == 3) c.k_centre = wide;
        setup s;
        beside b;
        setup_open_config(&s, &c, 0, 0);
        setup_cache(&s, &b);
        if (want[i].status != TQ_OK) {
            blob_refused(&b, &p.block, want[i].status, want[i].field);
        } else {
            assert_int_equal(tq_cache_import(b.cache, p.block.bytes, p.block.n), TQ_OK);
            assert_int_equal(tq_cache_length(b.cache), 9);
            b.alone = false; /* not the model's any more */
        }
        tq_cache_clear(b.cache);
        beside_close(&b);
        setup_close(&s);
        close_pair(&p);
    }
}

/* Keys that lack no centre are not for caches whose keys do, or will. */
static void keys_without_a_centre(void **state) {
    (void)state;
    const tq_cache_config none = {.size = sizeof none,
                                  .policy = TQ_CACHE_RING,
                                  .capacity = 9,
                                  .recent = 9,
                                  .layer = setup_layer(0, 1)};
    for (int i = 0; i < 4; i++) {
        float centre[32] = {1};
        tq_cache_config c = none, other = none;
        setup s, of_other;
        beside a, b;
        rng r = {3};
        if (i < 2) c.recent = 1; /* otherwise nothing is encoded that a centre could lack */
        if (i % 2 == 0) other.learn_centre = 9;
        if (i % 2 == 1) other.k_centre = centre;
        setup_open_config(&s, &c, 0, 0);
        setup_open_config(&of_other, &other, 0, 0);
        setup_cache(&s, &a);
        setup_cache(&of_other, &b);
        assert_int_equal(beside_append_drawn(&a, 20, &r), TQ_OK);
        blob block = blob_whole(a.cache);
        if (i < 2) {
            blob_refused(&b, &block, TQ_E_FILE_FIELD, "k_centre");
        } else {
            assert_int_equal(tq_cache_import(b.cache, block.bytes, block.n), TQ_OK);
            assert_int_equal(tq_cache_first(b.cache), 11);
            tq_cache_clear(b.cache);
        }
        blob_free(&block);
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
        setup_close(&of_other);
    }
}

/* A stretch that has no centre yet takes the block's, if what it holds of it are sinks alone; one that
 * has it takes no other. */
static void waiting_caches(void **state) {
    (void)state;
    const tq_cache_config c = {.size = sizeof c,
                               .capacity = 60,
                               .recent = 2,
                               .sinks = 2,
                               .learn_centre = 6,
                               .centre_stretch = 10,
                               .layer = setup_layer(0, 1)};
    setup s, other;
    beside a, b, z;
    rng r = {4};
    setup_open_config(&s, &c, 0, 0);
    setup_open_config(&other, &c, 0, 0);
    setup_cache(&s, &a);
    setup_cache(&s, &z);
    setup_cache(&other, &b);
    z.alone = a.alone = false;
    assert_int_equal(beside_append_drawn(&a, 4, &r), TQ_OK);
    blob early = blob_export(a.cache, 0, 4);
    assert_int_equal(beside_append(&z, 4, a.model->k.x, a.model->v.x), TQ_OK);
    assert_int_equal(beside_append_drawn(&a, 20, &r), TQ_OK);
    assert_int_equal(beside_append_drawn(&z, 20, &r), TQ_OK); /* others */
    assert_int_equal(tq_cache_encoded_end(a.cache), 20);
    blob sinks = blob_export(a.cache, 0, 2), start = blob_export(a.cache, 2, 5),
         rest = blob_export(a.cache, 5, 24), late = blob_export(a.cache, 4, 24),
         foreign = blob_export(z.cache, 5, 24), next = blob_export(z.cache, 10, 24);
    assert_int_equal(tq_cache_import(b.cache, early.bytes, early.n), TQ_OK);
    model_adopt(b.model, a.model, 4);
    b.model->encoded_end = 2;
    blob_refused(&b, &late, TQ_E_POSITION, "codes");
    beside_clear(&b);
    assert_int_equal(tq_cache_import(b.cache, sinks.bytes, sinks.n), TQ_OK);
    assert_int_equal(tq_cache_import(b.cache, start.bytes, start.n), TQ_OK);
    model_adopt(b.model, a.model, 5);
    blob_refused(&b, &foreign, TQ_E_FILE_FIELD, "k_centre"); /* its stretch has another centre */
    assert_int_equal(tq_cache_import(b.cache, rest.bytes, rest.n), TQ_OK);
    model_adopt(b.model, a.model, 24);
    beside_check(&b);
    assert_int_equal(beside_truncate(&b, 11), TQ_OK); /* stretch 1 is still known */
    blob_free(&foreign);
    foreign = blob_export(z.cache, 11, 24);
    blob_refused(&b, &foreign, TQ_E_FILE_FIELD, "k_centre");
    assert_int_equal(beside_truncate(&b, 10), TQ_OK); /* and now no more */
    assert_int_equal(tq_cache_import(b.cache, next.bytes, next.n), TQ_OK);
    assert_memory_equal(tq_cache_k_centre(b.cache, 10), tq_cache_k_centre(z.cache, 10), 2 * 32);
    assert_memory_equal(tq_cache_k_centre(b.cache, 9), tq_cache_k_centre(a.cache, 9), 2 * 32);
    blob_same(blob_export(b.cache, 10, 24), blob_copy(&next, next.n));
    tq_cache_clear(b.cache);
    model_clear(b.model);
    blob *all[] = {&early, &sinks, &start, &rest, &late, &foreign, &next};
    for (size_t i = 0; i < COUNT(all); i++)
        blob_free(all[i]);
    beside_close(&a);
    beside_close(&z);
    beside_close(&b);
    setup_close(&s);
    setup_close(&other);
}

/* What an append would not take, since its norm might be more than float16 holds. */
static void vectors_too_long(void **state) {
    (void)state;
    pair p;
    open_pair(&p, TQ_CACHE_GLOBAL);
    const size_t k_sink = HEADER + 64, v_sink = k_sink + 2 * 64, k_recent = HEADER + 320,
                 v_recent = k_recent + 3 * 64;
    const size_t places[] = {k_sink,   k_sink + 64,   v_sink + 64, k_recent + 2 * 64,
                             v_recent, v_recent + 128};
    for (size_t i = 0; i < COUNT(places); i++) {
        blob b = blob_copy(&p.block, p.block.n);
        tq_put_u16(b.bytes + places[i] + 6, 0x7BFF); /* 65504 */
        blob_seal(&b);
        tq_cache_block info = {.size = sizeof info};
        assert_int_equal(tq_cache_block_info(b.bytes, b.n, &info), TQ_OK); /* of no cache in particular */
        assert_int_equal(tq_cache_import(p.to.cache, b.bytes, b.n), TQ_E_RANGE);
        assert_int_equal(tq_last_error()->index, places[i]);
        blob_refused(&p.to, &b, TQ_E_RANGE, i < 3 ? "sinks" : "recent");
        blob_free(&b);
    }
    close_pair(&p);
}

/* A learned centre is no longer than the keys are; with a longer one later keys could not be encoded. */
static void centre_too_long(void **state) {
    (void)state;
    enum { DIM = 64, N = 32 };
    static float x[N * DIM];
    tq_cache *from, *to;
    tq_cache_config c = tq_cache_config_default(1, DIM, 2 * N);
    size_t n;
    rng r = {7};
    c.recent = c.learn_centre = 8;
    c.centre_stretch = DIM;
    c.sinks = 0;
    rng_gauss_fill(&r, x, N * DIM);
    for (size_t i = 0; i < N * DIM; i++)
        x[i] += 3.0f; /* in common */
    assert_int_equal(tq_cache_create(&c, &from), TQ_OK);
    assert_int_equal(tq_cache_create(&c, &to), TQ_OK);
    assert_int_equal(tq_cache_append(from, N, x, x), TQ_OK);
    assert_int_equal(tq_cache_export_size(from, 0, N, &n), TQ_OK);
    blob b = blob_new(n);
    assert_int_equal(tq_cache_export(from, 0, N, b.bytes, n), TQ_OK);
    for (size_t i = 0; i < DIM; i++)
        tq_put_u16(b.bytes + HEADER + 2 * i, 0x7BFF); /* 65504 */
    blob_seal(&b);
    assert_int_equal(tq_cache_import(to, b.bytes, n), TQ_E_RANGE);
    assert_string_equal(tq_last_error()->field, "k_centre");
    assert_int_equal(tq_last_error()->index, HEADER);
    assert_int_equal(tq_cache_length(to), 0);
    blob_free(&b);
    tq_cache_destroy(from);
    tq_cache_destroy(to);
}

static void bad_calls(void **state) {
    (void)state;
    pair p;
    size_t n = 7;
    uint8_t byte = 0xA5;
    tq_cache_block info = {.size = sizeof info};
    open_pair(&p, TQ_CACHE_GLOBAL);
    const tq_cache *c = p.from.cache;
    check_record(tq_cache_export_size(NULL, 0, 0, &n), TQ_E_NULL, "cache");
    check_record(tq_cache_export_size(c, 0, 1, NULL), TQ_E_NULL, "bytes");
    check_record(tq_cache_export_size(c, 0, 10, &n), TQ_E_POSITION, "end");
    check_record(tq_cache_export_size(c, 4, 10, &n), TQ_E_POSITION, "end");
    check_record(tq_cache_export_size(c, 5, 4, &n), TQ_E_POSITION, "first");
    check_record(tq_cache_export_size(c, UINT64_MAX, UINT64_MAX, &n), TQ_E_POSITION, "end");
    assert_int_equal(n, 7);
    check_record(tq_cache_export(NULL, 0, 0, &byte, 1), TQ_E_NULL, "cache");
    check_record(tq_cache_export(c, 0, 1, NULL, 1), TQ_E_NULL, "block");
    check_record(tq_cache_export(c, 0, 10, &byte, 1), TQ_E_POSITION, "end");
    check_record(tq_cache_export(c, 0, 9, &byte, 1), TQ_E_SIZE, "block");
    assert_int_equal(tq_last_error()->index, p.block.n);
    assert_int_equal(byte, 0xA5);
    check_record(tq_cache_block_info(NULL, 1, &info), TQ_E_NULL, "block");
    check_record(tq_cache_block_info(&byte, 1, NULL), TQ_E_NULL, "info");
    info.size = 0;
    check_record(tq_cache_block_info(p.block.bytes, p.block.n, &info), TQ_E_SIZE, "size");
    check_record(tq_cache_import(NULL, &byte, 1), TQ_E_NULL, "cache");
    check_record(tq_cache_import(p.to.cache, NULL, 1), TQ_E_NULL, "block");
    close_pair(&p);
}

/* A ring gives a chunk whole or not at all. */
static void chunks_of_rings(void **state) {
    (void)state;
    const tq_cache_config c = {.size = sizeof c,
                               .policy = TQ_CACHE_RING,
                               .capacity = 12,
                               .recent = 2,
                               .sinks = 3,
                               .layer = setup_layer(0, 1)};
    setup s;
    beside b;
    rng r = {3};
    size_t n;
    setup_open_config(&s, &c, 0, 0);
    setup_cache(&s, &b);
    assert_int_equal(beside_append_drawn(&b, 30, &r), TQ_OK);
    assert_int_equal(tq_cache_first(b.cache), 18);
    check_record(tq_cache_export_size(b.cache, 17, 30, &n), TQ_E_POSITION, "first");
    check_record(tq_cache_export_size(b.cache, 2, 4, &n), TQ_E_POSITION, "first");
    assert_int_equal(tq_cache_export_size(b.cache, 2, 3, &n), TQ_OK);
    assert_int_equal(tq_cache_export_size(b.cache, 18, 30, &n), TQ_OK);
    assert_int_equal(tq_cache_export_size(b.cache, 29, 30, &n), TQ_OK);
    beside_close(&b);
    setup_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage),
        cmocka_unit_test(cuts),
        cmocka_unit_test(absurd_headers),
        cmocka_unit_test(absurd_dense_sides),
        cmocka_unit_test(gaps),
        cmocka_unit_test(other_caches),
        cmocka_unit_test(keys_without_a_centre),
        cmocka_unit_test(waiting_caches),
        cmocka_unit_test(vectors_too_long),
        cmocka_unit_test(centre_too_long),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test(chunks_of_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
