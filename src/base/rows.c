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

/* Spans that both repeat every `step` bytes keep their distance modulo it. */
static bool apart_modulo(const tq_rows *a, size_t a_span, const tq_rows *b, size_t b_span, size_t step) {
    const uintptr_t a0 = (uintptr_t)a->data, b0 = (uintptr_t)b->data;
    const size_t ahead = b0 >= a0 ? (b0 - a0) % step : (step - (a0 - b0) % step) % step;
    return ahead >= a_span && ahead + b_span <= step;
}

static bool apart_by_row(const tq_rows *a, const tq_rows *b) {
    const size_t step = a->row_stride * a->size;
    return a->rows > 1 && b->rows > 1 && step == b->row_stride * b->size &&
           apart_modulo(a, (tq_rows_at(a, a->heads - 1, 0) + a->length) * a->size, b,
                        (tq_rows_at(b, b->heads - 1, 0) + b->length) * b->size, step);
}

static bool apart_by_head(const tq_rows *a, const tq_rows *b) {
    const size_t step = a->head_stride * a->size;
    return a->heads > 1 && b->heads > 1 && step == b->head_stride * b->size &&
           apart_modulo(a, (tq_rows_at(a, 0, a->rows - 1) + a->length) * a->size, b,
                        (tq_rows_at(b, 0, b->rows - 1) + b->length) * b->size, step);
}

/* One's piece and then the other's make a record, and the records keep apart. */
static bool apart_as_records(const tq_rows *first, const tq_rows *second) {
    const size_t gap = (uintptr_t)second->data - (uintptr_t)first->data;
    const tq_rows r = {.length = gap + second->length * second->size,
                       .heads = first->heads,
                       .rows = first->rows,
                       .head_stride = first->head_stride * first->size,
                       .row_stride = first->row_stride * first->size};
    size_t one_head = r.length, one_row = r.length;
    return r.heads == second->heads && r.rows == second->rows &&
           (r.heads == 1 || r.head_stride == second->head_stride * second->size) &&
           (r.rows == 1 || r.row_stride == second->row_stride * second->size) &&
           gap >= first->length * first->size && tq_size_reach(&one_head, r.rows, r.row_stride) &&
           tq_size_reach(&one_row, r.heads, r.head_stride) && pieces_apart(&r, one_head, one_row);
}

static bool interleaved(const tq_rows *a, const tq_rows *b) {
    const bool in_order = (uintptr_t)a->data <= (uintptr_t)b->data;
    return apart_by_row(a, b) || apart_by_head(a, b) ||
           apart_as_records(in_order ? a : b, in_order ? b : a);
}

tq_status tq_rows_check_apart(const tq_rows *a, const tq_rows *b) {
    if (interleaved(a, b)) return TQ_OK;
    return tq_check_apart(a->name, a->data, tq_rows_bytes(a), b->name, b->data, tq_rows_bytes(b));
}
