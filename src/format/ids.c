/* SPDX-License-Identifier: MIT
 * Numbers for what codes mean, out of the tables that encoding and decoding read: a table cannot change
 * without them. */
#include "format/ids.h"

#include "base/bytes.h"
#include "base/hash.h"

/* More than the largest codebook: 2^8 levels, 2^7 - 1 boundaries. */
enum { ROOM = 2048 };

typedef struct text {
    uint8_t bytes[ROOM];
    size_t n;
} text;

static void add_number(text *t, uint32_t number) {
    tq_put_u32(t->bytes + t->n, number);
    t->n += 4;
}

static void add_floats(text *t, const float *floats, size_t n) {
    tq_put_floats(t->bytes + t->n, floats, n);
    t->n += 4 * n;
}

uint64_t tq_codebook_id(const tq_plan *plan) {
    const tq_codebook_tables *book = plan->book;
    const size_t levels = (size_t)1 << book->bits;
    text t = {.n = 0};
    add_number(&t, book->bits);
    add_number(&t, (uint32_t)book->packing);
    add_floats(&t, book->levels, levels);
    add_floats(&t, book->bounds, levels / 2 - 1);
    return tq_hash(t.bytes, t.n);
}

uint64_t tq_rotation_id(const tq_plan *plan) {
    const tq_rotation *r = &plan->rotation;
    text t = {.n = 0};
    add_number(&t, r->dim);
    add_number(&t, (uint32_t)r->scale_last);
    add_floats(&t, &r->tilt, 1);
    add_floats(&t, &r->scale, 1);
    memcpy(t.bytes + t.n, r->signs, r->dim / 8);
    t.n += r->dim / 8;
    for (unsigned i = 0; i < r->n_odd; i++)
        add_floats(&t, r->odd[i].cas, r->odd[i].p);
    return tq_hash(t.bytes, t.n);
}
