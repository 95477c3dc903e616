/* SPDX-License-Identifier: MIT
 * Caches out of blocks go on as those did that the blocks come from. */
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "broken.h"
#include "setup.h"
#include "support/cm.h"

enum { POLICIES = 8, MOST_LENGTH = 60 };

/* The same parts and centre under another policy: a global cache, a ring that loses nothing here, a short
 * ring, pages, a ring that encodes nothing where it need not; pages with a window that lose nothing,
 * some, and all they can. */
static void open_other(setup *s, const setup *from, unsigned policy) {
    static const struct {
        tq_cache_policy policy;
        size_t capacity, window;
    } others[POLICIES] = {{TQ_CACHE_GLOBAL, 100, 0}, {TQ_CACHE_RING, 90, 5}, {TQ_CACHE_RING, 11, 5},
                          {TQ_CACHE_PAGED, 64, 0},   {TQ_CACHE_RING, 1, 0},  {TQ_CACHE_PAGED, 90, 5},
                          {TQ_CACHE_PAGED, 11, 5},   {TQ_CACHE_PAGED, 1, 1}};
    tq_cache_config c = from->config;
    c.policy = others[policy].policy;
    c.capacity = others[policy].capacity;
    if (c.capacity < c.recent) c.capacity = c.recent;
    if (c.capacity < c.learn_centre) c.capacity = c.learn_centre;
    c.window = others[policy].window;
    c.pool = NULL;
    setup_open_config(s, &c, 40, 4);
}

/* Every pair of sides that takes little time to go with a kind: of codes, dense, of unequal head_dim. */
static unsigned codecs_of(unsigned kind) {
    const unsigned dense = SETUP_CODECS - SETUP_MIXED;
    const unsigned i = (kind + kind / 7) % (SETUP_CHEAP + SETUP_MIXED);
    return i < SETUP_CHEAP ? i : dense + i - SETUP_CHEAP;
}

/* Both get the same vectors. */
static void append_to_both(beside *a, beside *b, size_t n, uint64_t seed) {
    rng ra = {seed}, rb = {seed};
    if (!a->model->forgets && a->model->length + n > MOST_LENGTH) return;
    assert_int_equal(beside_append_any(a, n, &ra), TQ_OK);
    assert_int_equal(beside_append_any(b, n, &rb), TQ_OK);
}

/* An engine's life; the models watch. What forgets may refuse a rewind. */
static void live(beside *b, rng *r) {
    const uint64_t length = tq_cache_length(b->cache);
    switch (rng_below(r, 8)) {
    case 0:
        beside_truncate(b, rng_below(r, (uint32_t)length + 1));
        break;
    case 1:
    case 2:
        beside_truncate(b, length - rng_below(r, length < 4 ? (uint32_t)length + 1 : 4));
        break;
    case 3:
        if (rng_below(r, 4) == 0) beside_clear(b);
        break;
    default:
        if (b->model->forgets || length < MOST_LENGTH - 9)
            assert_int_equal(beside_append_any(b, 1 + rng_below(r, 9), r), TQ_OK);
    }
}

static void attend(const beside *b, float *out) {
    const tq_attention_params p = {
        .size = sizeof p, .n_heads = (uint32_t)b->model->heads, .n_queries = 1, .scale = 0.1f};
    const size_t values = b->model->heads * b->model->k.dim;
    float *q = zeroed(values, sizeof *q);
    size_t bytes = 0;
    rng r = {7};
    rng_gauss_fill(&r, q, values);
    assert_int_equal(tq_cache_attend_workspace(b->cache, &p, &bytes), TQ_OK);
    void *workspace = aligned_alloc(64, bytes);
    assert_int_equal(tq_cache_attend(b->cache, &p, q, values, out, b->model->heads * b->model->v.dim,
                                     NULL, 0, workspace, bytes),
                     TQ_OK);
    free(workspace);
    free(q);
}

static void same_attention(const beside *a, const beside *b) {
    const uint64_t length = tq_cache_length(a->cache);
    if (length == 0 || !model_sees_all(a->model, length - 1)) return;
    const size_t values = a->model->heads * a->model->v.dim;
    float *of_a = zeroed(values, sizeof *of_a), *of_b = zeroed(values, sizeof *of_b);
    attend(a, of_a);
    attend(b, of_b);
    assert_memory_equal(of_a, of_b, values * sizeof *of_a);
    free(of_a);
    free(of_b);
}

