/* SPDX-License-Identifier: MIT
 * Checks of single arguments. */
#include "base/check.h"

#include <string.h>

#include "base/size.h"

tq_status tq_check_not_null(const char *name, const void *pointer) {
    return pointer != NULL ? TQ_OK : tq_fail(TQ_E_NULL, 0, name, "%s is NULL", name);
}

/* Sizes are those of structs: whole words, and not absurd. */
static tq_status read_size(const char *name, const void *from, size_t *size) {
    TRY(tq_check_not_null(name, from));
    memcpy(size, from, sizeof *size);
    if (*size >= 2 * sizeof *size && *size % sizeof *size == 0 && *size <= 4096) return TQ_OK;
    return tq_fail(TQ_E_SIZE, *size, "size", "%s: size is %zu: set it to the sizeof of the struct", name,
                   *size);
}

tq_status tq_take_struct(const char *name, const void *from, void *to, size_t known) {
    const uint8_t *bytes = from;
    size_t size;
    TRY(read_size(name, from, &size));
    for (size_t i = known; i < size; i++)
        if (bytes[i] != 0)
            return tq_fail(TQ_E_UNSUPPORTED, size, name,
                           "%s: of its %zu bytes this library knows %zu, and the others are not 0", name,
                           size, known);
    memset(to, 0, known);
    memcpy(to, from, size < known ? size : known);
    memcpy(to, &known, sizeof known);
    return TQ_OK;
}

tq_status tq_give_struct(const char *name, const void *from, size_t known, void *to) {
    size_t size;
    TRY(read_size(name, to, &size));
    memset(to, 0, size);
    memcpy(to, from, size < known ? size : known);
    memcpy(to, &size, sizeof size);
    return TQ_OK;
}

tq_status tq_check_domain(tq_domain domain) {
    if (domain == TQ_ROTATED || domain == TQ_ORIGINAL) return TQ_OK;
    return tq_fail(TQ_E_DOMAIN, 0, "domain", "domain %d is neither TQ_ROTATED nor TQ_ORIGINAL",
                   (int)domain);
}

tq_status tq_check_type(const char *name, tq_type type) {
    if (type == TQ_F32 || type == TQ_F16 || type == TQ_BF16) return TQ_OK;
    return tq_fail(TQ_E_FORMAT, 0, name, "%s %d is none of float32, float16 and bfloat16", name,
                   (int)type);
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
