/* SPDX-License-Identifier: MIT
 * A check with the kernels of each level that the machine has. */
#ifndef TESTS_SUPPORT_LEVELS_H
#define TESTS_SUPPORT_LEVELS_H

#include "support/cm.h"
#include "tqkv/cpu.h"

/* Leaves the level that was in use in use. */
static inline void at_every_level(void (*check)(void)) {
    size_t n, seen = 0;
    const tq_isa *levels = tq_isas(&n);
    tq_isa before;
    assert_int_equal(tq_isa_active(&before), TQ_OK);
    for (size_t i = 0; i < n; i++) {
        if (!tq_isa_available(levels[i])) continue;
        assert_int_equal(tq_isa_set(levels[i]), TQ_OK);
        check();
        seen++;
    }
    assert_true(seen > 0);
    assert_int_equal(tq_isa_set(before), TQ_OK);
}

#endif
