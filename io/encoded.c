/* SPDX-License-Identifier: MIT
 * Encoded tensors in memory, and from .safetensors files. */
#include <stdlib.h>

#include "bytes.h"
#include "container.h"
#include "hash.h"
#include "layout.h"
#include "metadata.h"
#include "report.h"

static const char default_name[] = "encoded tensor";

tq_status tq_encoded_alloc(tq_encoded *out, const tq_codec *codec, size_t n_kv_heads, size_t capacity,
                           size_t n_centres, size_t centre_stretch) {
    if (out == NULL || codec == NULL)
        return tq_fail(TQ_E_NULL, 0, out == NULL ? "out" : "codec", "an argument is NULL");
    tq_encoded e = {.codec = *codec,
                    .n_kv_heads = n_kv_heads,
                    .capacity = capacity,
                    .n_centres = n_centres,
                    .centre_stretch = centre_stretch};
    e.codec.norm_rule = tq_norm_rule_of(codec->format, codec->norm_rule);
    tqio_sizes sizes;
    tq_status status = tqio_sizes_of(default_name, &e, &sizes);
    if (status != TQ_OK) return status;
    e.n_codes = sizes.n_codes;
    e.n_norms = sizes.n_norms;
    const size_t centre_bytes = sizes.n_centre * sizeof *e.centre;
    e.codes = tqio_alloc(e.n_codes);
    e.norms = tqio_alloc(e.n_norms);
    if (n_centres != 0) e.centre = tqio_alloc(centre_bytes);
    if (e.codes == NULL || e.norms == NULL || (n_centres != 0 && e.centre == NULL)) {
        tq_encoded_free(&e);
        return tqio_fail_whole(default_name, TQ_E_NO_MEMORY, 0, "capacity",
                               "no memory for %zu heads of %zu positions", n_kv_heads, capacity);
    }
    memset(e.codes, 0, e.n_codes);
    memset(e.norms, 0, e.n_norms); /* zeros of either type */
    if (n_centres != 0) memset(e.centre, 0, centre_bytes);
    *out = e;
    return TQ_OK;
}

void tq_encoded_free(tq_encoded *encoded) {
    if (encoded == NULL) return;
    free(encoded->codes);
    free(encoded->norms);
    free(encoded->centre);
    *encoded = (tq_encoded){0};
}

static tq_status check_entry(const tqio_container *c, const tqio_entry *got, const tqio_entry *want) {
    uint64_t byte = tqio_container_where(c, want->name);
    if (!got->present)
        return tqio_fail(c->name, TQ_E_FILE_FIELD, byte, want->name, "no tensor %s", want->name);
    if (strcmp(got->type, want->type) != 0)
        return tqio_fail(c->name, TQ_E_FILE_TYPE, byte, want->name, "tensor %s is %s; %s is expected",
                         want->name, got->type, want->type);
    if (got->n_dims != want->n_dims)
        return tqio_fail(c->name, TQ_E_FILE_SHAPE, byte, want->name,
                         "tensor %s has %zu dimensions; %zu are expected", want->name, got->n_dims,
                         want->n_dims);
    for (size_t i = 0; i < want->n_dims; i++)
        if (got->shape[i] != want->shape[i])
            return tqio_fail(c->name, TQ_E_FILE_SHAPE, byte, want->name,
                             "tensor %s: dimension %zu is %zu; the metadata make it %zu", want->name, i,
                             got->shape[i], want->shape[i]);
    return TQ_OK;
}

