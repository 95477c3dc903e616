/* SPDX-License-Identifier: MIT
 * Pages that several caches share, and who uses them. */
#include <string.h>

#include "cache/cache.h"

tq_status tq_pool_build(const tq_page_pool *model, size_t rows, tq_page_pool **pool) {
    const tq_allocator *from = &model->allocator;
    void *object, *users = NULL, *spare = NULL;
    tq_status status = tq_take(from, "pool", 1, sizeof *model, &object);
    if (status != TQ_OK) return status;
    tq_page_pool *p = object;
    *p = *model;
    status = tq_take(from, "pool", p->n_pages, sizeof *p->users, &users);
    if (status == TQ_OK) status = tq_take(from, "pool", p->n_pages, sizeof *p->spare, &spare);
    p->users = users;
    p->spare = spare;
    if (status == TQ_OK)
        status = tq_block_shape_init(&p->shape, p->plan, p->n_pages, p->layer.n_kv_heads, rows);
    if (status == TQ_OK) status = tq_block_take(&p->block, from, &p->shape);
    if (status != TQ_OK) {
        tq_pool_release(p);
        return status;
    }
    memset(p->users, 0, p->n_pages * sizeof *p->users);
    for (p->n_spare = 0; p->n_spare < p->n_pages; p->n_spare++)
        p->spare[p->n_spare] = (int32_t)(p->n_pages - 1 - p->n_spare); /* page 0 is the first to go */
    *pool = p;
    return TQ_OK;
}

void tq_pool_release(tq_page_pool *p) {
    const tq_allocator to = p->allocator;
    tq_block_give(&p->block, &to, &p->shape);
    tq_give(&to, p->users, p->n_pages, sizeof *p->users);
    tq_give(&to, p->spare, p->n_pages, sizeof *p->spare);
    tq_give(&to, p, 1, sizeof *p);
}

size_t tq_pool_measure(const tq_page_pool *p) {
    return sizeof *p + p->n_pages * (sizeof *p->users + sizeof *p->spare) + p->shape.bytes;
}

int32_t tq_pool_take(tq_page_pool *p) {
    const int32_t page = p->spare[--p->n_spare];
    p->users[page] = 1;
    return page;
}

void tq_pool_give(tq_page_pool *p, int32_t page) {
    if (--p->users[page] == 0) p->spare[p->n_spare++] = page;
}

static size_t vectors_of_page(const tq_page_pool *p) {
    return p->layer.n_kv_heads * p->shape.rows;
}

tq_block tq_pool_page(const tq_page_pool *p, int32_t page) {
    const size_t first = (size_t)page * vectors_of_page(p);
    tq_block b;
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        b.codes[side] = p->block.codes[side] + first * p->plan[side].row_bytes;
        b.norms[side] = p->block.norms[side] + first * p->plan[side].n_norms;
    }
    return b;
}

void tq_pool_copy(tq_page_pool *p, int32_t from, int32_t to) {
    const tq_block source = tq_pool_page(p, from), target = tq_pool_page(p, to);
    const size_t vectors = vectors_of_page(p);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        memcpy(target.codes[side], source.codes[side], vectors * p->plan[side].row_bytes);
        memcpy(target.norms[side], source.norms[side], vectors * p->plan[side].n_norms * sizeof(float));
    }
}
