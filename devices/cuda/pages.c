/* SPDX-License-Identifier: MIT
 * Arrays of rows in pages. */
#include "pages.h"

#include "base/size.h"

tq_status tq_place_pages(tq_pages p, tq_rows *rows, tq_cuda_place *out) {
    size_t end;
    *rows = (tq_rows){p.name, p.data, 1, p.length, p.heads, p.rows, p.head_stride, p.row_stride};
    TRY(tq_rows_check(rows, SIZE_MAX));
    end = tq_rows_bytes(rows);
    if (p.page_stride == 0 &&
        !tq_size_page(p.heads, rows->head_stride, p.rows, rows->row_stride, &p.page_stride))
        p.page_stride = 0; /* too large for any pages but one */
    if (p.pages > 1 && p.page_stride < end)
        return tq_fail(TQ_E_STRIDE, p.page_stride, p.name, "%s: pages of %zu bytes are %zu apart", p.name,
                       end, p.page_stride);
    if (!tq_size_reach(&end, p.pages, p.page_stride))
        return tq_fail(TQ_E_OVERFLOW, 0, p.name, "%s: %zu pages do not fit in memory", p.name, p.pages);
    if (end > p.n)
        return tq_fail(TQ_E_SIZE, end, p.name, "%s: %zu bytes are needed, %zu are there", p.name, end,
                       p.n);
    *out = (tq_cuda_place){p.data, rows->row_stride, rows->head_stride, p.page_stride};
    return TQ_OK;
}

tq_status tq_pages_check_apart(const tq_rows *codes, const tq_rows *norms, const tq_cuda_place *c,
                               const tq_cuda_place *n, const tq_pages *sizes) {
    const size_t last = sizes->pages - 1;
    if (sizes->pages > 1 && c->page != n->page)
        return tq_check_apart("codes", codes->data, last * c->page + tq_rows_bytes(codes), "norms",
                              norms->data, last * n->page + tq_rows_bytes(norms));
    return tq_rows_check_apart(codes, norms);
}
