/* SPDX-License-Identifier: MIT
 * The common part of keys: their mean, where it is worth being subtracted. */
#include "codec/centre.h"

#include <string.h>

#include "cpu/dispatch.h"

void tq_mean_add(tq_mean *m, const float *x) {
    for (size_t i = 0; i < m->dim; i++) {
        const double value = (double)x[i];
        m->sum[i] += value;
        m->squares[i] += value * value; /* one sum of all would wait for itself */
    }
    m->n++;
}

/* Keys that follow each other are alike in what does not stay. */
void tq_mean_round(const tq_mean *m, const tq_kernels *kernels, uint16_t *centre) {
    const double n = (double)m->n;
    double all = 0.0, shared = 0.0;
    float mean[TQ_MAX_DIM] = {0};
    for (size_t i = 0; i < m->dim; i++) {
        all += m->squares[i];
        shared += m->sum[i] * m->sum[i];
    }
    const bool worth = shared / n >= 0.5 * all;
    for (size_t i = 0; worth && i < m->dim; i++)
        mean[i] = (float)(m->sum[i] / n);
    kernels->f32_to_f16(m->dim, mean, centre);
}

static tq_status check_halves(const tq_kernels *kernels, const tq_rows *r) {
    for (size_t h = 0; h < r->heads; h++)
        for (size_t t = 0; t < r->rows; t++) {
            const size_t start = tq_rows_at(r, h, t);
            const size_t bad = kernels->scan(r->length, (const float *)r->data + start, TQ_MAX_HALF);
            if (bad != r->length)
                return tq_fail_value(r->name, start + bad, ((const float *)r->data)[start + bad],
                                     TQ_MAX_HALF);
        }
    return TQ_OK;
}

tq_status tq_learn_centre(uint32_t head_dim, const tq_batch *batch, const float *keys, size_t n_keys,
                          uint16_t *centre, size_t n_centre) {
    const tq_kernels *kernels;
    TRY(tq_active_kernels(&kernels));
    TRY(tq_check_not_null("batch", batch));
    if (head_dim == 0 || head_dim > TQ_MAX_DIM || head_dim % TQ_LANES != 0)
        return tq_fail(TQ_E_HEAD_DIM, 0, "head_dim", "head_dim %u: multiples of 16 up to %d are served",
                       head_dim, TQ_MAX_DIM);
    if (batch->heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "heads", "heads is 0: there must be one at least");
    if (batch->rows == 0)
        return tq_fail(TQ_E_POSITION, 0, "rows", "rows is 0: a centre is learned from one key at least");
    tq_rows from = {"keys",
                    keys,
                    sizeof *keys,
                    head_dim,
                    batch->heads,
                    batch->rows,
                    batch->dense_head_stride,
                    batch->dense_row_stride};
    tq_rows to = {"centre", centre, sizeof *centre, head_dim, batch->heads, 1, 0, 0};
    TRY(tq_rows_check(&from, n_keys));
    TRY(tq_rows_check(&to, n_centre));
    TRY(tq_rows_check_apart(&to, &from));
    TRY(check_halves(kernels, &from));
    for (size_t h = 0; h < batch->heads; h++) {
        tq_mean m = {.dim = head_dim};
        for (size_t t = 0; t < batch->rows; t++)
            tq_mean_add(&m, keys + tq_rows_at(&from, h, t));
        tq_mean_round(&m, kernels, centre + h * head_dim);
    }
    return TQ_OK;
}

tq_status tq_round_centre(const float *src, uint16_t *dst, size_t n) {
    const tq_kernels *kernels;
    size_t bytes;
    TRY(tq_active_kernels(&kernels));
    if (n == 0) return TQ_OK;
    TRY(tq_check_product("src", n, 1, sizeof *src, &bytes));
    TRY(tq_check_not_null("src", src));
    TRY(tq_check_not_null("dst", dst));
    TRY(tq_check_apart("dst", dst, n * sizeof *dst, "src", src, bytes));
    const tq_rows all = {"src", src, sizeof *src, n, 1, 1, n, n};
    TRY(check_halves(kernels, &all));
    for (size_t i = 0; i < n; i += TQ_LANES) {
        const size_t few = n - i < TQ_LANES ? n - i : TQ_LANES;
        float wide[TQ_LANES] = {0};
        uint16_t halves[TQ_LANES];
        memcpy(wide, src + i, few * sizeof *wide);
        kernels->f32_to_f16(TQ_LANES, wide, halves);
        memcpy(dst + i, halves, few * sizeof *halves);
    }
    return TQ_OK;
}
