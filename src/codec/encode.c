/* SPDX-License-Identifier: MIT
 * Vectors to codes and norms. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "codec/rows.h"

/* Rows are taken in batches that leave room in a first-level cache of 32 KiB for what they become. */
enum { BATCH_VALUES = 2048, BATCH_ROWS = BATCH_VALUES / 32 };

/* A norm up to this makes v1's scale zero. */
static const float v1_tiny = 1e-10f;

/* A batch on its way: rotated vectors side by side, and numbers per vector or block. */
typedef struct batch {
    const tq_kernels *kernels;
    _Alignas(64) float y[BATCH_VALUES]; /* vectors that span two cache lines cost twice */
    float squares[BATCH_ROWS], lengths[BATCH_ROWS], scales[BATCH_ROWS], sums[BATCH_ROWS];
} batch;

/* Norms of all blocks of the rows, then their codes row by row: blocks follow each other within a row. */
static void encode_v1(const tq_plan *plan, batch *b, const tq_row_set *set, uint8_t *codes,
                      uint8_t *norms) {
    const size_t per_row = plan->n_norms;
    for (size_t i = 0; i < set->rows * per_row; i++) {
        /* two norms are root mean squares, one is a length */
        const float norm = sqrtf(per_row == 2 ? b->squares[i] * (1.0f / 256.0f) : b->squares[i]);
        memcpy(norms + i / per_row * set->norm_stride + i % per_row * sizeof norm, &norm, sizeof norm);
        b->scales[i] = norm <= v1_tiny ? 0.0f : 1.0f / norm;
    }
    for (size_t t = 0; t < set->rows; t++)
        b->kernels->quantize(plan->book, plan->block, per_row, b->y + t * plan->dim,
                             b->scales + t * per_row, plan->unit, TQ_SUM_NONE, NULL,
                             codes + t * set->code_stride, plan->block_bytes);
}

/* Subnormal sums have lost their digits: such rows are zero. Loops without branches take several roots
 * and quotients at a time. */
static bool is_zero(float squares) {
    return squares < FLT_MIN;
}

static void take_lengths(const tq_plan *plan, batch *b, size_t rows) {
    const float unit = plan->unit;
    for (size_t t = 0; t < rows; t++) {
        const float length = sqrtf(is_zero(b->squares[t]) ? 1.0f : b->squares[t]);
        const float scale = unit / length;
        b->lengths[t] = length;
        b->scales[t] = is_zero(b->squares[t]) ? 0.0f : scale;
    }
}

/* What the rule makes of the lengths, before it is rounded, in place of the sums. */
static void apply_rule(const tq_plan *plan, batch *b, size_t rows) {
    const float dim = (float)plan->dim, unit = plan->unit;
    switch (plan->norm_rule) {
    case TQ_NORM_MATCHED:
        for (size_t t = 0; t < rows; t++)
            b->sums[t] = b->lengths[t] * unit / sqrtf(b->sums[t]);
        break;
    case TQ_NORM_UNBIASED:
        for (size_t t = 0; t < rows; t++)
            b->sums[t] = b->lengths[t] * dim / b->sums[t];
        break;
    default:
        memcpy(b->sums, b->lengths, rows * sizeof *b->sums);
    }
    for (size_t t = 0; t < rows; t++)
        b->sums[t] = is_zero(b->squares[t]) ? 0.0f : b->sums[t];
}

/* Norms of the first rows to float16 and to where they are to lie. What is stored as zero has no codes.
 */
static void store_norms(const tq_plan *plan, batch *b, const tq_row_set *set, size_t rows, uint8_t *codes,
                        uint8_t *norms) {
    uint16_t halves[BATCH_ROWS];
    for (size_t t = rows; t % TQ_LANES != 0; t++)
        b->sums[t] = 0.0f;
    b->kernels->f32_to_f16((rows + TQ_LANES - 1) / TQ_LANES * TQ_LANES, b->sums, halves);
    for (size_t t = 0; t < rows; t++) {
        if (halves[t] == 0) memset(codes + t * set->code_stride, 0, plan->row_bytes);
        memcpy(norms + t * set->norm_stride, &halves[t], sizeof halves[t]);
    }
}

