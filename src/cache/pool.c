/* SPDX-License-Identifier: MIT
 * Pages that several caches share, and who uses them. */
#include <sched.h>
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
    atomic_flag_clear(&p->lock);
    for (size_t i = 0; i < p->n_pages; i++) {
        atomic_init(&p->users[i], 0);
        p->spare[i] = (int32_t)(p->n_pages - 1 - i); /* page 0 is the first to go */
    }
    atomic_init(&p->n_spare, p->n_pages);
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

/* A thread that holds it may have to wait for a processor: then others had better let it have theirs. */
static void lock(tq_page_pool *p) {
    while (atomic_flag_test_and_set_explicit(&p->lock, memory_order_acquire))
        (void)sched_yield();
}

static void unlock(tq_page_pool *p) {
    atomic_flag_clear_explicit(&p->lock, memory_order_release);
}

tq_status tq_pool_take(tq_page_pool *p, size_t n, int32_t *pages) {
    if (n == 0) return TQ_OK;
    lock(p);
    const size_t spare = atomic_load_explicit(&p->n_spare, memory_order_relaxed);
    if (n <= spare) {
        atomic_store_explicit(&p->n_spare, spare - n, memory_order_relaxed);
        for (size_t i = 0; i < n; i++)
            pages[i] = p->spare[spare - 1 - i];
    }
    unlock(p);
    if (n > spare)
        return tq_fail(TQ_E_NO_MEMORY, n, "pool", "pool: %zu pages are wanted, %zu of %zu are free", n,
                       spare, p->n_pages);
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&p->users[pages[i]], 1, memory_order_relaxed);
    return TQ_OK;
}

/* The last to give a page back has seen all that the others did with it. */
void tq_pool_give(tq_page_pool *p, int32_t page) {
    if (atomic_fetch_sub_explicit(&p->users[page], 1, memory_order_acq_rel) > 1) return;
    lock(p);
    const size_t spare = atomic_load_explicit(&p->n_spare, memory_order_relaxed);
    p->spare[spare] = page;
    atomic_store_explicit(&p->n_spare, spare + 1, memory_order_relaxed);
    unlock(p);
}

void tq_pool_share(tq_page_pool *p, int32_t page) {
    atomic_fetch_add_explicit(&p->users[page], 1, memory_order_relaxed);
}

bool tq_pool_is_shared(const tq_page_pool *p, int32_t page) {
    return atomic_load_explicit(&p->users[page], memory_order_acquire) > 1;
}

static size_t vectors_of_page(const tq_page_pool *p) {
    return p->layer.n_kv_heads * p->shape.rows;
}

tq_block tq_pool_page(const tq_page_pool *p, int32_t page) {
    const size_t first = (size_t)page * vectors_of_page(p);
    tq_block b;
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        b.codes[side] = p->block.codes[side] + first * p->plan[side].row_bytes;
        b.norms[side] = p->block.norms[side] + first * p->plan[side].norm_bytes;
    }
    return b;
}

void tq_pool_copy(tq_page_pool *p, int32_t from, int32_t to) {
    const tq_block source = tq_pool_page(p, from), target = tq_pool_page(p, to);
    const size_t vectors = vectors_of_page(p);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        memcpy(target.codes[side], source.codes[side], vectors * p->plan[side].row_bytes);
        memcpy(target.norms[side], source.norms[side], vectors * p->plan[side].norm_bytes);
    }
}
