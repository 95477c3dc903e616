/* SPDX-License-Identifier: MIT
 * Checks of single arguments. */
#include "api/check.h"

#include <float.h>
#include <math.h>

#include "base/size.h"

tq_status tq_check_not_null(const char *name, const void *pointer) {
    return pointer != NULL ? TQ_OK : tq_fail(TQ_E_NULL, 0, name, "%s is NULL", name);
}

tq_status tq_check_domain(tq_domain domain) {
    if (domain == TQ_ROTATED || domain == TQ_ORIGINAL) return TQ_OK;
    return tq_fail(TQ_E_DOMAIN, 0, "domain", "domain %d is neither TQ_ROTATED nor TQ_ORIGINAL",
                   (int)domain);
}

tq_status tq_check_apart(const char *a_name, const void *a, size_t a_bytes, const char *b_name,
                         const void *b, size_t b_bytes) {
    const uintptr_t a0 = (uintptr_t)a, b0 = (uintptr_t)b;
    if (a_bytes == 0 || b_bytes == 0 || (a0 <= b0 ? b0 - a0 >= a_bytes : a0 - b0 >= b_bytes))
        return TQ_OK;
    return tq_fail(TQ_E_OVERLAP, 0, a_name, "%s and %s overlap in memory", a_name, b_name);
}

tq_status tq_check_product(const char *name, size_t rows, size_t row_size, size_t size, size_t *bytes) {
    size_t total;
    if (!tq_size_mul(rows, row_size, &total) || !tq_size_mul(total, size, &total) || total > PTRDIFF_MAX)
        return tq_fail(TQ_E_OVERFLOW, 0, name, "%s: %zu x %zu elements do not fit in memory", name, rows,
                       row_size);
    if (bytes != NULL) *bytes = total;
    return TQ_OK;
}

static tq_status fail_value(const char *name, size_t index, float value) {
    if (isfinite(value))
        return tq_fail(TQ_E_RANGE, index, name, "%s[%zu] is %g: the limit is 2^57, %g", name, index,
                       (double)value, (double)TQ_MAX_ABS);
    return tq_fail(TQ_E_NOT_FINITE, index, name, "%s[%zu] is %s: it must be finite", name, index,
                   isnan(value) ? "NaN" : "infinite");
}

tq_status tq_check_finite(const tq_kernels *kernels, const char *name, const float *x, size_t n) {
    const size_t bad = kernels->scan(n, x, FLT_MAX);
    return bad == n ? TQ_OK : fail_value(name, bad, x[bad]);
}

tq_status tq_rows_fail_value(const tq_rows *r, size_t index) {
    return index == SIZE_MAX ? TQ_OK : fail_value(r->name, index, ((const float *)r->data)[index]);
}

tq_status tq_rows_check_values(const tq_kernels *kernels, const tq_rows *r) {
    for (size_t h = 0; h < r->heads; h++)
        for (size_t t = 0; t < r->rows; t++) {
            const size_t start = tq_rows_at(r, h, t);
            const size_t bad = kernels->scan(r->length, (const float *)r->data + start, TQ_MAX_ABS);
            if (bad != r->length) return tq_rows_fail_value(r, start + bad);
        }
    return TQ_OK;
}
