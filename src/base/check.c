/* SPDX-License-Identifier: MIT
 * Checks of single arguments. */
#include "base/check.h"

#include "base/size.h"

tq_status tq_check_not_null(const char *name, const void *pointer) {
    return pointer != NULL ? TQ_OK : tq_fail(TQ_E_NULL, 0, name, "%s is NULL", name);
}

tq_status tq_check_size(const char *name, size_t size, size_t known) {
    if (size == known) return TQ_OK;
    return tq_fail(TQ_E_SIZE, known, "size", "%s: size is %zu: it must be set to its sizeof, %zu here",
                   name, size, known);
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
