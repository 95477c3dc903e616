/* SPDX-License-Identifier: MIT
 * Positions to codes: from the caller's vectors, or, where there is a float16 ring, from what they are
 * in float16, so that the codes do not depend on whether a vector has lain in the ring. */
#include <assert.h>
#include <stdatomic.h>

#include "base/tasks.h"
#include "cache/cache.h"

/* What widened vectors are gathered in: as many as the codec takes at a time. */
enum { BUFFER_VALUES = 2048 };

typedef struct job {
    const tq_cache *cache;
    const tq_source *src;
    uint64_t start; /* position of src's first vectors; those before are in the float16 ring */
    uint64_t first, end;
    tq_pieces pieces; /* of positions from `first` on; keys and values of a head are two heads to them */
    bool check;
    atomic_bool failed;
} job;

/* A vector as it is kept at first. */
static void fetch(const job *j, unsigned side, uint64_t position, size_t head, float *out) {
    const tq_cache *c = j->cache;
    const size_t dim = c->plan[side].dim;
    const tq_type type = tq_half_type(c, side);
    uint16_t rounded[TQ_MAX_DIM];
    const uint16_t *half = rounded;
    if (position < j->start) {
        half = c->halves[side] + (head * c->half_rows + (size_t)(position % c->half_rows)) * dim;
    } else {
        const size_t at = (size_t)(position - j->start);
        const float *x = tq_source_floats(&j->src[side], c->kernels, at, head, out);
        if (c->half_rows == 0) return;
        tq_narrow(c->kernels, type, dim, x, rounded);
    }
    tq_widen(c->kernels, type, dim, half, out);
}

static bool is_good(const tq_cache *c, unsigned side, const tq_row_set *set, const float *x) {
    const size_t dim = c->plan[side].dim;
    const tq_vector_limit limit = tq_cache_limit(c, side);
    const bool even = set->dense_stride == dim;
    tq_bad_value bad;
    for (size_t i = 0; i < set->rows; i += even ? set->rows : 1)
        if (tq_find_bad_row(c->kernels, dim, even ? set->rows : 1, x + i * set->dense_stride, limit,
                            &bad))
            return false;
    return true;
}

/* Rows of float32 to where they are to lie. They can be encoded: what a cache takes is. */
static void put_rows(const tq_cache *c, unsigned side, const float *centre, const tq_row_set *set,
                     const float *x, const tq_place *to) {
    const tq_plan *plan = &c->plan[side];
    if (c->store[side] == TQ_STORE_CODES) {
        const size_t bad = tq_encode_rows(c->kernels, plan, set, x, centre, to->codes, to->norms);
        assert(bad == SIZE_MAX);
        (void)bad;
        return;
    }
    for (size_t i = 0; i < set->rows; i++)
        tq_narrow(c->kernels, tq_half_type(c, side), plan->dim, x + i * set->dense_stride,
                  (uint16_t *)(void *)(to->codes + i * set->code_stride));
}

static bool is_centred(const tq_cache *c, unsigned side) {
    return side == TQ_K && tq_cache_has_centre(c);
}

/* n vectors to where they are to lie, from (position, head) on: positions of one stretch side by side,
 * or, `across`, heads of one position, which share no centre. */
static void encode_rows(job *j, unsigned side, uint64_t position, size_t head, size_t n, bool across) {
    const tq_cache *c = j->cache;
    const tq_plan *plan = &c->plan[side];
    const tq_source *src = &j->src[side];
    const bool gather = c->half_rows > 0 || src->type != TQ_F32;
    const size_t step = across ? c->shape.rows : 1, most = BUFFER_VALUES / plan->dim;
    tq_place at = tq_cache_place(c, side, position, head);
    tq_row_set set = {n, across ? src->head_stride : src->position_stride, step * plan->row_bytes,
                      step * plan->norm_bytes};
    _Alignas(64) float buffer[BUFFER_VALUES];
    float wide[TQ_MAX_DIM];
    const float *centre = is_centred(c, side) ? wide : NULL;
    if (centre != NULL) tq_widen(c->kernels, TQ_F16, plan->dim, tq_centre_at(c, position, head), wide);
    if (gather) set.dense_stride = plan->dim;
    for (size_t done = 0; done < n; done += set.rows) {
        const float *x = buffer;
        set.rows = n - done < most ? n - done : most;
        if (gather) {
            for (size_t i = 0; i < set.rows; i++)
                fetch(j, side, position + (across ? 0 : done + i), head + (across ? done + i : 0),
                      buffer + i * plan->dim);
        } else {
            x = tq_source_at(src, (size_t)(position - j->start) + (across ? 0 : done),
                             head + (across ? done : 0));
        }
        if (j->check && !is_good(c, side, &set, x)) {
            atomic_store(&j->failed, true);
            return;
        }
        put_rows(c, side, centre, &set, x, &at);
        at.codes += set.rows * set.code_stride;
        at.norms += set.rows * set.norm_stride;
    }
}

