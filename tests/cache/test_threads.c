/* SPDX-License-Identifier: MIT
 * A cache that encodes on threads holds the bytes of the model, which knows none. */
#include "broken.h"
#include "setup.h"
#include "support/cm.h"
#include "support/pool.h"

/* Calls long enough to be worth sharing out, and some that are not. */
static void same_bytes(void **state) {
    (void)state;
    size_t tasks = 0;
    for (unsigned kind = 0; kind < SETUP_KINDS; kind += 1) {
        const unsigned codecs = kind % SETUP_CODECS;
        if (codecs >= SETUP_CHEAP && kind % 5 != 0) continue;
        setup s;
        beside b;
        rng r = {kind + 1};
        pool threads = {.threads = 1 + kind % POOL_MOST_THREADS};
        const tq_parallel parallel = {pool_run, &threads};
        setup_open(&s, kind, codecs, 1 + kind % 4);
        s.config.parallel = &parallel;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 1, &r), TQ_OK);
        assert_int_equal(beside_append_drawn(&b, 50, &r), TQ_OK);
        beside_truncate(&b, tq_cache_length(b.cache) - 2);
        assert_int_equal(beside_append_drawn(&b, 3, &r), TQ_OK);
        beside_close(&b);
        setup_close(&s);
        tasks += threads.tasks_seen;
    }
    print_message("%zu tasks\n", tasks);
}

/* A prompt of 900 positions is more than one task. */
static void long_calls_are_shared_out(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < SETUP_KINDS / SETUP_POLICIES; kind += 5) {
        setup s;
        beside b;
        rng r = {kind + 1};
        pool threads = {.threads = 3};
        const tq_parallel parallel = {pool_run, &threads};
        setup_open(&s, kind, 2, 4);
        s.config.capacity = 1000;
        s.config.parallel = &parallel;
        setup_cache(&s, &b);
        assert_int_equal(beside_append_drawn(&b, 900, &r), TQ_OK);
        assert_true(threads.tasks_seen > 1);
        beside_close(&b);
        setup_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(long_calls_are_shared_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
