/* SPDX-License-Identifier: MIT
 * Values of any type, and those that cannot be encoded, by name and index. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "codec/rows.h"

tq_status tq_fail_value(const char *name, size_t index, float value, float limit) {
    if (fabsf(value) <= limit)
        return tq_fail(TQ_E_RANGE, index, name,
                       "%s: the vector that begins at %s[%zu] has a norm above %g, which float16 cannot "
                       "hold",
                       name, name, index, (double)TQ_MAX_NORM);
    if (isfinite(value))
        return tq_fail(TQ_E_RANGE, index, name, "%s[%zu] is %g: the limit is %g", name, index,
                       (double)value, (double)limit);
    return tq_fail(TQ_E_NOT_FINITE, index, name, "%s[%zu] is %s: it must be finite", name, index,
                   isnan(value) ? "NaN" : "infinite");
}

tq_status tq_check_finite(const tq_kernels *kernels, const char *name, const float *x, size_t n) {
    const size_t bad = kernels->scan(n, x, FLT_MAX);
    return bad == n ? TQ_OK : tq_fail_value(name, bad, x[bad], FLT_MAX);
}

tq_status tq_rows_fail_value(const tq_rows *r, size_t index) {
    return index == SIZE_MAX ? TQ_OK
                             : tq_fail_value(r->name, index, ((const float *)r->data)[index], TQ_MAX_ABS);
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

void tq_widen(const tq_kernels *kernels, tq_type type, size_t n, const void *src, float *out) {
    if (type == TQ_F32) memcpy(out, src, n * sizeof *out);
    if (type == TQ_F16) kernels->f16_to_f32(n, src, out);
    if (type == TQ_BF16) kernels->bf16_to_f32(n, src, out);
}

void tq_narrow(const tq_kernels *kernels, tq_type type, size_t n, const float *x, uint16_t *out) {
    if (type == TQ_F16) kernels->f32_to_f16(n, x, out);
    if (type == TQ_BF16) kernels->f32_to_bf16(n, x, out);
}
