/* SPDX-License-Identifier: MIT
 * A task: a block of query rows against a stretch of positions, chunk by chunk, with a running softmax.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention/plan.h"
#include "base/tasks.h"

/* Scores of a chunk of positions go through the softmax together. */
enum { CHUNK = 128, MOST_ROWS = 32 };

typedef struct job {
    const tq_attend_plan *plan;
    const tq_attend_segment *segments;
    float *plain, *rotated, *bias, *partials;
} job;

typedef struct task {
    const job *j;
    size_t head;        /* KV head */
    size_t row, rows;   /* of all query rows */
    size_t first, last; /* of all positions */
    size_t split;
    /* aligned: a vector that spans two cache lines costs twice */
    _Alignas(64) float scores[MOST_ROWS * CHUNK];
} task;

static size_t all_rows(const tq_attend_plan *plan) {
    return plan->group_rows * plan->params->n_kv_heads;
}

/* What a row's scores of a segment lack. */
static float bias_of(const task *t, const tq_attend_segment *s, size_t r) {
    if (s->bias == TQ_NO_BIAS) return 0.0f;
    return t->j->bias[s->bias * all_rows(t->j->plan) + t->row + r];
}

static float *partial_of(const task *t, size_t r) {
    return t->j->partials + tq_attend_partial_at(t->j->plan, t->row + r, t->split);
}

/* Running top and sums of a row, after its accumulators. */
static float *tail_of(const task *t, size_t r) {
    return partial_of(t, r) + t->j->plan->partial_floats - TQ_LANES;
}

static float *acc_of(const task *t, size_t r, bool encoded) {
    return partial_of(t, r) + (!encoded && t->j->plan->encoded_v ? t->j->plan->dim : 0);
}

/* Scores of positions [first, first + n) of a segment. */
static void score_chunk(task *t, const tq_attend_segment *s, size_t first, size_t n) {
    const tq_attend_plan *plan = t->j->plan;
    const float *queries = (tq_view_is_encoded(&s->k) ? t->j->rotated : t->j->plain) + t->row * plan->dim;
    tq_view_score(&s->k, plan->kernels, t->head, first, n, t->rows, queries, t->scores, CHUNK);
}

/* Which of n positions from `position` on query row r sees: [*from, *to). */
static void visible(const task *t, size_t r, uint64_t position, size_t n, size_t *from, size_t *to) {
    const tq_attention_params *p = t->j->plan->params;
    const uint64_t query = t->j->plan->first_query + (t->row + r) % p->n_queries;
    *from = 0;
    *to = n;
    if (!p->bidirectional)
        *to = query < position ? 0 : query - position < n - 1 ? (size_t)(query - position) + 1 : n;
    if (p->window != 0 && query >= p->window) {
        const uint64_t hidden = query - p->window; /* the last position that is too old */
        if (hidden >= position) *from = hidden - position < n ? (size_t)(hidden - position) + 1 : n;
    }
    if (*from > *to) *from = *to;
}

/* A chunk's scores of a row to weights relative to the row's new top; what was accumulated is brought
 * down to it. A score that is not finite makes the top NaN, and the row with it. */
static void weigh(task *t, size_t r, size_t from, size_t to, size_t n, float bias) {
    const tq_attend_plan *plan = t->j->plan;
    float *scores = t->scores + r * CHUNK, *tail = tail_of(t, r);
    memset(scores, 0, from * sizeof *scores);
    memset(scores + to, 0, (n - to) * sizeof *scores);
    if (from == to) return;
    if (bias != 0.0f)
        for (size_t i = from; i < to; i++)
            scores[i] += bias;
    float top = tail[0];
    if (plan->params->softcap > 0.0f) { /* which would make infinities look like numbers */
        if (plan->kernels->scan(to - from, scores + from, FLT_MAX) < to - from) top = NAN;
        plan->kernels->softcap(to - from, plan->params->softcap, scores + from);
    }
    top = plan->kernels->reduce_max(to - from, scores + from, top);
    if (isnan(top)) {
        tail[0] = top;
        memset(scores, 0, n * sizeof *scores);
        return;
    }
    if (top > tail[0]) {
        const float factor = tail[0] == -INFINITY ? 0.0f : expf(tail[0] - top);
        plan->kernels->scale(plan->partial_floats - TQ_LANES, factor, partial_of(t, r));
        tail[0] = top;
        tail[1] *= factor;
        tail[2] *= factor;
    }
    tail[1] += plan->kernels->exp_sum(to - from, top, scores + from);
}

