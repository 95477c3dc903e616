/* SPDX-License-Identifier: MIT
 * A decode step that all sides of the comparison compute: one query a head over a cache. */
#include "scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "measure/data.h"
#include "measure/exact.h"

/* Vectors are windows of the pool that begin at places of their own; 2^20 before one comes again. */
enum { POOL = 1 << 20, STEP = 40503, MOST_DIM = 1024 };

static void fill(float *dst, size_t rows, size_t dim, const float *pool, size_t from) {
    for (size_t i = 0; i < rows; i++)
        memcpy(dst + i * dim, pool + (from + i * STEP) % POOL, dim * sizeof *dst);
}

/* terms: [dim], not looked at here. */
static void compute(peer_scene *s, double *scratch, double *terms) {
    const measure_exact exact = {.n_heads = s->heads,
                                 .n_kv_heads = s->kv_heads,
                                 .head_dim = s->dim,
                                 .n_queries = 1,
                                 .n_positions = s->positions,
                                 .scale = (double)s->scale,
                                 .q = s->q,
                                 .k = s->k,
                                 .v = s->v};
    for (size_t h = 0; h < s->heads; h++)
        measure_exact_attend(&exact, h, 0, scratch, s->want + h * s->dim, terms);
}

int peer_scene_begin(peer_scene *s) {
    const size_t rows = s->kv_heads * s->positions;
    float *pool = calloc(POOL + MOST_DIM, sizeof *pool);
    double *scratch = calloc(s->positions + s->dim, sizeof *scratch);
    s->scale = (float)(1.0 / sqrt((double)s->dim));
    s->q = calloc(s->heads * s->dim, sizeof *s->q);
    s->k = calloc(rows * s->dim, sizeof *s->k);
    s->v = calloc(rows * s->dim, sizeof *s->v);
    s->want = calloc(s->heads * s->dim, sizeof *s->want);
    const int rc = pool && scratch && s->q && s->k && s->v && s->want ? 0 : -1;
    if (rc == 0) {
        measure_fill_gaussian(pool, POOL + MOST_DIM);
        fill(s->q, s->heads, s->dim, pool, POOL / 4);
        fill(s->k, rows, s->dim, pool, POOL / 2);
        fill(s->v, rows, s->dim, pool, 0);
        compute(s, scratch, scratch + s->positions);
    }
    free(pool);
    free(scratch);
    return rc;
}

void peer_scene_free(peer_scene *s) {
    free(s->q);
    free(s->k);
    free(s->v);
    free(s->want);
    s->q = s->k = s->v = NULL;
    s->want = NULL;
}

size_t peer_scene_f16_bytes(const peer_scene *s) {
    return 2 * 2 * s->kv_heads * s->positions * s->dim;
}

double peer_scene_error(const peer_scene *s, const float *got) {
    return measure_exact_error(got, s->want, s->want, s->heads * s->dim);
}