/* Returns the first row whose norm float16 cannot hold, or how many there are. */
static size_t encode_v2(const tq_plan *plan, batch *b, const tq_row_set *set, uint8_t *codes,
                        uint8_t *norms) {
    static const tq_code_sum sum_of[] = {
        [TQ_NORM_PLAIN] = TQ_SUM_NONE,
        [TQ_NORM_MATCHED] = TQ_SUM_CC,
        [TQ_NORM_UNBIASED] = TQ_SUM_UC,
    };
    take_lengths(plan, b, set->rows);
    b->kernels->quantize(plan->book, plan->dim, set->rows, b->y, b->scales, 1.0f, sum_of[plan->norm_rule],
                         b->sums, codes, set->code_stride);
    apply_rule(plan, b, set->rows);
    const size_t rows = b->kernels->scan(set->rows, b->sums, TQ_MAX_NORM);
    store_norms(plan, b, set, rows, codes, norms);
    return rows;
}

/* Rows that hold a NaN, an infinity or a value beyond the limit show it in their sums of squares (of
 * which a v1 row may have two), so that no pass over the values has to look for it. A large sum may have
 * other reasons: then all values are looked at. A centre may hide a value beyond the limit: with one they
 * always are, while they lie in the nearest cache. */
static size_t find_bad(const tq_plan *plan, const batch *b, const tq_row_set *set, const float *src,
                       const float *centre) {
    const float suspicious = TQ_MAX_ABS * TQ_MAX_ABS / 4;
    const size_t n = set->rows * plan->n_norms;
    if (centre == NULL && b->kernels->scan(n, b->squares, suspicious) == n) return SIZE_MAX;
    for (size_t t = 0; t < set->rows; t++) {
        const size_t j = b->kernels->scan(plan->dim, src + t * set->dense_stride, TQ_MAX_ABS);
        if (j < plan->dim) return t * set->dense_stride + j;
    }
    return SIZE_MAX;
}

static void rotate_batch(const tq_plan *plan, batch *b, const tq_row_set *set, const float *src,
                         const float *centre) {
    size_t stride = set->dense_stride;
    if (centre != NULL) {
        for (size_t t = 0; t < set->rows; t++)
            for (size_t j = 0; j < plan->dim; j++)
                b->y[t * plan->dim + j] = src[t * stride + j] - centre[j];
        src = b->y;
        stride = plan->dim;
    }
    b->kernels->rotate(&plan->rotation, TQ_ROTATE_IN, set->rows, src, stride, b->y, plan->dim);
    b->kernels->sum_squares(plan->block, set->rows * plan->n_norms, b->y, b->squares);
}

/* Rows before one that cannot be encoded are: one of them may have to be named first. */
static size_t encode_batch(const tq_plan *plan, batch *b, const tq_row_set *set, const float *src,
                           const float *centre, uint8_t *codes, uint8_t *norms) {
    tq_row_set good = *set;
    rotate_batch(plan, b, set, src, centre);
    const size_t bad = find_bad(plan, b, set, src, centre);
    if (bad != SIZE_MAX) good.rows = bad / set->dense_stride;
    if (plan->v1) {
        encode_v1(plan, b, &good, codes, norms);
        return bad;
    }
    const size_t rows = encode_v2(plan, b, &good, codes, norms);
    return rows < good.rows ? rows * set->dense_stride : bad;
}

size_t tq_encode_rows(const tq_kernels *kernels, const tq_plan *plan, const tq_row_set *set,
                      const float *src, const float *centre, uint8_t *codes, uint8_t *norms) {
    const size_t most = BATCH_VALUES / plan->dim;
    tq_row_set part = *set;
    batch b;
    b.kernels = kernels;
    for (size_t t = 0; t < set->rows; t += most) {
        part.rows = set->rows - t < most ? set->rows - t : most;
        const size_t bad = encode_batch(plan, &b, &part, src + t * set->dense_stride, centre,
                                        codes + t * set->code_stride, norms + t * set->norm_stride);
        if (bad != SIZE_MAX) return t * set->dense_stride + bad;
    }
    return SIZE_MAX;
}
