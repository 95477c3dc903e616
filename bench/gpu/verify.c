/* SPDX-License-Identifier: MIT
 * The last KV head of the last sequence, attended to on the CPU. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scene.h"
#include "tqkv/tqkv.h"

enum { MOST_ARRAYS = 16 };

/* What is downloaded, and the segments that it makes. */
typedef struct slice {
    const scene *c;
    size_t b, g, n_segments;
    tq_segment segments[3];
    char *memory[MOST_ARRAYS];
    size_t n_memory;
} slice;

static void *hold(slice *x, size_t bytes) {
    char *p = x->n_memory < MOST_ARRAYS ? malloc(bytes + 64) : NULL;
    if (p != NULL) x->memory[x->n_memory++] = p;
    return p;
}

/* One head's rows of a pool, in the order of positions. */
static int rows_of(slice *x, const char *pool, size_t row_bytes, size_t n, char *to) {
    const scene *c = x->c;
    for (size_t slot = 0; slot < n; slot += c->page_rows) {
        const size_t at = x->b * c->pages + slot / c->page_rows;
        const size_t page = c->paged ? (size_t)c->table[at] : at;
        const size_t rows = n - slot < c->page_rows ? n - slot : c->page_rows;
        const size_t from = (page * c->row->kv_heads + x->g) * c->page_rows;
        download(to + slot * row_bytes, pool + from * row_bytes, rows * row_bytes);
    }
    return 1;
}

static int codes_of(slice *x, const tq_view *from, size_t n, tq_view *to) {
    const size_t row = scene_row_bytes(from->codec.format, x->c->row->dim);
    char *codes = hold(x, n * row), *norms = hold(x, n * 2);
    return codes != NULL && norms != NULL && rows_of(x, from->data, row, n, codes) &&
           rows_of(x, from->norms, 2, n, norms) &&
           tq_view_codes(to, &from->codec, 1, n, codes, n * row, norms, n * 2) == TQ_OK;
}

static int centres_of(slice *x, const tq_view *from, tq_view *to) {
    const scene *c = x->c;
    const size_t dim = c->row->dim, n = from->centre_stretch == 0 ? 1 : c->stretches;
    if (from->centre == NULL) return 1;
    uint16_t *centre = hold(x, n * dim * sizeof *centre);
    if (centre == NULL) return 0;
    for (size_t i = 0; i < n; i++) {
        const size_t number =
            from->centre_stretch == 0 ? 0 : (size_t)c->centre_table[x->b * c->stretches + i];
        download(centre + i * dim, from->centre + (number * c->row->kv_heads + x->g) * dim,
                 dim * sizeof *centre);
    }
    to->centre = centre;
    to->n_centres = n;
    to->centre_stretch = from->centre_stretch;
    return 1;
}

static int dense_of(slice *x, const tq_cuda_dense *from, size_t capacity, tq_view *to) {
    const size_t n = capacity * x->c->row->dim;
    uint16_t *values = hold(x, n * sizeof *values);
    if (values == NULL) return 0;
    download(values, from->data + (x->b * x->c->row->kv_heads + x->g) * n, n * sizeof *values);
    return tq_view_dense(to, TQ_F16, x->c->row->dim, 1, capacity, values, n) == TQ_OK;
}

static int add_sinks(slice *x, const tq_cuda_attention_batch *batch) {
    tq_segment *s = &x->segments[x->n_segments++];
    s->length = batch->n_sinks;
    return dense_of(x, &batch->sink_k, s->length, &s->k) && dense_of(x, &batch->sink_v, s->length, &s->v);
}

static int add_codes(slice *x, const tq_cuda_attention_batch *batch) {
    tq_segment *s = &x->segments[x->n_segments++];
    s->first_position = batch->code_first;
    s->length = (size_t)x->c->coded[x->b] - (size_t)s->first_position;
    return codes_of(x, batch->k, s->length, &s->k) && codes_of(x, batch->v, s->length, &s->v) &&
           centres_of(x, batch->k, &s->k);
}