/* Into an empty cache of the same configuration; then both go the same way. */
static void go_on_alike(setup *s, const beside *from, rng *r) {
    setup other;
    beside a, b;
    setup_open_config(&other, &s->config, 40, 3);
    setup_cache(&other, &b);
    blob_restore(&b, from, tq_cache_length(from->cache));
    blob_same(blob_whole(b.cache), blob_whole(from->cache));
    same_attention(from, &b);
    a = *from; /* its caller goes on with it */
    for (int i = 0; i < 4; i++) {
        append_to_both(&a, &b, 1 + rng_below(r, 7), rng_next(r));
        const uint64_t to = tq_cache_length(a.cache) - rng_below(r, 3) % (tq_cache_length(a.cache) + 1);
        assert_int_equal(beside_truncate(&a, to), beside_truncate(&b, to));
        blob_same(blob_whole(b.cache), blob_whole(a.cache));
        same_attention(&a, &b);
    }
    beside_close(&b);
    setup_close(&other);
}

/* A fork of it, which may share its pages, does likewise; the cache itself sees nothing of that. */
static void forks_go_on_alike(setup *s, beside *from, rng *r) {
    beside fork;
    const uint64_t length = rng_below(r, (uint32_t)tq_cache_length(from->cache) + 1);
    if (beside_fork(from, length, &fork) != TQ_OK) return; /* it has forgotten too much for that */
    go_on_alike(s, &fork, r);
    beside_check(from);
    beside_close(&fork);
}

static void every_kind_goes_on(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, codecs_of(kind), 1 + kind % 2);
        setup_cache(&s, &b);
        for (int turn = 0; turn < 12; turn++) {
            go_on_alike(&s, &b, &r);
            forks_go_on_alike(&s, &b, &r);
            for (int i = 0; i < 3; i++)
                live(&b, &r);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* v1 with one norm and two, and a head_dim with odd factors. */
static void every_pair_of_formats_goes_on(void **state) {
    (void)state;
    for (unsigned codecs = SETUP_CHEAP; codecs < SETUP_CODECS; codecs++) {
        setup s;
        beside b;
        rng r = {codecs};
        setup_open(&s, 67 + codecs, codecs, 2);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 17, &r), TQ_OK);
        go_on_alike(&s, &b, &r);
        beside_close(&b);
        setup_close(&s);
    }
}

/* A block is of no policy: each takes it from each, unless positions are missing. */
static void into_policy(const setup *s, const beside *from, unsigned policy, rng *r) {
    setup other;
    beside b;
    blob block = blob_whole(from->cache);
    tq_cache_block info = {.size = sizeof info};
    open_other(&other, s, policy);
    setup_cache(&other, &b);
    assert_int_equal(tq_cache_block_info(block.bytes, block.n, &info), TQ_OK);
    const bool forgets = setup_forgets(&other);
    if (!forgets && info.codes_first > info.sinks_end) {
        blob_refused(&b, &block, TQ_E_POSITION, "codes");
    } else if (!forgets && info.end > other.config.capacity) {
        blob_refused(&b, &block, TQ_E_POSITION, "end");
    } else {
        blob_restore(&b, from, tq_cache_length(from->cache));
        for (int i = 0; i < 3; i++)
            live(&b, r);
    }
    blob_free(&block);
    beside_close(&b);
    setup_close(&other);
}

