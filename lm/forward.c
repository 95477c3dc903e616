/* SPDX-License-Identifier: MIT
 * One forward pass over rows of one or several sequences: models/README.md, "The forward pass". */
#include "forward.h"

#include <string.h>

#include "product.h"
#include "row.h"
#include "tasks.h"

/* What tasks of a layer get. */
typedef struct layer_job {
    const lm_pass *pass;
    const lm_layer *layer;
    size_t index; /* of the layer */
} layer_job;

typedef void row_task(const layer_job *job, size_t row);

/* A task that is a block of rows. */
typedef struct rows_job {
    const layer_job *job;
    row_task *task;
    size_t rows;
} rows_job;

static void run_block(void *work, size_t index) {
    const rows_job *j = work;
    for (size_t r = index * LM_ROWS; r < j->rows && r < (index + 1) * LM_ROWS; r++)
        j->task(j->job, r);
}

static size_t n_rows(const lm_pass *p) {
    return p->steps * p->n_sequences * p->rows_each;
}

static void each_row(const layer_job *job, row_task *task) {
    rows_job j = {job, task, n_rows(job->pass)};
    lm_run(job->pass->parallel, lm_padded(j.rows) / LM_ROWS, run_block, &j);
}

static uint64_t position_of(const lm_pass *p, size_t row) {
    const size_t each = p->rows_each, step = row / (p->n_sequences * each);
    return p->sequences[row / each % p->n_sequences]->length + step * each + row % each;
}

/* Sequences that decode side by side often stand at one position: its angles are found once. */
static void find_angles(const lm_pass *p) {
    const lm_model *m = p->model;
    for (size_t i = 0; i < m->n_ropes; i++) {
        const lm_rope *rope = &m->ropes[i];
        for (size_t r = 0; r < n_rows(p); r++) {
            float *angles = lm_work_rope(p->work, m, i, r);
            if (r > 0 && position_of(p, r) == position_of(p, r - 1))
                memcpy(angles, angles - rope->dim, rope->dim * sizeof *angles);
            else
                lm_row_angles(angles, position_of(p, r), rope->frequency, rope->dim);
        }
    }
}

static void embed(const lm_pass *p) {
    const lm_matrix *e = &p->model->embedding;
    const size_t d = p->model->width;
    for (size_t r = 0; r < n_rows(p); r++) {
        float *x = p->work->x + r * d;
        lm_widen(e->type, e->values, p->tokens[r] * d, d, x);
        for (size_t i = 0; i < d; i++)
            x[i] *= p->model->embedding_scale;
    }
}

static void norm_before_attention(const layer_job *j, size_t r) {
    const lm_model *m = j->pass->model;
    const lm_work *w = j->pass->work;
    lm_row_norm(w->h + r * m->width, w->x + r * m->width, j->layer->attention_norm, m->width,
                m->norm_eps);
}

static void place_heads(const layer_job *j, float *x, const float *norm, size_t n_heads,
                        const float *angles) {
    const size_t dim = j->layer->shape.head_dim;
    for (size_t h = 0; norm != NULL && h < n_heads; h++)
        lm_row_norm(x + h * dim, x + h * dim, norm, dim, j->pass->model->norm_eps);
    lm_row_rope(x, n_heads, dim, angles);
}

static void place_row(const layer_job *j, size_t r) {
    const lm_layer_shape *s = &j->layer->shape;
    const lm_work *w = j->pass->work;
    const float *angles = lm_work_rope(w, j->pass->model, j->layer->rope, r);
    place_heads(j, w->q + r * s->n_heads * s->head_dim, j->layer->q_norm, s->n_heads, angles);
    place_heads(j, w->k + r * s->n_kv_heads * s->head_dim, j->layer->k_norm, s->n_kv_heads, angles);
}

static void add_attention(const layer_job *j, size_t r) {
    const lm_model *m = j->pass->model;
    float *x = j->pass->work->x + r * m->width, *h = j->pass->work->h + r * m->width;
    if (m->post_norms) lm_row_norm(h, h, j->layer->attention_post_norm, m->width, m->norm_eps);
    lm_row_add(x, h, m->width);
    lm_row_norm(h, x, j->layer->mlp_norm, m->width, m->norm_eps);
}

static void activate(const layer_job *j, size_t r) {
    const size_t n = j->pass->model->hidden;
    float *gate = j->pass->work->gate + r * n;
    const float *up = j->pass->work->up + r * n;
    if (j->pass->model->activation == LM_SILU)
        lm_row_silu(gate, up, n);
    else
        lm_row_gelu_tanh(gate, up, n);
}

static void add_mlp(const layer_job *j, size_t r) {
    const lm_model *m = j->pass->model;
    float *h = j->pass->work->h + r * m->width;
    if (m->post_norms) lm_row_norm(h, h, j->layer->mlp_post_norm, m->width, m->norm_eps);
    lm_row_add(j->pass->work->x + r * m->width, h, m->width);
}

