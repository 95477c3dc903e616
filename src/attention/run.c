/* SPDX-License-Identifier: MIT
 * A run as tasks. Rows of a sequence that is not split are prepared, worked on and finished in one; those
 * of a split one in three steps. */
#include "attention/task.h"
#include "base/tasks.h"

/* What fewer products take is over before another thread has woken up. */
enum { ALONE = 1 << 18 };

/* Queries of n rows that lie side by side, as float32. */
static void load_queries(const tq_attend_batch *b, const tq_attend_sequence *s, size_t row, size_t n,
                         float *to) {
    const tq_attend_kind *kind = b->kind;
    const size_t token = s->first_token + row % s->n_queries, head = row / s->n_queries;
    const size_t at = token * b->io.q_token + head * b->io.q_head, values = n * kind->k_dim;
    tq_widen(b->kernels, kind->q_type, values, (const uint8_t *)b->io.q + at * tq_type_size(kind->q_type),
             to);
}

/* Queries times scale, in the domains that the keys need. */
static void prepare(const tq_attend_task *t) {
    const tq_attend_batch *b = t->batch;
    const tq_attend_sequence *s = t->s;
    const size_t dim = b->kind->k_dim;
    const size_t together = s->n_queries == 1 && b->io.q_head == dim ? t->rows : 1;
    float *plain = b->workspace + s->plain + t->row * dim;
    for (size_t r = 0; r < t->rows; r += together)
        load_queries(b, s, t->row + r, together, plain + r * dim);
    b->kernels->scale(t->rows * dim, b->kind->scale, plain);
    if (s->rotated != s->plain)
        b->kernels->rotate(&s->k_rotation, TQ_ROTATE_IN, t->rows, plain, dim,
                           b->workspace + s->rotated + t->row * dim, dim);
}

static void finish(const tq_attend_task *t) {
    for (size_t r = 0; r < t->rows; r++)
        tq_attend_finish_row(t->batch, t->s, t->row + r);
}

/* The last sequence that begins at `index` or before. */
static const tq_attend_sequence *sequence_of(const tq_attend_batch *b, size_t index, bool blocks) {
    size_t low = 0, high = b->n_sequences;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        const tq_attend_sequence *s = &b->sequences[middle];
        if ((blocks ? s->first_block : s->first_task) <= index)
            low = middle;
        else
            high = middle;
    }
    return &b->sequences[low];
}

/* Block `index` of a sequence's rows. */
static void take_block(tq_attend_task *t, const tq_attend_batch *b, const tq_attend_sequence *s,
                       size_t index) {
    const tq_attend_cut *cut = &s->cut;
    const size_t first = index % cut->row_blocks * cut->row_block, left = cut->rows - first;
    t->batch = b;
    t->s = s;
    t->head = index / cut->row_blocks;
    t->row = t->head * cut->rows + first;
    t->rows = left < cut->row_block ? left : cut->row_block;
    t->centre = NULL;
    t->digits_of = NULL;
    t->k_offsets.stride = t->v_offsets.stride = 0;
}

static void run_task(void *work, size_t index) {
    const tq_attend_batch *b = work;
    const tq_attend_sequence *s = sequence_of(b, index, false);
    tq_attend_task t;
    take_block(&t, b, s, (index - s->first_task) / s->cut.splits);
    t.split = (index - s->first_task) % s->cut.splits;
    t.first = t.split * s->cut.split;
    t.last = s->positions - t.first < s->cut.split ? s->positions : t.first + s->cut.split;
    if (s->cut.splits == 1) prepare(&t);
    tq_attend_work(&t);
    if (s->cut.splits == 1) finish(&t);
}

static void prepare_block(void *work, size_t index) {
    const tq_attend_batch *b = work;
    const tq_attend_sequence *s = sequence_of(b, index, true);
    tq_attend_task t;
    take_block(&t, b, s, index - s->first_block);
    prepare(&t);
}

static void finish_block(void *work, size_t index) {
    const tq_attend_batch *b = work;
    const tq_attend_sequence *s = sequence_of(b, index, true);
    tq_attend_task t;
    take_block(&t, b, s, index - s->first_block);
    finish(&t);
}

void tq_attend_run(const tq_attend_batch *b, const tq_parallel *parallel) {
    tq_attend_batch batch = *b; /* tasks take it as something to change */
    if (b->work < ALONE) parallel = NULL;
    tq_run_tasks(parallel, b->blocks, prepare_block, &batch);
    tq_run_tasks(parallel, b->tasks, run_task, &batch);
    tq_run_tasks(parallel, b->blocks, finish_block, &batch);
}