static void accumulate_chunk(task *t, const tq_attend_segment *s, size_t first, size_t n) {
    const tq_attend_plan *plan = t->j->plan;
    tq_view_accumulate(&s->v, plan->kernels, t->head, first, n, t->rows, t->scores, CHUNK,
                       acc_of(t, 0, tq_view_is_encoded(&s->v)), plan->splits * plan->partial_floats);
}

/* The part of a chunk that some row sees: what nobody sees is not read. */
static void attend_chunk(task *t, const tq_attend_segment *s, size_t first, size_t n) {
    const uint64_t position = s->first_position + first;
    size_t from[MOST_ROWS], to[MOST_ROWS], low = n, high = 0;
    for (size_t r = 0; r < t->rows; r++) {
        visible(t, r, position, n, &from[r], &to[r]);
        if (from[r] == to[r]) continue;
        low = from[r] < low ? from[r] : low;
        high = to[r] > high ? to[r] : high;
    }
    if (low >= high) return;
    score_chunk(t, s, first + low, high - low);
    for (size_t r = 0; r < t->rows; r++) {
        const bool any = from[r] < to[r];
        weigh(t, r, any ? from[r] - low : 0, any ? to[r] - low : 0, high - low, bias_of(t, s, r));
    }
    accumulate_chunk(t, s, first + low, high - low);
}

/* Adds what was summed up lately to what was folded before, and begins anew. */
static void fold(task *t) {
    const size_t n = t->j->plan->acc_floats;
    for (size_t r = 0; r < t->rows; r++) {
        float *near = partial_of(t, r), *far = near + n, *tail = tail_of(t, r);
        for (size_t i = 0; i < n; i++)
            far[i] += near[i];
        memset(near, 0, n * sizeof *near);
        tail[2] += tail[1];
        tail[1] = 0.0f;
    }
}

/* Everything together, where the rest of the call looks for it. */
static void gather(task *t) {
    const size_t n = t->j->plan->acc_floats;
    for (size_t r = 0; r < t->rows && t->j->plan->folds; r++) {
        float *near = partial_of(t, r);
        for (size_t i = 0; i < n; i++)
            near[i] += near[n + i];
        tail_of(t, r)[1] += tail_of(t, r)[2];
    }
}

static void attend_rows(task *t) {
    const tq_attend_plan *plan = t->j->plan;
    size_t lately = 0;
    for (size_t r = 0; r < t->rows; r++) {
        memset(partial_of(t, r), 0, plan->partial_floats * sizeof(float));
        tail_of(t, r)[0] = -INFINITY;
    }
    for (size_t i = 0; i < plan->n_segments; i++) {
        const tq_attend_segment *s = &t->j->segments[i];
        const size_t end = s->start + s->length;
        size_t at = s->start > t->first ? s->start : t->first;
        for (; at < end && at < t->last;) {
            const size_t stop = end < t->last ? end : t->last;
            const size_t n = stop - at < CHUNK ? stop - at : CHUNK;
            if (plan->folds && (lately += n) > TQ_ATTEND_FOLD) {
                fold(t);
                lately = n;
            }
            attend_chunk(t, s, at - s->start, n);
            at += n;
        }
    }
    gather(t);
}

