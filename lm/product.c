/* SPDX-License-Identifier: MIT
 * Matrix products, a tile of outputs at a time: by lm/panel.c on the processors that it is for, else by
 * OpenBLAS in one fixed shape.
 *
 * OpenBLAS takes other kernels, which sum in another order, for other numbers of rows and for the rows at
 * the edge: on Haswell row 4 of 16 differs from row 12 in its last bits. A sequence would then give other
 * logits beside others than alone, and the difference between two formats would not be the formats' own.
 * So every call is 8 rows against a tile of at most 64 outputs and 1024 inputs, which depends on the
 * matrix alone. That 8 equal rows give equal results is tested. It is also the fastest shape of all up to
 * 64 rows on processors with AVX-512 (OpenBLAS 0.3.21), where small products need not be packed. */
#include "product.h"

#include <cblas.h>
#include <stdbool.h>

#include "panel.h"
#include "tasks.h"

/* A tile in float32 stays in the second-level cache, and on the stack of whoever works on it. */
enum { TILE = LM_PANEL_TILE, DEPTH = 1024 };

typedef struct job {
    size_t rows;
    const lm_product *products;
    bool panels;
} job;

static size_t tiles_of(const lm_product *p) {
    return (p->w.out + TILE - 1) / TILE;
}

static void add_bias(const lm_product *p, size_t rows, size_t first, size_t n) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = first; i < first + n; i++)
            p->y[r * p->w.out + i] += p->bias[i];
}

static const float *tile_of(const lm_matrix *w, size_t first, size_t n, size_t from, size_t depth,
                            float *room, size_t *stride) {
    *stride = depth;
    if (w->type == LM_F32) {
        *stride = w->in;
        return (const float *)w->values + first * w->in + from;
    }
    for (size_t i = 0; i < n; i++)
        lm_widen(w->type, w->values, (first + i) * w->in + from, depth, room + i * depth);
    return room;
}

static void multiply_by_blas(const lm_product *p, size_t first, size_t n, size_t rows) {
    const lm_matrix *w = &p->w;
    float room[TILE * DEPTH];
    for (size_t from = 0; from < w->in; from += DEPTH) {
        const size_t depth = w->in - from < DEPTH ? w->in - from : DEPTH;
        size_t stride;
        const float *tile = tile_of(w, first, n, from, depth, room, &stride);
        for (size_t r = 0; r < lm_padded(rows); r += LM_ROWS)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, LM_ROWS, (blasint)n, (blasint)depth,
                        1.0f, p->x + r * w->in + from, (blasint)w->in, tile, (blasint)stride,
                        from == 0 ? 0.0f : 1.0f, p->y + r * w->out + first, (blasint)w->out);
    }
}

/* The outputs of one tile of one product, all rows. */
static void run_tile(void *work, size_t index) {
    const job *j = work;
    const lm_product *p = j->products;
    while (index >= tiles_of(p))
        index -= tiles_of(p++);
    const size_t first = index * TILE;
    const size_t n = p->w.out - first < TILE ? p->w.out - first : TILE;
    if (j->panels)
        lm_panels_multiply(&p->w, first, n, j->rows, p->x, p->y);
    else
        multiply_by_blas(p, first, n, j->rows);
    if (p->bias != NULL) add_bias(p, j->rows, first, n);
}

void lm_products_set_up(void) {
    openblas_set_num_threads(1);
}

size_t lm_padded(size_t rows) {
    return (rows + LM_ROWS - 1) / LM_ROWS * LM_ROWS;
}

void lm_products(const tq_parallel *parallel, size_t rows, size_t n, const lm_product *products) {
    job j = {rows, products, lm_panels_serve()};
    size_t tiles = 0;
    for (size_t i = 0; i < n; i++)
        tiles += tiles_of(&products[i]);
    /* An OpenBLAS built without threads is not made to be called by several: on Haswell's kernels such
     * calls gave wrong products, one in thirty of them (Debian 12's libopenblas0-serial). */
    const bool shared = j.panels || openblas_get_parallel() != OPENBLAS_SEQUENTIAL;
    lm_run(shared ? parallel : NULL, tiles, run_tile, &j);
}
