/* SPDX-License-Identifier: MIT
 * Bytes do not depend on how appending is cut into calls: one position at a time, all at once and at
 * random all equal the model, after every call. */
#include <stdlib.h>

#include "setup.h"
#include "support/cm.h"

/* Piece sizes of a run: `most` at a time, or random up to that. */
typedef struct cuts {
    size_t most;
    bool random;
} cuts;

static void run(setup *s, size_t total, cuts c, const float *k, const float *v) {
    beside b;
    rng r = {total};
    setup_cache(s, &b);
    const size_t k_stride = b.model->heads * b.model->k.dim, v_stride = b.model->heads * b.model->v.dim;
    for (size_t at = 0, n; at < total; at += n) {
        n = c.random ? 1 + rng_below(&r, (uint32_t)c.most) : c.most;
        if (n > total - at) n = total - at;
        assert_int_equal(beside_append(&b, n, k + at * k_stride, v + at * v_stride), TQ_OK);
    }
    assert_int_equal(tq_cache_length(b.cache), total);
    beside_close(&b);
}

/* Long enough for a ring of 12 to wrap three times; not a multiple of anything. */
static void all_cuts(unsigned kind, unsigned codecs, uint32_t heads, size_t total) {
    setup s;
    setup_open(&s, kind, codecs, heads);
    const model shape = {
        .heads = heads, .k.dim = s.config.layer.k.head_dim, .v.dim = s.config.layer.v.head_dim};
    float *k, *v;
    new_vectors(&shape, total, &k, &v);
    rng r = {kind + 1};
    draw_vectors(&shape, total, &r, k, v);
    const cuts ways[] = {{1, false}, {total, false}, {4, true}, {total, true}, {2, false}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        run(&s, total, ways[i], k, v);
    free(k);
    free(v);
    setup_close(&s);
}

static void every_kind(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++)
        all_cuts(kind, kind % SETUP_CHEAP, 1 + kind % 2, 43);
}

static void every_pair_of_formats(void **state) {
    (void)state;
    rng r = {2};
    for (unsigned i = 0; i < 5 * SETUP_CODECS; i++)
        all_cuts(rng_below(&r, SETUP_KINDS), i % SETUP_CODECS, 1 + rng_below(&r, 3), 31);
}

/* Memory of a global cache grows several times, and rings drop most of what a call brings. */
static void long_calls(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS / SETUP_POLICIES * 4; kind += 5) /* 4: all but paged */
        all_cuts(kind, kind % SETUP_CHEAP, 2, 299);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(every_pair_of_formats),
        cmocka_unit_test(long_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