static bool is_finite(const task *t, size_t r) {
    const size_t n = t->j->plan->acc_floats;
    return t->j->plan->kernels->scan(n, partial_of(t, r), FLT_MAX) == n && !isnan(tail_of(t, r)[0]);
}

/* A NaN weighed with 0 is NaN: where a block of rows comes out not finite, each row is worked on again by
 * itself, so that none suffers for what another one sees. What is not finite then makes the row NaN. */
static void attend(task *t) {
    const size_t first = t->row, rows = t->rows;
    bool finite = true;
    attend_rows(t);
    for (size_t r = 0; r < rows; r++)
        finite = finite && is_finite(t, r);
    for (t->rows = 1; !finite && t->row < first + rows; t->row++) {
        if (rows > 1) attend_rows(t);
        if (!is_finite(t, 0)) tail_of(t, 0)[0] = NAN;
    }
}

static void run_task(void *work, size_t index) {
    const job *j = work;
    const tq_attend_plan *plan = j->plan;
    const size_t block = index / plan->splits % plan->row_blocks,
                 left = plan->group_rows - block * plan->row_block;
    task t;
    t.j = j;
    t.split = index % plan->splits;
    t.head = index / plan->splits / plan->row_blocks;
    t.row = t.head * plan->group_rows + block * plan->row_block;
    t.rows = left < plan->row_block ? left : plan->row_block;
    t.first = t.split * plan->split;
    t.last = plan->positions - t.first < plan->split ? plan->positions : t.first + plan->split;
    attend(&t);
}

/* Products of a KV head's queries with a centre, in the call's domain. */
static void add_bias(const job *j, size_t head, const float *centre, float *bias) {
    const tq_attend_plan *plan = j->plan;
    const size_t first = head * plan->group_rows, dim = plan->dim;
    float rotated[TQ_MAX_DIM];
    centre += head * dim;
    if (plan->params->domain == TQ_ROTATED) {
        plan->kernels->rotate(&plan->k_rotation, TQ_ROTATE_IN, 1, centre, dim, rotated, dim);
        centre = rotated;
    }
    for (size_t r = first; r < first + plan->group_rows; r++)
        plan->kernels->score(dim, 1, j->plain + r * dim, 1, centre, bias + r, 1);
}

/* Queries times scale, in the domains that the keys need, and their products with the centres. */
static void prepare_rows(const job *j, size_t head, const float *q) {
    const tq_attend_plan *plan = j->plan;
    const tq_attention_params *p = plan->params;
    const size_t first = head * plan->group_rows, n = plan->group_rows, dim = plan->dim;
    for (size_t i = first * dim; i < (first + n) * dim; i++)
        j->plain[i] = q[i] * p->scale;
    if (!plan->encoded_k) return;
    if (p->domain == TQ_ROTATED) {
        memcpy(j->rotated + first * dim, j->plain + first * dim, n * dim * sizeof(float));
    } else {
        plan->kernels->rotate(&plan->k_rotation, TQ_ROTATE_IN, n, j->plain + first * dim, dim,
                              j->rotated + first * dim, dim);
    }
    for (size_t i = 0, next = 0; i < plan->n_segments; i++)
        if (j->segments[i].bias == next)
            add_bias(j, head, j->segments[i].k.view.centre, j->bias + next++ * all_rows(plan));
}

void tq_attend_run(const tq_attend_plan *plan, const float *q, void *workspace) {
    uint8_t *base = workspace;
    job j = {plan,
             (const tq_attend_segment *)(void *)(base + plan->at.segments),
             (float *)(void *)(base + plan->at.plain),
             (float *)(void *)(base + plan->at.rotated),
             (float *)(void *)(base + plan->at.bias),
             (float *)(void *)(base + plan->at.partials)};
    for (size_t g = 0; g < plan->params->n_kv_heads; g++)
        prepare_rows(&j, g, q);
    const size_t tasks = plan->params->n_kv_heads * plan->row_blocks * plan->splits;
    tq_run_tasks(plan->params->parallel, tasks, run_task, &j);
}
