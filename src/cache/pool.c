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
        status = tq_code_arrays_take(&p->arrays, from, p->plan, p->n_pages, p->layer.n_kv_heads, rows);
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
    tq_code_arrays_give(&p->arrays, &to, p->plan);
    tq_give(&to, p->users, p->n_pages, sizeof *p->users);
    tq_give(&to, p->spare, p->n_pages, sizeof *p->spare);
    tq_give(&to, p, 1, sizeof *p);
}

size_t tq_pool_measure(const tq_page_pool *p) {
    size_t bytes = sizeof *p + p->n_pages * (sizeof *p->users + sizeof *p->spare);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        bytes += p->arrays.vectors * (p->plan[side].row_bytes + p->plan[side].n_norms * sizeof(float));
    return bytes;
}

int32_t tq_pool_take(tq_page_pool *p) {
    const int32_t page = p->spare[--p->n_spare];
    p->users[page] = 1;
    return page;
}

void tq_pool_give(tq_page_pool *p, int32_t page) {
    if (--p->users[page] == 0) p->spare[p->n_spare++] = page;
}

void tq_pool_copy(tq_page_pool *p, int32_t from, int32_t to) {
    const size_t vectors = p->layer.n_kv_heads * p->arrays.rows;
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const size_t codes = vectors * p->plan[side].row_bytes, norms = vectors * p->plan[side].n_norms;
        memcpy(p->arrays.codes[side] + (size_t)to * codes, p->arrays.codes[side] + (size_t)from * codes, codes);
        memcpy(p->arrays.norms[side] + (size_t)to * norms, p->arrays.norms[side] + (size_t)from * norms,
               norms * sizeof(float));
    }
}
