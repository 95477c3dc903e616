/* SPDX-License-Identifier: MIT
 * What the tensors of an encoded file must be: names, types, shapes and values. */
#include "layout.h"

#include <float.h>
#include <stdio.h>

#include "bytes.h"
#include "report.h"

const char *const tqio_tensor_names[TQIO_TENSORS] = {"centre", "norms", "codes"};

tq_status tqio_sizes_of(const char *name, const tq_encoded *e, tqio_sizes *out) {
    tq_status status = tq_row_size(&e->codec, &out->code_bytes, &out->norms);
    if (status != TQ_OK) return status;
    size_t codes[] = {e->n_kv_heads, e->capacity, out->code_bytes};
    size_t norms[] = {e->n_kv_heads, e->capacity, out->norms};
    size_t centre[] = {e->n_kv_heads, e->codec.head_dim};
    if (!tqio_shape_values(codes, 3, 1, &out->n_codes) ||
        !tqio_shape_values(norms, 3, sizeof(float), &out->n_norms) ||
        !tqio_shape_values(centre, 2, sizeof(float), &out->n_centre))
        return tqio_fail_whole(name, TQ_E_OVERFLOW, 0, "capacity",
                               "%zu heads of %zu positions are more than an address can hold",
                               e->n_kv_heads, e->capacity);
    return TQ_OK;
}

/* Index of the first value that is not finite or is below least; n if there is none. */
static size_t first_bad(const float *values, size_t n, float least) {
    size_t i = 0;
    while (i < n && values[i] >= least && values[i] <= FLT_MAX)
        i++; /* false for a NaN */
    return i;
}

static tq_status check_tensor(const char *name, const char *tensor, const float *values, size_t n,
                              float least, const uint64_t *at) {
    char where[40] = "";
    size_t i = first_bad(values, n, least);
    if (i == n) return TQ_OK;
    if (at != NULL) snprintf(where, sizeof where, " (byte %llu)", (unsigned long long)(*at + 4 * i));
    return tqio_fail_whole(name, TQ_E_FILE_FIELD, i, tensor,
                           "%s: value %zu%s is %g; a finite number%s is expected", tensor, i, where,
                           (double)values[i], least == 0 ? " of 0 or more" : "");
}

tq_status tqio_check_values(const char *name, const tq_encoded *e, size_t n_centre,
                            const uint64_t at[TQIO_TENSORS]) {
    tq_status status =
        check_tensor(name, "norms", e->norms, e->n_norms, 0, at == NULL ? NULL : &at[TQIO_NORMS]);
    if (status != TQ_OK || e->centre == NULL) return status;
    return check_tensor(name, "centre", e->centre, n_centre, -FLT_MAX,
                        at == NULL ? NULL : &at[TQIO_CENTRE]);
}

void tqio_expected_entries(const tq_encoded *e, const tqio_sizes *sizes,
                           tqio_entry entries[TQIO_TENSORS]) {
    entries[TQIO_CENTRE] = (tqio_entry){.type = "F32", .item_size = 4, .n_dims = 2};
    entries[TQIO_NORMS] =
        (tqio_entry){.type = "F32", .item_size = 4, .n_dims = sizes->norms == 1 ? 2 : 3};
    entries[TQIO_CODES] = (tqio_entry){.type = "U8", .item_size = 1, .n_dims = 3};
    for (size_t i = 0; i < TQIO_TENSORS; i++) {
        entries[i].name = tqio_tensor_names[i];
        entries[i].shape[0] = e->n_kv_heads;
        entries[i].shape[1] = i == TQIO_CENTRE ? e->codec.head_dim : e->capacity;
    }
    entries[TQIO_NORMS].shape[2] = sizes->norms == 1 ? 0 : sizes->norms;
    entries[TQIO_CODES].shape[2] = sizes->code_bytes;
}
