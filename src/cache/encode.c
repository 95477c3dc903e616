/* SPDX-License-Identifier: MIT
 * Positions to codes: from the caller's vectors, or, where there is a float16 ring, from what they are
 * in float16, so that the codes do not depend on whether a vector has lain in the ring. */
#include <stdatomic.h>

#include "base/tasks.h"
#include "cache/cache.h"

/* Values of a task, as in codec/batch.c; fewer than that are not worth handing out at all. */
enum { TASK_VALUES = 65536 };

/* What widened vectors are gathered in: as many as the codec takes at a time. */
enum { BUFFER_VALUES = 2048 };

typedef struct job {
    const tq_cache *cache;
    const float *const *src;
    uint64_t start; /* position of src's first vectors; those before are in the float16 ring */
    uint64_t first, end;
    size_t stretch, stretches; /* positions of a task, tasks of a head */
    atomic_bool failed;
} job;

static const float *source_of(const job *j, unsigned side, uint64_t position, size_t head) {
    const tq_cache *c = j->cache;
    return j->src[side] + ((size_t)(position - j->start) * c->heads + head) * c->dim;
}

/* A vector as it is in float16. */
static void fetch(const job *j, unsigned side, uint64_t position, size_t head, float *out) {
    const tq_cache *c = j->cache;
    const tq_kernels *kernels = c->kernels;
    uint16_t rounded[TQ_MAX_DIM];
    const uint16_t *half = rounded;
    if (position < j->start)
        half = c->halves[side] + (head * c->half_rows + (size_t)(position % c->half_rows)) * c->dim;
    else
        kernels->f32_to_f16(c->dim, source_of(j, side, position, head), rounded);
    kernels->f16_to_f32(c->dim, half, out);
}

static const float *centre_of(const tq_cache *c, unsigned side, size_t head) {
    return side == TQ_K && c->centre_known ? c->centre + head * c->dim : NULL;
}

/* n vectors to codes, from (position, head) on: positions side by side, or, `across`, heads of one
 * position, which share no centre. */
static void encode_rows(job *j, unsigned side, uint64_t position, size_t head, size_t n, bool across) {
    const tq_cache *c = j->cache;
    const tq_plan *plan = &c->plan[side];
    const size_t step = across ? c->shape.rows : 1, most = BUFFER_VALUES / c->dim;
    tq_place at = tq_cache_place(c, side, position, head);
    tq_row_set set = {n, across ? c->dim : c->heads * c->dim, step * plan->row_bytes,
                      step * plan->n_norms};
    _Alignas(64) float buffer[BUFFER_VALUES];
    if (c->half_rows > 0) set.dense_stride = c->dim;
    for (size_t done = 0; done < n; done += set.rows) {
        const float *x = buffer;
        if (c->half_rows > 0) {
            set.rows = n - done < most ? n - done : most;
            for (size_t i = 0; i < set.rows; i++)
                fetch(j, side, position + (across ? 0 : done + i), head + (across ? done + i : 0),
                      buffer + i * c->dim);
        } else {
            x = source_of(j, side, position, head);
        }
        if (tq_encode_rows(c->kernels, plan, &set, x, centre_of(c, side, head), at.codes, at.norms) !=
            SIZE_MAX)
            atomic_store(&j->failed, true);
        at.codes += set.rows * set.code_stride;
        at.norms += set.rows * set.norm_stride;
    }
}

static void encode_head(job *j, unsigned side, size_t head, uint64_t first, uint64_t end) {
    while (first < end) {
        size_t run = tq_cache_place(j->cache, side, first, head).run;
        if (run > end - first) run = (size_t)(end - first);
        encode_rows(j, side, first, head, run, false);
        first += run;
    }
}

static void run_task(void *work, size_t index) {
    job *j = work;
    const size_t lane = index / j->stretches;
    const uint64_t first = j->first + (uint64_t)(index % j->stretches) * j->stretch;
    encode_head(j, (unsigned)(lane % TQ_SIDES), lane / TQ_SIDES, first,
                tq_least(j->end, first + j->stretch));
}

/* Where positions are fewer than heads, a call of the codec takes all heads of one. */
static void encode_few(job *j) {
    const tq_cache *c = j->cache;
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const bool across = j->end - j->first < c->heads && centre_of(c, side, 0) == NULL;
        for (uint64_t p = j->first; across && p < j->end; p++)
            encode_rows(j, side, p, 0, c->heads, true);
        for (size_t h = 0; !across && h < c->heads; h++)
            encode_head(j, side, h, j->first, j->end);
    }
}

bool tq_cache_encode(tq_cache *c, const float *const src[TQ_SIDES], uint64_t start, uint64_t first,
                     uint64_t end) {
    if (tq_less(end, first) > c->slots) first = end - c->slots; /* a ring overwrites the others at once */
    if (first >= end) return true;
    job j = {.cache = c, .src = src, .start = start, .first = first, .end = end};
    const size_t n = (size_t)(end - first);
    atomic_init(&j.failed, false);
    if (n * c->heads * c->dim <= TASK_VALUES) {
        encode_few(&j);
    } else {
        j.stretch = TASK_VALUES / c->dim;
        j.stretches = (n - 1) / j.stretch + 1;
        tq_run_tasks(c->parallel.run == NULL ? NULL : &c->parallel, j.stretches * c->heads * TQ_SIDES,
                     run_task, &j);
    }
    return !atomic_load(&j.failed);
}
