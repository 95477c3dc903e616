/* SPDX-License-Identifier: MIT
 * What the tensors of an encoded file must be: names, types, shapes and values. */
#include "layout.h"

#include <float.h>
#include <stdio.h>

#include "bytes.h"
#include "report.h"

const char *const tqio_tensor_names[TQIO_TENSORS] = {"centre", "norms", "codes"};

tq_status tqio_sizes_of(const char *name, const tq_encoded *e, tqio_sizes *out) {
    tq_status status = tq_row_size(&e->codec, &out->code_bytes, &out->norm_bytes);
    if (status != TQ_OK) return status;
    out->norm_item = TQ_IS_V1(e->codec.format) ? sizeof(float) : sizeof(uint16_t);
    size_t codes[] = {e->n_kv_heads, e->capacity, out->code_bytes};
    size_t norms[] = {e->n_kv_heads, e->capacity, out->norm_bytes};
    size_t centre[] = {e->n_centres, e->n_kv_heads, e->codec.head_dim};
    if (!tqio_shape_values(codes, 3, 1, &out->n_codes) ||
        !tqio_shape_values(norms, 3, 1, &out->n_norms) ||
        !tqio_shape_values(centre, 3, TQIO_CENTRE_ITEM, &out->n_centre))
        return tqio_fail_whole(name, TQ_E_OVERFLOW, 0, "capacity",
                               "%zu heads of %zu positions are more than an address can hold",
                               e->n_kv_heads, e->capacity);
    return TQ_OK;
}

size_t tqio_stretches(size_t stretch, size_t first, size_t n) {
    return n == 0 ? 0 : (first + (n - 1)) / stretch - first / stretch + 1;
}

/* Numbers of a tensor, and where they start in the file. */
typedef struct numbers {
    const char *tensor;
    const void *data;
    size_t n, item;
    float least;
    const uint64_t *at; /* NULL: there is no file yet */
} numbers;

static float number(const numbers *x, size_t i) {
    uint16_t half;
    float value;
    if (x->item == sizeof value) {
        memcpy(&value, (const uint8_t *)x->data + i * sizeof value, sizeof value);
        return value;
    }
    memcpy(&half, (const uint8_t *)x->data + i * sizeof half, sizeof half);
    return tqio_half(half);
}

/* Index of the first one that is not finite or is below the least; n if there is none. */
static size_t first_bad(const numbers *x) {
    size_t i = 0;
    while (i < x->n && number(x, i) >= x->least && number(x, i) <= FLT_MAX)
        i++; /* false for a NaN */
    return i;
}

static tq_status check_numbers(const char *name, const numbers *x) {
    char where[40] = "";
    size_t i = first_bad(x);
    if (i == x->n) return TQ_OK;
    if (x->at != NULL)
        snprintf(where, sizeof where, " (byte %llu)", (unsigned long long)(*x->at + x->item * i));
    return tqio_fail_whole(name, TQ_E_FILE_FIELD, i, x->tensor,
                           "%s: value %zu%s is %g; a finite number%s is expected", x->tensor, i, where,
                           (double)number(x, i), x->least == 0 ? " of 0 or more" : "");
}

tq_status tqio_check_values(const char *name, const tq_encoded *e, const tqio_sizes *sizes,
                            const uint64_t at[TQIO_TENSORS]) {
    const numbers norms = {"norms",          e->norms, sizes->n_norms / sizes->norm_item,
                           sizes->norm_item, 0,        at == NULL ? NULL : &at[TQIO_NORMS]};
    const numbers centre = {"centre",         e->centre, sizes->n_centre,
                            TQIO_CENTRE_ITEM, -FLT_MAX,  at == NULL ? NULL : &at[TQIO_CENTRE]};
    tq_status status = check_numbers(name, &norms);
    return status == TQ_OK ? check_numbers(name, &centre) : status;
}

void tqio_expected_entries(const tq_encoded *e, const tqio_sizes *sizes,
                           tqio_entry entries[TQIO_TENSORS]) {
    const bool v1 = TQ_IS_V1(e->codec.format);
    const size_t norms = sizes->norm_bytes / sizes->norm_item;
    entries[TQIO_CENTRE] = (tqio_entry){.type = "F16",
                                        .item_size = TQIO_CENTRE_ITEM,
                                        .n_dims = 3,
                                        .shape = {e->n_centres, e->n_kv_heads, e->codec.head_dim}};
    entries[TQIO_NORMS] = (tqio_entry){.type = v1 ? "F32" : "F16",
                                       .item_size = sizes->norm_item,
                                       .n_dims = norms == 1 ? 2 : 3,
                                       .shape = {e->n_kv_heads, e->capacity, norms == 1 ? 0 : norms}};
    entries[TQIO_CODES] = (tqio_entry){.type = "U8",
                                       .item_size = 1,
                                       .n_dims = 3,
                                       .shape = {e->n_kv_heads, e->capacity, sizes->code_bytes}};
    for (size_t i = 0; i < TQIO_TENSORS; i++)
        entries[i].name = tqio_tensor_names[i];
}
