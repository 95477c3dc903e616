/* SPDX-License-Identifier: MIT */
#include "rows.h"

#include <assert.h>

row_order draw_order(run *r, size_t n) {
    const row_order order = {rng_below(&r->rng, ROW_ORDERS), n,
                             n > 0 ? rng_below(&r->rng, (uint32_t)n) : 0};
    return order;
}

size_t order_at(const row_order *order, size_t t) {
    if (order->kind == ROWS_IN_PLACE) return t;
    return order->kind == ROWS_REVERSED ? order->n - 1 - t : (t + order->shift) % order->n;
}

tq_code_rows rows_of(const row_order *order, const uint8_t *packed, size_t stride) {
    enum { MOST = 1024 };
    static uintptr_t all[MOST + TQ_ROWS_AHEAD];
    const size_t n = order->n;
    assert(n <= MOST);
    uintptr_t *offsets = all + MOST - n; /* ASan guards the array's end */
    for (size_t t = 0; t < n; t++)
        offsets[t] = order_at(order, t) * stride;
    for (size_t i = 0; i < TQ_ROWS_AHEAD; i++) /* what fills a four, and no program's memory */
        offsets[n + i] = (n + i) / 4 < (n + 3) / 4 ? offsets[0] : 8 * i - (uintptr_t)packed;
    return (tq_code_rows){packed, offsets};
}
