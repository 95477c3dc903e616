/* SPDX-License-Identifier: MIT
 * What must be refused when appending, and that the cache is then what it was, to the byte. */
#include <math.h>
#include <stdlib.h>

#include "broken.h"
#include "setup.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

typedef struct fault {
    float value;
    tq_status status;
    bool of_vector; /* it makes its vector too long, which is found where that begins */
} fault;

/* Puts the fault at `at` of keys or of values, and takes it out again. */
static void one_fault(beside *b, size_t n, float *k, float *v, bool in_v, size_t at, const fault *f) {
    const size_t dim = in_v ? b->model->v.dim : b->model->k.dim;
    float *x = in_v ? v : k, kept = x[at];
    x[at] = f->value;
    beside_refused(b, tq_cache_append(b->cache, n, k, v), f->status, in_v ? "v" : "k");
    const size_t want = f->of_vector ? at / dim * dim : at;
    if (tq_last_error()->index != want)
        broken("index %llu, %zu wanted", (unsigned long long)tq_last_error()->index, want);
    x[at] = kept;
}

static size_t faults_of(const model *m, fault *faults) {
    const bool dense = m->recent > 0 || m->sinks > 0 || m->learn > 0;
    const fault all[] = {
        {NAN, TQ_E_NOT_FINITE, false},       {-INFINITY, TQ_E_NOT_FINITE, false},
        {2 * TQ_MAX_ABS, TQ_E_RANGE, false}, {-nextafterf(TQ_MAX_ABS, INFINITY), TQ_E_RANGE, false},
        {65000.0f, TQ_E_RANGE, true}, /* all sides here are codes of v2 */
        {65536.0f, TQ_E_RANGE, false},       {-nextafterf(65504.0f, INFINITY), TQ_E_RANGE, false},
    };
    const size_t n = dense ? COUNT(all) : COUNT(all) - 2;
    for (size_t i = 0; i < n; i++)
        faults[i] = all[i];
    return n;
}

/* At the first, at the last and at any value of a call. */
static void faults_in_a_call(beside *b, size_t n, rng *r) {
    const size_t values = n * b->model->heads * b->model->k.dim;
    float *k = zeroed(values, sizeof *k), *v = zeroed(values, sizeof *v);
    fault faults[7];
    draw_vectors(b->model, n, r, k, v);
    const size_t n_faults = faults_of(b->model, faults);
    const size_t places[] = {0, values - 1, rng_below(r, (uint32_t)values)};
    for (size_t i = 0; i < n_faults; i++)
        for (size_t p = 0; p < COUNT(places); p++) {
            one_fault(b, n, k, v, false, places[p], &faults[i]);
            one_fault(b, n, k, v, true, places[p], &faults[i]);
        }
    /* The first of several is named, and keys come before values. */
    k[values - 1] = v[0] = NAN;
    one_fault(b, n, k, v, false, values / 2, &faults[1]);
    free(k);
    free(v);
}

/* Also on rings that have wrapped, where what is appended takes the place of what is there. */
static void values_that_cannot_be_kept(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 2, 5, 17};
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, 1 + kind % 2);
        setup_cache(&s, &b);
        for (int stage = 0; stage < 3; stage++) {
            for (size_t i = 0; i < COUNT(lengths); i++)
                faults_in_a_call(&b, lengths[i], &r);
            assert_int_equal(beside_append_drawn(&b, stage == 0 ? 2 : 21, &r), TQ_OK);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

/* A call as long as those that are cut into tasks: the fault comes late. */
static void a_late_fault_in_a_long_call(void **state) {
    (void)state;
    enum { N = 1500 };
    const unsigned per_policy = SETUP_KINDS / SETUP_POLICIES;
    for (unsigned kind = 0; kind < per_policy * 4; kind++) {
        /* The first two of a policy keep nothing in float16: there a call may be checked on the way. */
        if (kind % per_policy > 1 && kind % 8 != 0) continue;
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 1, 2);
        if (s.config.policy == TQ_CACHE_GLOBAL) s.config.capacity = 2 * N;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 30, &r), TQ_OK);
        faults_in_a_call(&b, N, &r);
        assert_int_equal(beside_append_drawn(&b, N, &r), TQ_OK);
        beside_close(&b);
        setup_close(&s);
    }
}

