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
                           int with_centre) {
    if (out == NULL || codec == NULL)
        return tq_fail(TQ_E_NULL, 0, out == NULL ? "out" : "codec", "an argument is NULL");
    tq_encoded e = {.codec = *codec, .n_kv_heads = n_kv_heads, .capacity = capacity};
    e.codec.norm_rule = tq_norm_rule_of(codec->format, codec->norm_rule);
    tqio_sizes sizes;
    tq_status status = tqio_sizes_of(default_name, &e, &sizes);
    if (status != TQ_OK) return status;
    e.n_codes = sizes.n_codes;
    e.n_norms = sizes.n_norms;
    e.codes = tqio_alloc(e.n_codes);
    e.norms = tqio_alloc(e.n_norms * sizeof *e.norms);
    if (with_centre) e.centre = tqio_alloc(sizes.n_centre * sizeof *e.centre);
    if (e.codes == NULL || e.norms == NULL || (with_centre && e.centre == NULL)) {
        tq_encoded_free(&e);
        return tqio_fail_whole(default_name, TQ_E_NO_MEMORY, 0, "capacity",
                               "no memory for %zu heads of %zu positions", n_kv_heads, capacity);
    }
    memset(e.codes, 0, e.n_codes);
    for (size_t i = 0; i < e.n_norms; i++)
        e.norms[i] = 0;
    for (size_t i = 0; with_centre && i < sizes.n_centre; i++)
        e.centre[i] = 0;
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
static tq_status check_all(const tqio_container *c, tq_encoded *shell, tqio_entry got[TQIO_TENSORS]) {
    tqio_sizes sizes;
    tqio_entry want[TQIO_TENSORS];
    tqio_hashes hashes = {{0}};
    tqio_fields fields;
    tq_status status = tqio_fields_read(c, shell);
    if (status == TQ_OK) status = tqio_container_entries(c, got, TQIO_TENSORS);
    if (status != TQ_OK) return status;
    if (got[TQIO_CENTRE].present && TQ_IS_V1(shell->codec.format))
        return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, "centre"), "centre",
                         "tensor centre: v1 formats have no centre");
    if (tqio_sizes_of(c->name, shell, &sizes) != TQ_OK)
        return tqio_fail(c->name, TQ_E_FILE_SHAPE, tqio_container_where(c, "tqkv.capacity"),
                         "tqkv.capacity", "heads times capacity is more than an address can hold");
    tqio_expected_entries(shell, &sizes, want);
    for (size_t i = 0; status == TQ_OK && i < TQIO_TENSORS; i++) {
        if (i == TQIO_CENTRE && !got[i].present) continue;
        status = check_entry(c, &got[i], &want[i]);
        if (status == TQ_OK)
            hashes.of[i] = tqio_hash_bytes(c->data + got[i].begin, got[i].end - got[i].begin);
    }
    if (status != TQ_OK) return status;
    tqio_describe(shell, got[TQIO_CENTRE].present, &hashes, &fields);
    return tqio_fields_check(c, &fields);
}

static tq_status copy_out(const tqio_container *c, const tq_encoded *shell,
                          const tqio_entry entries[TQIO_TENSORS], tq_encoded *out) {
    tq_encoded e;
    bool with_centre = entries[TQIO_CENTRE].present;
    tq_status status =
        tq_encoded_alloc(&e, &shell->codec, shell->n_kv_heads, shell->capacity, with_centre);
    if (status != TQ_OK) return tqio_fail_whole(c->name, status, 0, "", "no memory for its tensors");
    size_t n_centre = (entries[TQIO_CENTRE].end - entries[TQIO_CENTRE].begin) / sizeof(float);
    e.n_positions = shell->n_positions;
    e.ring_start = shell->ring_start;
    memcpy(e.codes, c->data + entries[TQIO_CODES].begin, e.n_codes);
    tqio_floats_from_bytes(e.norms, c->data + entries[TQIO_NORMS].begin, e.n_norms);
    if (with_centre) tqio_floats_from_bytes(e.centre, c->data + entries[TQIO_CENTRE].begin, n_centre);
    uint64_t at[TQIO_TENSORS];
    for (size_t i = 0; i < TQIO_TENSORS; i++)
        at[i] = tqio_container_at(c, &entries[i]);
    status = tqio_check_values(c->name, &e, n_centre, at);
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
    tqio_entry entries[TQIO_TENSORS] = {{0}};
    for (size_t i = 0; i < TQIO_TENSORS; i++)
        entries[i].name = tqio_tensor_names[i];
    tq_status status =
        tqio_container_open(&c, name, size == 0 ? (const uint8_t *)"" : bytes, size, false);
    if (status == TQ_OK) status = check_all(&c, &shell, entries);
    if (status == TQ_OK) status = copy_out(&c, &shell, entries, out);
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
