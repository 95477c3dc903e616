/* SPDX-License-Identifier: MIT
 * Arrays of codes and norms: taken together or not at all. */
#include "base/size.h"
#include "cache/cache.h"

static tq_status take_side(tq_code_arrays *a, const tq_allocator *allocator, const tq_plan *plan,
                           unsigned side) {
    void *codes, *norms = NULL;
    tq_status status = tq_take(allocator, "codes", a->vectors, plan->row_bytes, &codes);
    if (status == TQ_OK)
        status = tq_take(allocator, "norms", a->vectors, plan->n_norms * sizeof(float), &norms);
    a->codes[side] = codes;
    a->norms[side] = norms;
    return status;
}

tq_status tq_code_arrays_take(tq_code_arrays *a, const tq_allocator *allocator,
                              const tq_plan plan[TQ_SIDES], size_t pages, size_t heads, size_t rows) {
    *a = (tq_code_arrays){.rows = rows};
    if (!tq_size_mul(heads, rows, &a->vectors) || !tq_size_mul(a->vectors, pages, &a->vectors))
        return tq_fail(TQ_E_OVERFLOW, 0, "codes", "%zu pages of %zu heads of %zu positions overflow",
                       pages, heads, rows);
    tq_status status = take_side(a, allocator, &plan[TQ_K], TQ_K);
    if (status == TQ_OK) status = take_side(a, allocator, &plan[TQ_V], TQ_V);
    if (status != TQ_OK) tq_code_arrays_give(a, allocator, plan);
    return status;
}

void tq_code_arrays_give(tq_code_arrays *a, const tq_allocator *allocator, const tq_plan plan[TQ_SIDES]) {
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        tq_give(allocator, a->codes[side], a->vectors, plan[side].row_bytes);
        tq_give(allocator, a->norms[side], a->vectors, plan[side].n_norms * sizeof(float));
    }
    *a = (tq_code_arrays){0};
}