static void every_policy_takes_every_other(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, codecs_of(kind), 1 + kind % 2);
        setup_cache(&s, &b);
        for (int turn = 0; turn < 5; turn++) {
            for (int i = 0; i < 4; i++)
                live(&b, &r);
            for (unsigned policy = 0; policy < POLICIES; policy++)
                into_policy(&s, &b, policy, &r);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* Codes and more in float16 than the cache keeps so: as if all had been appended to it. */
static void with_fewer_recent(const beside *from, const tq_cache_config *config) {
    setup s, other;
    beside b, appended;
    blob all = blob_whole(from->cache);
    setup_open_config(&s, config, 40, 3);
    setup_open_config(&other, config, 40, 3);
    setup_cache(&s, &b);
    setup_cache(&other, &appended);
    assert_int_equal(beside_append(&appended, 40, from->model->k.x, from->model->v.x), TQ_OK);
    assert_int_equal(tq_cache_import(b.cache, all.bytes, all.n), TQ_OK);
    model_adopt(b.model, appended.model, 40);
    beside_check(&b);
    blob_same(blob_whole(b.cache), blob_whole(appended.cache));
    blob_free(&all);
    beside_close(&b);
    beside_close(&appended);
    setup_close(&s);
    setup_close(&other);
}

static void fewer_recent(void **state) {
    (void)state;
    for (unsigned i = 0; i < 3 * (SETUP_CHEAP + SETUP_MIXED); i++) {
        tq_cache_config c = {.size = sizeof c, .capacity = 60, .recent = 12, .sinks = 2};
        setup s;
        beside b;
        rng r = {i};
        c.layer = setup_layer(codecs_of(i), 2);
        setup_open_config(&s, &c, 0, 0);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 40, &r), TQ_OK);
        c.recent = 1 + i % 4;
        with_fewer_recent(&b, &c);
        for (c.capacity = 8; c.capacity < 60; c.capacity += 9) {
            c.window = 4;
            c.policy = TQ_CACHE_RING;
            with_fewer_recent(&b, &c);
            c.policy = TQ_CACHE_PAGED;
            with_fewer_recent(&b, &c);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* [0, end) is what a rewind to `end` leaves, where that may be. */
static void as_a_rewind(const setup *s, const beside *from, uint64_t end) {
    setup other;
    beside b;
    size_t bytes = 7;
    setup_open_config(&other, &s->config, 40, 3);
    setup_cache(&other, &b);
    blob_restore(&b, from, tq_cache_length(from->cache));
    const tq_status got = tq_cache_export_size(from->cache, 0, end, &bytes);
    if (got != TQ_OK) {
        check_record(got, TQ_E_POSITION, "end");
        assert_int_equal(bytes, 7);
    }
    assert_int_equal(beside_truncate(&b, end), got);
    if (got == TQ_OK) blob_same(blob_whole(b.cache), blob_export(from->cache, 0, end));
    beside_close(&b);
    setup_close(&other);
}

static void shorter_is_as_a_rewind(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, 1);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 23, &r), TQ_OK);
        for (uint64_t end = 0; end <= 23; end++)
            as_a_rewind(&s, &b, end);
        beside_truncate(&b, 19);
        for (uint64_t end = 0; end <= 19; end++)
            as_a_rewind(&s, &b, end);
        beside_close(&b);
        setup_close(&s);
    }
}

/* Prefixes as they are encoded, the rest last: the same cache, the same chunks from it. */
static void in_chunks(const setup *s, const beside *from, unsigned policy, size_t size) {
    const uint64_t length = tq_cache_length(from->cache), encoded = tq_cache_encoded_end(from->cache);
    setup other;
    beside b;
    open_other(&other, s, policy);
    setup_cache(&other, &b);
    b.alone = false; /* the model follows at the end */
    for (uint64_t first = 0, end; first < length; first = end) {
        end = first + size < encoded ? first + size : first < encoded ? encoded : length;
        blob chunk = blob_export(from->cache, first, end);
        if (tq_cache_import(b.cache, chunk.bytes, chunk.n) != TQ_OK)
            broken("%s", tq_last_error()->message);
        assert_int_equal(tq_cache_length(b.cache), end);
        if (other.config.capacity >= end + other.config.recent)
            blob_same(blob_export(b.cache, first, end), chunk);
        else
            blob_free(&chunk);
    }
    model_adopt(b.model, from->model, length);
    beside_check(&b);
    beside_close(&b);
    setup_close(&other);
}

static void chunks(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS / SETUP_POLICIES; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, 1 + kind % 2);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 41, &r), TQ_OK);
        for (unsigned policy = 0; policy < POLICIES; policy++) {
            in_chunks(&s, &b, policy, 8);
            in_chunks(&s, &b, policy, 7);
            in_chunks(&s, &b, policy, 1);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* What a rewind took away comes back: the cache is what it was. */
static void chunks_after_rewinds(void **state) {
    (void)state;
    size_t returned = 0;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, codecs_of(kind), 1);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 29, &r), TQ_OK);
        const blob whole = blob_whole(b.cache);
        for (uint64_t to = tq_cache_encoded_end(b.cache) + 1; to-- > 1;) {
            size_t bytes;
            if (tq_cache_export_size(b.cache, to, 29, &bytes) != TQ_OK) continue;
            blob tail = blob_export(b.cache, to, 29);
            if (tq_cache_truncate(b.cache, to) == TQ_OK) {
                if (tq_cache_import(b.cache, tail.bytes, tail.n) != TQ_OK)
                    broken("%s", tq_last_error()->message);
                blob_same(blob_whole(b.cache), blob_copy(&whole, whole.n));
                returned++;
            }
            blob_free(&tail);
        }
        for (size_t i = 0; s.pool != NULL && i < s.pool_model->n_pages; i++)
            s.pool_model->pages[i].seen = false; /* they have come back in another order */
        beside_check(&b);
        blob_same(blob_whole(b.cache), whole);
        beside_close(&b);
        setup_close(&s);
    }
    assert_true(returned > 1000);
}

