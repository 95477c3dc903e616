/* SPDX-License-Identifier: MIT
 * Attention over a cache's segments, with its centre, against float64 on what they must hold. */
#include <math.h>

#include "broken.h"
#include "setup.h"
#include "support/cm.h"

/* Lengths at which the parts come, go and wrap; a ring larger than its window takes chunks of queries. */
static double walk(unsigned kind, unsigned codecs, rng *r, size_t *calls) {
    setup s;
    beside b;
    double worst = 0;
    setup_open(&s, kind, codecs, 2);
    setup_cache(&s, &b);
    while (tq_cache_length(b.cache) < 45) {
        const size_t slack = !setup_forgets(&s)     ? 6
                             : s.config.window == 0 ? 1
                                                    : s.config.capacity - s.config.window + 1;
        const size_t n = 1 + rng_below(r, (uint32_t)slack);
        assert_int_equal(beside_append_drawn(&b, n, r), TQ_OK);
        worst = fmax(worst, check_attention(b.model, b.cache, n, 2, r));
        ++*calls;
        if (rng_below(r, 3) == 0)
            beside_truncate(&b, tq_cache_length(b.cache) - 1 - rng_below(r, (uint32_t)n));
    }
    beside_close(&b);
    setup_close(&s);
    return worst;
}

static void every_kind(void **state) {
    (void)state;
    rng r = {1};
    double worst = 0;
    size_t calls = 0;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind++)
        worst = fmax(worst, walk(kind, kind % SETUP_CHEAP, &r, &calls));
    print_message("%zu calls, at worst %.3f of the error allowed\n", calls, worst);
}

static void every_pair_of_formats(void **state) {
    (void)state;
    rng r = {2};
    double worst = 0;
    size_t calls = 0;
    for (unsigned i = 0; i < 3 * SETUP_CODECS; i++)
        worst = fmax(worst, walk(rng_below(&r, SETUP_KINDS), i % SETUP_CODECS, &r, &calls));
    print_message("%zu calls, at worst %.3f of the error allowed\n", calls, worst);
}

/* Long enough for attention to be split. */
static void long_caches(void **state) {
    (void)state;
    rng r = {3};
    for (unsigned kind = 0; kind < SETUP_KINDS / SETUP_POLICIES; kind += 7) {
        setup s;
        beside b;
        setup_open(&s, kind, 0, 1);
        s.config.capacity = 5000;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 4500, &r), TQ_OK);
        check_attention(b.model, b.cache, 2, 1, &r);
        beside_close(&b);
        setup_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(every_pair_of_formats),
        cmocka_unit_test(long_caches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