/* Everything in the file is as it should be before memory is asked for. */
static tq_status check_all(const tqio_container *c, tq_encoded *shell, tqio_sizes *sizes,
                           tqio_entry got[TQIO_TENSORS]) {
    tqio_entry want[TQIO_TENSORS];
    tqio_hashes hashes = {{0}};
    tqio_fields fields;
    tq_status status = tqio_fields_read(c, shell);
    if (status == TQ_OK) status = tqio_container_entries(c, got, TQIO_TENSORS);
    if (status != TQ_OK) return status;
    if (got[TQIO_CENTRE].present && TQ_IS_V1(shell->codec.format))
        return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, "centre"), "centre",
                         "tensor centre: v1 formats have no centre");
    if (tqio_sizes_of(c->name, shell, sizes) != TQ_OK)
        return tqio_fail(c->name, TQ_E_FILE_SHAPE, tqio_container_where(c, "tqkv.capacity"),
                         "tqkv.capacity", "heads times capacity is more than an address can hold");
    tqio_expected_entries(shell, sizes, want);
    for (size_t i = 0; status == TQ_OK && i < TQIO_TENSORS; i++) {
        if (i == TQIO_CENTRE && shell->n_centres == 0) continue;
        status = check_entry(c, &got[i], &want[i]);
        if (status == TQ_OK)
            hashes.of[i] = tqio_hash_bytes(c->data + got[i].begin, got[i].end - got[i].begin);
    }
    if (status != TQ_OK) return status;
    tqio_describe(shell, &hashes, &fields);
    return tqio_fields_check(c, &fields);
}

static tq_status copy_out(const tqio_container *c, const tq_encoded *shell, const tqio_sizes *sizes,
                          const tqio_entry entries[TQIO_TENSORS], tq_encoded *out) {
    tq_encoded e;
    uint64_t at[TQIO_TENSORS];
    const uint8_t *from[TQIO_TENSORS];
    tq_status status = tq_encoded_alloc(&e, &shell->codec, shell->n_kv_heads, shell->capacity,
                                        shell->n_centres, shell->centre_stretch);
    if (status != TQ_OK) return tqio_fail_whole(c->name, status, 0, "", "no memory for its tensors");
    for (size_t i = 0; i < TQIO_TENSORS; i++) {
        at[i] = tqio_container_at(c, &entries[i]);
        from[i] = c->data + entries[i].begin;
    }
    e.n_positions = shell->n_positions;
    e.ring_start = shell->ring_start;
    e.first_position = shell->first_position;
    memcpy(e.codes, from[TQIO_CODES], e.n_codes);
    tqio_copy_numbers(e.norms, from[TQIO_NORMS], e.n_norms, sizes->norm_item);
    tqio_copy_numbers(e.centre, from[TQIO_CENTRE], sizes->n_centre * sizeof *e.centre, sizeof *e.centre);
    status = tqio_check_values(c->name, &e, sizes, at);
    if (status != TQ_OK)
        tq_encoded_free(&e);
    else
        *out = e;
    return status;
}

tq_status tq_encoded_parse(const char *name, const void *bytes, size_t size, tq_encoded *out) {
    if (name == NULL) return tq_fail(TQ_E_NULL, 0, "name", "name is NULL");
    if (out == NULL || (bytes == NULL && size != 0))
        return tqio_fail_whole(name, TQ_E_NULL, 0, out == NULL ? "out" : "bytes", "an argument is NULL");
    tqio_container c;
    tq_encoded shell;
    tqio_sizes sizes;
    tqio_entry entries[TQIO_TENSORS] = {{0}};
    for (size_t i = 0; i < TQIO_TENSORS; i++)
        entries[i].name = tqio_tensor_names[i];
    tq_status status =
        tqio_container_open(&c, name, size == 0 ? (const uint8_t *)"" : bytes, size, false);
    if (status == TQ_OK) status = check_all(&c, &shell, &sizes, entries);
    if (status == TQ_OK) status = copy_out(&c, &shell, &sizes, entries, out);
    tqio_container_close(&c);
    return status;
}

tq_status tq_encoded_read(const char *path, tq_encoded *out) {
    if (path == NULL || out == NULL)
        return tq_fail(TQ_E_NULL, 0, path == NULL ? "path" : "out", "an argument is NULL");
    uint8_t *bytes = NULL;
    size_t size = 0;
    tq_status status = tq_file_read(path, SIZE_MAX, &bytes, &size);
    if (status == TQ_OK) status = tq_encoded_parse(path, bytes, size, out);
    free(bytes);
    return status;
}