/* Positions in float16, imported in two parts: what they would be if they had been appended. */
static void as_appended(const beside *from, const tq_cache_config *config, uint64_t cut) {
    const uint64_t length = tq_cache_length(from->cache);
    setup s;
    beside b;
    blob halves[] = {blob_export(from->cache, 0, cut), blob_export(from->cache, cut, length)};
    setup_open_config(&s, config, 40, 3);
    setup_cache(&s, &b);
    const bool none = config->recent == 0 && config->learn_centre == 0;
    for (int i = 0; i < 2; i++) {
        const uint64_t end = i == 0 ? cut : length, first = i == 0 ? 0 : cut;
        if (none && end > config->sinks && end > first) {
            blob_refused(&b, &halves[i], TQ_E_POSITION, "recent");
            break;
        }
        if (tq_cache_import(b.cache, halves[i].bytes, halves[i].n) != TQ_OK)
            broken("%s", tq_last_error()->message);
        const size_t at = (size_t)first * from->model->heads;
        assert_int_equal(model_append(b.model, (size_t)(end - first),
                                      from->model->k.x + at * from->model->k.dim,
                                      from->model->v.x + at * from->model->v.dim),
                         TQ_OK);
        beside_check(&b);
    }
    beside_close(&b);
    setup_close(&s);
    blob_free(&halves[0]);
    blob_free(&halves[1]);
}

static void float16_is_as_appended(void **state) {
    (void)state;
    static const size_t learned[] = {0, 1, 4, 12};
    static float centre[2 * 32];
    const tq_cache_config config = {
        .size = sizeof config, .capacity = 30, .recent = 30, .sinks = 2, .layer = setup_layer(0, 2)};
    setup s;
    beside b;
    rng r = {3};
    for (size_t i = 0; i < 2 * 32; i++)
        centre[i] = (float)(i % 5);
    setup_open_config(&s, &config, 0, 0);
    setup_cache(&s, &b);
    assert_int_equal(beside_append_drawn(&b, 19, &r), TQ_OK);
    for (unsigned i = 0; i < 3 * 6 * 4 * 5; i++) {
        tq_cache_config c = {
            .size = sizeof c, .policy = (tq_cache_policy)(i % 3), .layer = config.layer, .capacity = 25};
        c.recent = i / 3 % 6 * 2;
        c.sinks = i / 18 % 4 * 3;
        c.learn_centre = i / 72 % 5 < 4 ? learned[i / 72 % 5] : 0;
        if (i % 5 > 1) c.centre_stretch = c.learn_centre * (i % 5 - 1) + (c.learn_centre > 0 ? i % 3 : 0);
        if (i / 72 % 5 == 4) c.k_centre = centre;
        if (c.policy == TQ_CACHE_PAGED && i % 2 == 0) c.window = 3;
        if ((c.policy == TQ_CACHE_RING || c.window > 0) && i % 4 == 0) c.capacity = 13;
        as_appended(&b, &c, i % 20);
    }
    beside_close(&b);
    setup_close(&s);
}

/* A centre that the block brings: nothing waits for one any more, and what is too much for the cache's
 * own `recent` is encoded with it. */
static void float16_with_a_centre(void **state) {
    (void)state;
    tq_cache_config config = {.size = sizeof config,
                              .capacity = 60,
                              .recent = 8,
                              .learn_centre = 5,
                              .layer = setup_layer(0, 2)};
    setup s, other;
    beside a, b;
    rng r = {6};
    setup_open_config(&s, &config, 0, 0);
    config.learn_centre = 30;
    config.recent = 2;
    setup_open_config(&other, &config, 0, 0);
    setup_cache(&s, &a);
    setup_cache(&other, &b);
    assert_int_equal(beside_append_drawn(&a, 15, &r), TQ_OK);
    assert_int_equal(tq_cache_encoded_end(a.cache), 7);
    blob block = blob_whole(a.cache);
    assert_int_equal(tq_cache_import(b.cache, block.bytes, block.n), TQ_OK);
    model_adopt(b.model, a.model, 7);
    assert_int_equal(model_append(b.model, 8, a.model->k.x + 7 * 2 * 32, a.model->v.x + 7 * 2 * 32),
                     TQ_OK);
    beside_check(&b);
    assert_int_equal(tq_cache_encoded_end(b.cache), 13);
    blob_free(&block);
    beside_close(&a);
    beside_close(&b);
    setup_close(&s);
    setup_close(&other);
}

