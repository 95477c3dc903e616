/* SPDX-License-Identifier: MIT
 * Shapes of batches: strides, extents, overlaps. */
#include "base/check.h"
#include "base/size.h"

static tq_status fail_stride(const tq_rows *r) {
    return tq_fail(TQ_E_STRIDE, 0, r->name,
                   "%s: strides of %zu a row and %zu a head let rows of %zu collide", r->name,
                   r->row_stride, r->head_stride, r->length);
}

static tq_status fail_overflow(const tq_rows *r) {
    return tq_fail(TQ_E_OVERFLOW, 0, r->name, "%s: %zu heads of %zu rows do not fit in memory", r->name,
                   r->heads, r->rows);
}

/* Either a head's rows end before the next head starts, or, with positions outermost, a row's heads end
 * before the next row starts. */
static bool pieces_apart(const tq_rows *r, size_t one_head, size_t one_row) {
    if ((r->rows > 1 && r->row_stride < r->length) || (r->heads > 1 && r->head_stride < r->length))
        return false;
    return r->heads == 1 || r->rows == 1 || r->head_stride >= one_head || r->row_stride >= one_row;
}

tq_status tq_rows_check(tq_rows *r, size_t n) {
    size_t one_head = r->length, one_row = r->length, all, bytes;
    if (r->row_stride == 0) r->row_stride = r->length;
    if (r->head_stride == 0 && !tq_size_mul(r->rows, r->row_stride, &r->head_stride))
        return fail_overflow(r);
    const bool fits = tq_size_reach(&one_head, r->rows, r->row_stride) &&
                      tq_size_reach(&one_row, r->heads, r->head_stride);
    all = one_head;
    if (!fits || !tq_size_reach(&all, r->heads, r->head_stride) || !tq_size_mul(all, r->size, &bytes) ||
        bytes > PTRDIFF_MAX)
        return fail_overflow(r);
    if (!pieces_apart(r, one_head, one_row)) return fail_stride(r);
    if (all > n)
        return tq_fail(TQ_E_SIZE, 0, r->name, "%s: %zu elements are needed, %zu are there", r->name, all,
                       n);
    return tq_check_not_null(r->name, r->data);
}

size_t tq_rows_bytes(const tq_rows *r) {
    return (tq_rows_at(r, r->heads - 1, r->rows - 1) + r->length) * r->size;
}

/* Both step by the same number of bytes, so that the pieces keep their distance modulo that step. */
static bool interleaved(const tq_rows *a, const tq_rows *b) {
    const size_t step = a->row_stride * a->size;
    const bool same_steps = step == b->row_stride * b->size &&
                            (a->heads == 1 || (a->head_stride * a->size == b->head_stride * b->size &&
                                               a->head_stride * a->size % step == 0));
    const uintptr_t a0 = (uintptr_t)a->data, b0 = (uintptr_t)b->data;
    const size_t ahead = b0 >= a0 ? (b0 - a0) % step : (step - (a0 - b0) % step) % step;
    return same_steps && ahead >= a->length * a->size && ahead + b->length * b->size <= step;
}

tq_status tq_rows_check_apart(const tq_rows *a, const tq_rows *b) {
    if (interleaved(a, b)) return TQ_OK;
    return tq_check_apart(a->name, a->data, tq_rows_bytes(a), b->name, b->data, tq_rows_bytes(b));
}
