/* SPDX-License-Identifier: MIT
 * Arrays of rows in pages: strides filled in, sizes checked, before a kernel is given them. */
#ifndef TQ_CUDA_PAGES_H
#define TQ_CUDA_PAGES_H

#include "base/check.h"
#include "launch.h"

/* An array in pages, whose strides may be 0 for side by side: n bytes hold it. */
typedef struct tq_pages {
    const char *name;
    void *data;
    size_t n, length, rows, heads, pages, row_stride, head_stride, page_stride;
} tq_pages;

/* Pieces keep apart within a page, and pages keep apart. `rows` is what lies in one of them. TQ_E_NULL,
 * TQ_E_STRIDE, TQ_E_OVERFLOW, TQ_E_SIZE. */
tq_status tq_place_pages(tq_pages pages, tq_rows *rows, tq_cuda_place *out);

/* Codes and norms may share pages: then they interleave in each. TQ_E_OVERLAP. */
tq_status tq_pages_check_apart(const tq_rows *codes, const tq_rows *norms, const tq_cuda_place *c,
                               const tq_cuda_place *n, const tq_pages *sizes);

#endif