/* Imports, each request of which is refused once. Returns how many there were. */
static size_t import_refused(beside *b, const blob *block) {
    size_t refused = 0;
    for (;; refused++) {
        memory_refuse_after(b->memory, refused);
        const tq_status got = tq_cache_import(b->cache, block->bytes, block->n);
        if (got == TQ_OK) break;
        beside_refused(b, got, TQ_E_NO_MEMORY, NULL);
    }
    memory_refuse_none(b->memory);
    return refused;
}

/* Whether the positions from 0 or from `cut` on are the first to lie in so many stretches. */
static bool takes_centres(const setup *s, const model *m, uint64_t cut, int i) {
    const uint64_t stretch = s->config.centre_stretch, end = i == 0 ? cut : m->encoded_end;
    if (setup_forgets(s) || s->config.learn_centre == 0) return false;
    return i == 0 || (stretch > 0 && (end - 1) / stretch > (cut - 1) / stretch);
}

/* In two parts, so that there is something to lose. */
static void memory_refused(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s, other;
        beside a, b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, 1);
        if (setup_forgets(&s)) s.config.capacity = 120;
        setup_cache(&s, &a);
        const bool global = s.config.policy == TQ_CACHE_GLOBAL;
        assert_int_equal(beside_append_drawn(&a, global ? 250 : 50, &r), TQ_OK);
        const uint64_t length = tq_cache_length(a.cache), cut = tq_cache_encoded_end(a.cache) / 2;
        blob parts[] = {blob_export(a.cache, 0, cut), blob_export(a.cache, cut, length)};
        setup_open_config(&other, &s.config, 40, 3);
        setup_cache(&other, &b);
        for (int i = 0; i < 2; i++) {
            const size_t refused = import_refused(&b, &parts[i]);
            /* A global cache takes a table and a block, and then another; whoever keeps all, centres. */
            assert_int_equal(refused, (!global  ? 0
                                       : i == 0 ? 2
                                                : 1) +
                                          takes_centres(&s, a.model, cut, i));
            model_free(b.model);
            b.model = model_new(&other.config, other.pool_model);
            model_adopt(b.model, a.model, i == 0 ? cut : length);
            beside_check(&b);
            blob_free(&parts[i]);
        }
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
        setup_close(&other);
    }
}

/* A page that others use is copied, and no other is touched; with a page too few nothing is. */
static void pages_run_out(void **state) {
    (void)state;
    const tq_cache_config config = {
        .size = sizeof config, .policy = TQ_CACHE_PAGED, .capacity = 100, .layer = setup_layer(0, 1)};
    setup s;
    beside a, b;
    rng r = {8};
    setup_open_config(&s, &config, 5, 4);
    setup_cache(&s, &a);
    assert_int_equal(beside_append_drawn(&a, 15, &r), TQ_OK);
    blob chunk = blob_export(a.cache, 6, 15);
    beside_truncate(&a, 10); /* three pages */
    assert_int_equal(beside_fork(&a, 6, &b), TQ_OK);
    blob_refused(&b, &chunk, TQ_E_NO_MEMORY, "pool"); /* a copy and two more are wanted */
    assert_int_equal(beside_truncate(&a, 8), TQ_OK);
    assert_int_equal(tq_page_pool_free_pages(s.pool), 3);
    assert_int_equal(tq_cache_import(b.cache, chunk.bytes, chunk.n), TQ_OK);
    assert_int_equal(tq_page_pool_free_pages(s.pool), 0);
    blob_same(blob_export(b.cache, 6, 15), chunk);
    assert_int_equal(model_append(b.model, 9, a.model->k.x, a.model->v.x), TQ_OK); /* its pages */
    beside_check(&a);
    model_free(b.model);
    tq_cache_destroy(b.cache);
    beside_check(&a);
    beside_close(&a);
    setup_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_goes_on),
        cmocka_unit_test(every_pair_of_formats_goes_on),
        cmocka_unit_test(every_policy_takes_every_other),
        cmocka_unit_test(fewer_recent),
        cmocka_unit_test(shorter_is_as_a_rewind),
        cmocka_unit_test(chunks),
        cmocka_unit_test(chunks_after_rewinds),
        cmocka_unit_test(float16_is_as_appended),
        cmocka_unit_test(float16_with_a_centre),
        cmocka_unit_test(memory_refused),
        cmocka_unit_test(pages_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
