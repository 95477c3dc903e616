/* SPDX-License-Identifier: MIT
 * The arrays of a batch of vectors, checked together. */
#include "format/arrays.h"

#include "base/size.h"

static tq_status take(tq_rows *r, const tq_batch *b, tq_array a, size_t length, size_t head_stride,
                      size_t row_stride) {
    *r = (tq_rows){a.name, a.data, a.size, length, b->heads, b->rows, head_stride, row_stride};
    return tq_rows_check(r, a.n);
}

static tq_status take_centre(tq_rows *r, const tq_plan *plan, const tq_batch *b, tq_array a) {
    size_t last, row;
    *r = (tq_rows){a.name, a.data, a.size, plan->dim, b->heads, 1, plan->dim, 0};
    if (a.data == NULL) return TQ_OK;
    if (!tq_size_add(b->centre_first, b->rows - 1, &last))
        return tq_fail(TQ_E_OVERFLOW, 0, "centre_first", "more positions than can be counted");
    TRY(tq_check_product(a.name, b->heads, plan->dim, a.size, &row));
    r->row_stride = row / a.size;
    r->rows = (size_t)tq_stretch_of(last, b->centre_stretch) + 1;
    if (b->centre_stretch == 0 && a.n > r->row_stride)
        return tq_fail(TQ_E_SIZE, a.n, a.name,
                       "%s: %zu numbers are more than one for all positions: is centre_stretch missing?",
                       a.name, a.n);
    return tq_rows_check(r, a.n);
}

tq_status tq_batch_arrays_init(tq_batch_arrays *arrays, const tq_plan *plan, const tq_batch *b,
                               tq_array dense, tq_array codes, tq_array norms, tq_array centre) {
    TRY(take(&arrays->dense, b, dense, plan->dim, b->dense_head_stride, b->dense_row_stride));
    TRY(take(&arrays->codes, b, codes, plan->row_bytes, b->code_head_stride, b->code_row_stride));
    TRY(take(&arrays->norms, b, norms, plan->norm_bytes, b->norm_head_stride, b->norm_row_stride));
    return take_centre(&arrays->centre, plan, b, centre);
}
