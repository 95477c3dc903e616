/* SPDX-License-Identifier: MIT
 * Views made from arrays and their sizes. */
#include "tqkv/view.h"

#include "base/check.h"
#include "base/size.h"
#include "format/plan.h"

static tq_status check_shape(size_t n_kv_heads, size_t capacity) {
    if (n_kv_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "n_kv_heads", "n_kv_heads: it is 0, at least 1 is wanted");
    if (capacity == 0)
        return tq_fail(TQ_E_POSITION, 0, "capacity", "capacity: it is 0, at least 1 is wanted");
    return TQ_OK;
}

/* [heads][rows][length] of elements of `size` bytes, of which n are there. */
static tq_status check_array(const char *name, const void *data, size_t n, size_t size, size_t heads,
                             size_t rows, size_t length) {
    tq_rows r = {
        .name = name, .data = data, .size = size, .length = length, .heads = heads, .rows = rows};
    return tq_rows_check(&r, n);
}

tq_status tq_view_codes(tq_view *view, const tq_codec *codec, size_t n_kv_heads, size_t capacity,
                        const void *codes, size_t n_codes, const void *norms, size_t n_norms) {
    tq_plan plan;
    TRY(tq_check_not_null("view", view));
    TRY(tq_check_not_null("codec", codec));
    TRY(tq_plan_init(&plan, codec));
    TRY(tq_plan_check_scale_factor(&plan, codec->scale_factor_d512));
    TRY(check_shape(n_kv_heads, capacity));
    TRY(check_array("codes", codes, n_codes, 1, n_kv_heads, capacity, plan.row_bytes));
    TRY(check_array("norms", norms, n_norms, 1, n_kv_heads, capacity, plan.norm_bytes));
    *view = (tq_view){.store = TQ_STORE_CODES,
                      .codec = *codec,
                      .data = codes,
                      .data_bytes = n_codes,
                      .norms = norms,
                      .n_norms = n_norms,
                      .capacity = capacity};
    return TQ_OK;
}

static tq_status store_of(tq_type type, tq_store *store) {
    TRY(tq_check_type("type", type));
    *store = type == TQ_F32 ? TQ_STORE_F32 : type == TQ_F16 ? TQ_STORE_F16 : TQ_STORE_BF16;
    return TQ_OK;
}

tq_status tq_view_dense(tq_view *view, tq_type type, uint32_t head_dim, size_t n_kv_heads,
                        size_t capacity, const void *values, size_t n_values) {
    tq_view made = {.codec = {.head_dim = head_dim}, .data = values, .capacity = capacity};
    tq_plan plan;
    const size_t size = type == TQ_F32 ? sizeof(float) : sizeof(uint16_t);
    TRY(tq_check_not_null("view", view));
    TRY(store_of(type, &made.store));
    /* Attention serves the dimensions of v2, whatever the store. */
    TRY(tq_plan_init(&plan, &(tq_codec){.format = TQ_TQ8, .head_dim = head_dim}));
    TRY(check_shape(n_kv_heads, capacity));
    TRY(check_array("values", values, n_values, size, n_kv_heads, capacity, head_dim));
    TRY(tq_check_product("values", n_values, 1, size, &made.data_bytes));
    *view = made;
    return TQ_OK;
}

static tq_status check_pool(const tq_view *v, size_t page_rows) {
    if (v->pages != NULL || v->blocks != NULL || v->page_rows != 0 || v->ring_start != 0)
        return tq_fail(TQ_E_POSITION, 0, "view",
                       "view: it has pages, blocks or a ring already; one of a whole pool is wanted");
    if (v->row_stride != 0 || v->head_stride != 0 || v->norm_row_stride != 0 || v->norm_head_stride != 0)
        return tq_fail(TQ_E_STRIDE, 0, "view",
                       "view: the pages of a pool lie side by side; strides are 0");
    if (page_rows == 0 || v->capacity == 0 || v->capacity % page_rows != 0)
        return tq_fail(TQ_E_POSITION, page_rows, "page_rows",
                       "page_rows: pages of %zu positions do not share out the pool's %zu", page_rows,
                       v->capacity);
    return TQ_OK;
}

tq_status tq_view_paged(tq_view *view, const int32_t *pages, size_t n_pages, size_t page_rows) {
    size_t capacity;
    TRY(tq_check_not_null("view", view));
    TRY(check_pool(view, page_rows));
    if (n_pages > 0) TRY(tq_check_not_null("pages", pages));
    if (n_pages == 0 && pages != NULL)
        return tq_fail(TQ_E_POSITION, 0, "n_pages", "n_pages: it is 0, but there is a block table");
    TRY(tq_check_product("n_pages", n_pages, page_rows, 1, &capacity));
    view->pool_pages = view->capacity / page_rows;
    view->capacity = capacity;
    view->pages = pages;
    view->n_pages = n_pages;
    view->page_rows = page_rows;
    return TQ_OK;
}