/* Pages taken for it go back, and one that was copied is shared again. */
static void a_late_fault_in_pages(void **state) {
    (void)state;
    const tq_cache_config c = {
        .size = sizeof c, .policy = TQ_CACHE_PAGED, .capacity = 2000, .layer = setup_layer(1, 2)};
    for (size_t length = 28; length <= 32; length += 4) { /* within a page, and at its end */
        setup s;
        beside a, b;
        rng r = {length};
        setup_open_config(&s, &c, 120, 16);
        setup_cache(&s, &a);
        assert_int_equal(beside_append_drawn(&a, length, &r), TQ_OK);
        assert_int_equal(beside_fork(&a, length, &b), TQ_OK);
        faults_in_a_call(&a, 1500, &r);
        beside_check(&b);
        assert_int_equal(tq_page_pool_free_pages(s.pool), 118);
        assert_int_equal(beside_append_drawn(&a, 1500, &r), TQ_OK);
        beside_check(&b);
        beside_close(&a);
        beside_close(&b);
        setup_close(&s);
    }
}

/* The largest values that may be kept. */
static void values_at_the_limit(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2 * SETUP_KINDS; i++) {
        const unsigned kind = i / 2;
        setup s;
        beside b;
        float k[2 * 256], v[2 * 256];
        setup_open(&s, kind, i % 2 == 0 ? 0 : 4, 1); /* v2 at D 32, and v1, any length of which will do */
        setup_cache(&s, &b);
        const bool dense = b.model->recent > 0 || b.model->sinks > 0 || b.model->learn > 0;
        const float most = dense ? 65504.0f : TQ_MAX_ABS;
        for (size_t j = 0; j < 2 * 256; j++) {
            k[j] = i % 2 == 0 ? 31900 / sqrtf(32) : most;
            v[j] = j % 3 != 0 ? 0x1p-25f : i % 2 == 0 ? -3800 / sqrtf(11) : -most;
        }
        for (int j = 0; j < 6; j++)
            assert_int_equal(beside_append(&b, 2, k, v), TQ_OK);
        beside_close(&b);
        setup_close(&s);
    }
}

static void room(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        setup_open(&s, kind, 0, 1);
        const size_t capacity = s.config.capacity;
        setup_cache(&s, &b);
        assert_int_equal(tq_cache_append(b.cache, 0, NULL, NULL), TQ_OK);
        beside_check(&b);
        const bool ring = setup_forgets(&s);
        assert_int_equal(beside_append_drawn(&b, capacity + 1, &r), ring ? TQ_OK : TQ_E_POSITION);
        assert_int_equal(beside_append_drawn(&b, capacity - 1, &r), TQ_OK);
        assert_int_equal(beside_append_drawn(&b, 2, &r), ring ? TQ_OK : TQ_E_POSITION);
        assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_OK);
        assert_int_equal(beside_append_drawn(&b, 1, &r), ring ? TQ_OK : TQ_E_POSITION);
        beside_close(&b);
        setup_close(&s);
    }
}

static void pointers_and_sizes(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++) {
        setup s;
        beside b;
        rng r = {kind + 1};
        float x[32] = {0};
        setup_open(&s, kind, 0, 1);
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 13, &r), TQ_OK);
        beside_refused(&b, tq_cache_append(NULL, 1, x, x), TQ_E_NULL, "cache");
        beside_refused(&b, tq_cache_append(b.cache, 1, NULL, x), TQ_E_NULL, "k");
        beside_refused(&b, tq_cache_append(b.cache, 1, x, NULL), TQ_E_NULL, "v");
        const tq_status huge = setup_forgets(&s) ? TQ_E_OVERFLOW : TQ_E_POSITION;
        const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 12, SIZE_MAX / 32, SIZE_MAX / 128 + 1,
                                (size_t)PTRDIFF_MAX / 128 + 1};
        for (size_t i = 0; i < COUNT(sizes); i++) {
            const tq_status got = tq_cache_append(b.cache, sizes[i], x, x);
            beside_refused(&b, got, got == TQ_E_OVERFLOW ? TQ_E_OVERFLOW : huge, NULL);
        }
        beside_close(&b);
        setup_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_that_cannot_be_kept),
        cmocka_unit_test(a_late_fault_in_a_long_call),
        cmocka_unit_test(a_late_fault_in_pages),
        cmocka_unit_test(values_at_the_limit),
        cmocka_unit_test(room),
        cmocka_unit_test(pointers_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