/* [rows][heads][dim] to [heads][rows][dim], or back. */
static void swap_heads(float *out, const float *in, size_t outer, size_t inner, size_t dim) {
    for (size_t i = 0; i < outer; i++)
        for (size_t j = 0; j < inner; j++)
            memcpy(out + (j * outer + i) * dim, in + (i * inner + j) * dim, dim * sizeof *out);
}

/* A sequence's rows of one step, `block` the first of them. One row is [H][1][D] as it is. */
static tq_status attend_step(const layer_job *j, size_t index, size_t step, size_t block) {
    const lm_pass *p = j->pass;
    const lm_work *w = p->work;
    const lm_layer_shape *s = &j->layer->shape;
    const size_t n = p->rows_each, heads = s->n_heads, dim = s->head_dim;
    const size_t kv = block * s->n_kv_heads * dim;
    float *q = w->q + block * heads * dim, *y = w->y + block * heads * dim;
    float *q_in = n == 1 ? q : w->q_heads, *y_out = n == 1 ? y : w->y_heads;
    const tq_parallel *parallel = p->n_sequences == 1 ? p->parallel : NULL;
    if (n > 1) swap_heads(q_in, q, n, heads, dim);
    tq_status status = lm_sequence_attend(p->sequences[index], j->index, step * n, n, q_in, w->k + kv,
                                          w->v + kv, y_out, parallel);
    if (status == TQ_OK && n > 1) swap_heads(y, y_out, heads, n, dim);
    return status;
}

static void attend_sequence(void *work, size_t index) {
    const layer_job *j = work;
    const lm_pass *p = j->pass;
    tq_status status = TQ_OK;
    for (size_t i = 0; status == TQ_OK && i < p->steps; i++)
        status = attend_step(j, index, i, (i * p->n_sequences + index) * p->rows_each);
}

static tq_status attend(const layer_job *j) {
    const lm_pass *p = j->pass;
    layer_job job = *j;
    if (p->watch != NULL && p->watch->qkv != NULL)
        p->watch->qkv(p->watch->context, j->index, n_rows(p), p->work->q, p->work->k, p->work->v);
    lm_run(p->parallel, p->n_sequences, attend_sequence, &job);
    for (size_t i = 0; i < p->n_sequences; i++) {
        const tq_error *e = &p->sequences[i]->failure;
        if (e->status != TQ_OK)
            return tq_fail(e->status, e->index, e->field, "layer %zu, sequence %zu: %s", j->index, i,
                           e->message);
    }
    if (p->watch != NULL && p->watch->attention != NULL)
        p->watch->attention(p->watch->context, j->index, n_rows(p), p->work->y);
    return TQ_OK;
}

static tq_status run_layer(const lm_pass *p, size_t index) {
    const lm_layer *l = &p->model->layers[index];
    const layer_job job = {p, l, index};
    const lm_work *w = p->work;
    const size_t rows = n_rows(p);
    const lm_product qkv[] = {
        {l->q, l->q_bias, w->h, w->q}, {l->k, l->k_bias, w->h, w->k}, {l->v, l->v_bias, w->h, w->v}};
    const lm_product o = {l->o, NULL, w->y, w->h};
    const lm_product gate_up[] = {{l->gate, NULL, w->h, w->gate}, {l->up, NULL, w->h, w->up}};
    const lm_product down = {l->down, NULL, w->gate, w->h};

    each_row(&job, norm_before_attention);
    lm_products(p->parallel, rows, 3, qkv);
    each_row(&job, place_row);
    tq_status status = attend(&job);
    if (status != TQ_OK) return status;
    lm_products(p->parallel, rows, 1, &o);
    each_row(&job, add_attention);
    lm_products(p->parallel, rows, 2, gate_up);
    each_row(&job, activate);
    lm_products(p->parallel, rows, 1, &down);
    each_row(&job, add_mlp);
    return TQ_OK;
}

tq_status lm_forward(const lm_pass *p) {
    tq_status status = TQ_OK;
    embed(p);
    find_angles(p);
    for (size_t i = 0; status == TQ_OK && i < p->model->n_layers; i++)
        status = run_layer(p, i);
    for (size_t i = 0; i < p->n_sequences; i++)
        if (status == TQ_OK)
            p->sequences[i]->length += p->steps * p->rows_each;
        else
            lm_sequence_take_back(p->sequences[i]);
    return status;
}

void lm_logits(const lm_pass *p, size_t first, size_t n) {
    const lm_model *m = p->model;
    const lm_work *w = p->work;
    const lm_product output = {m->output, NULL, w->h, w->logits};
    for (size_t r = 0; r < n; r++)
        lm_row_norm(w->h + r * m->width, w->x + (first + r) * m->width, m->norm, m->width, m->norm_eps);
    lm_products(p->parallel, n, 1, &output);
}