static int add_recent(slice *x, const tq_cuda_attention_batch *batch) {
    tq_segment *s = &x->segments[x->n_segments++];
    s->first_position = (uint64_t)x->c->coded[x->b];
    s->length = (size_t)(x->c->lengths[x->b] - x->c->coded[x->b]);
    if (!dense_of(x, &batch->recent_k, batch->recent_capacity, &s->k) ||
        !dense_of(x, &batch->recent_v, batch->recent_capacity, &s->v))
        return 0;
    s->k.ring_start = s->v.ring_start = (size_t)s->first_position % batch->recent_capacity;
    return 1;
}

/* Queries that are checked: the last ones, of no more than a CPU attends to at once. */
static size_t checked(const attend_row *row) {
    return row->queries < 8 ? row->queries : 8;
}

/* Queries and outputs lie [B][n][H][D] there and [group][checked][D] here. */
static void turn(const slice *x, const uint16_t *from, float *to) {
    const attend_row *row = x->c->row;
    const size_t group = row->heads / row->kv_heads, n = checked(row);
    for (size_t h = 0; h < group; h++)
        for (size_t i = 0; i < n; i++)
            for (size_t d = 0; d < row->dim; d++) {
                const size_t token = (x->b + 1) * row->queries - n + i, head = x->g * group + h;
                to[(h * n + i) * row->dim + d] =
                    from_bf16(from[(token * row->heads + head) * row->dim + d]);
            }
}

static int attend(slice *x, const float *q, float *out, size_t n) {
    const scene *c = x->c;
    const tq_cuda_attention_config config = scene_config(c->row);
    const uint32_t group = c->row->heads / c->row->kv_heads;
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = group,
                                        .n_kv_heads = 1,
                                        .head_dim = c->row->dim,
                                        .n_queries = checked(c->row),
                                        .scale = config.layer.scale,
                                        .softcap = config.layer.softcap,
                                        .arithmetic = TQ_ARITHMETIC_FLOAT,
                                        .window = config.layer.window,
                                        .sinks =
                                            c->row->options & LOGITS ? c->sinks + x->g * group : NULL};
    size_t bytes;
    void *workspace = NULL;
    if (tq_attention_workspace(&params, x->segments, x->n_segments, &bytes) != TQ_OK ||
        posix_memalign(&workspace, 64, bytes + 64) != 0)
        return 0;
    const tq_status status =
        tq_attention(&params, x->segments, x->n_segments, q, n, out, n, NULL, 0, workspace, bytes);
    free(workspace);
    return status == TQ_OK;
}

static double distance(const float *a, const float *right, size_t n) {
    double difference = 0, length = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - right[i]) * ((double)a[i] - right[i]);
        length += (double)right[i] * right[i];
    }
    return sqrt(difference / length);
}

static double slice_error(slice *x) {
    const scene *c = x->c;
    const tq_cuda_attention_batch *batch = &c->batch[0];
    const size_t n = c->row->heads / c->row->kv_heads * checked(c->row) * c->row->dim;
    float *q = hold(x, n * sizeof *q), *right = hold(x, n * sizeof *right);
    float *told = hold(x, n * sizeof *told);
    uint16_t *out = hold(x, c->n_q * sizeof *out);
    if (q == NULL || right == NULL || told == NULL || out == NULL) return (double)NAN;
    if (batch->n_sinks > 0 && !add_sinks(x, batch)) return (double)NAN;
    if (!add_codes(x, batch)) return (double)NAN;
    if (batch->recent_capacity > 0 && !add_recent(x, batch)) return (double)NAN;
    download(out, batch->out, c->n_q * sizeof *out);
    turn(x, c->q, q);
    turn(x, out, told);
    return attend(x, q, right, n) ? distance(told, right, n) : (double)NAN;
}

double scene_error(const scene *c) {
    slice x = {.c = c, .b = c->row->batch - 1, .g = c->row->kv_heads - 1};
    const double error = slice_error(&x);
    for (size_t i = 0; i < x.n_memory; i++)
        free(x.memory[i]);
    return error;
}