static void encode_head(job *j, unsigned side, size_t head, uint64_t first, uint64_t end) {
    while (first < end) {
        size_t run = tq_cache_place(j->cache, side, first, head).run;
        if (run > end - first) run = (size_t)(end - first);
        const size_t stretch = is_centred(j->cache, side) ? j->cache->stretch : 0;
        if (stretch != 0 && run > stretch - first % stretch) run = stretch - (size_t)(first % stretch);
        encode_rows(j, side, first, head, run, false);
        first += run;
    }
}

static void run_task(void *work, size_t index) {
    job *j = work;
    const tq_piece piece = tq_piece_at(&j->pieces, index);
    const uint64_t first = j->first + piece.first;
    encode_head(j, (unsigned)(piece.head % TQ_SIDES), piece.head / TQ_SIDES, first, first + piece.rows);
}

/* Where positions are fewer than heads, a call of the codec takes all heads of one. */
static void encode_few(job *j) {
    const tq_cache *c = j->cache;
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const bool across = j->end - j->first < c->heads && !is_centred(c, side);
        for (uint64_t p = j->first; across && p < j->end; p++)
            encode_rows(j, side, p, 0, c->heads, true);
        for (size_t h = 0; !across && h < c->heads; h++)
            encode_head(j, side, h, j->first, j->end);
    }
}

/* The stretches that encoding enters, their keys being there, in the ring or among the caller's. */
typedef struct lesson {
    const job *j;
    uint64_t next;  /* the position that is encoded next */
    uint64_t first; /* stretch */
    size_t stretches;
} lesson;

static void learn_head(void *work, size_t index) {
    const lesson *l = work;
    const tq_cache *c = l->j->cache;
    const size_t head = index % c->heads;
    const uint64_t position = (l->first + index / c->heads) * c->stretch;
    float key[TQ_MAX_DIM];
    tq_mean mean = {.dim = c->plan[TQ_K].dim};
    uint64_t begin;
    const uint64_t keys = tq_centre_keys(c, l->next, position, &begin);
    for (uint64_t p = begin; p < begin + keys; p++) {
        fetch(l->j, TQ_K, p, head, key);
        tq_mean_add(&mean, key);
    }
    tq_mean_round(&mean, c->kernels, tq_centre_at(c, position, head));
}

/* Centres of positions [first, end), as far as they are not known, and of the last one in any case: those
 * that come after it go by it. `next` is the first of all that are to be encoded, of which some, or all,
 * may be left out. */
static void learn(const job *j, uint64_t next) {
    const tq_cache *c = j->cache;
    lesson l = {.j = j, .next = next, .first = tq_stretch_of(tq_least(j->first, j->end - 1), c->stretch)};
    if (l.first == tq_stretch_of(next, c->stretch) && tq_centre_is_known(c, next)) l.first++;
    l.stretches = (size_t)(tq_stretch_of(j->end - 1, c->stretch) + 1 - l.first);
    const bool few = l.stretches * c->heads * c->learn * c->plan[TQ_K].dim <= TQ_TASK_VALUES;
    tq_run_tasks(few || c->parallel.run == NULL ? NULL : &c->parallel, l.stretches * c->heads, learn_head,
                 &l);
}

bool tq_cache_encode(tq_cache *c, const tq_source src[TQ_SIDES], uint64_t start, uint64_t first,
                     uint64_t end, bool check) {
    const uint64_t next = first;
    if (first >= end || c->slots == 0) return true;
    first = tq_most(first, tq_cache_placed_from(c, end)); /* the others would be overwritten at once */
    job j = {.cache = c, .src = src, .start = start, .first = first, .end = end, .check = check};
    atomic_init(&j.failed, false);
    if (c->learn > 0) learn(&j, next);
    if (first >= end) return true;
    const size_t n = (size_t)(end - first);
    const size_t dim = (size_t)tq_most(c->plan[TQ_K].dim, c->plan[TQ_V].dim);
    if (n * c->heads * dim <= TQ_TASK_VALUES) { /* not worth handing out */
        encode_few(&j);
    } else {
        j.pieces = tq_cut(c->heads * TQ_SIDES, n, TQ_TASK_VALUES / dim);
        tq_run_tasks(c->parallel.run == NULL ? NULL : &c->parallel, j.pieces.n, run_task, &j);
    }
    return !atomic_load(&j.failed);
}
