/* SPDX-License-Identifier: MIT
 * Writes encoded tensors as .safetensors files: the same tensor gives the same bytes. */
#include <stdlib.h>

#include "bytes.h"
#include "file.h"
#include "hash.h"
#include "layout.h"
#include "metadata.h"
#include "report.h"

/* What a reader would refuse is not written. */
static tq_status check(const char *path, const tq_encoded *e, tqio_sizes *sizes) {
    const char *field = NULL;
    tq_status status = tqio_sizes_of(path, e, sizes);
    if (status != TQ_OK) return status;
    tq_status argument = TQ_OK;
    const char *contradiction = tqio_contradiction(e, &field, &argument);
    if (contradiction != NULL)
        return tqio_fail_whole(path, argument, 0, field, "%s: %s", field, contradiction);
    if (e->n_centres != 0 && TQ_IS_V1(e->codec.format))
        return tqio_fail_whole(path, TQ_E_FILE_SHAPE, 0, "centre", "v1 formats have no centre");
    if (e->n_centres == 0 && e->centre != NULL)
        return tqio_fail_whole(path, TQ_E_FILE_SHAPE, 0, "n_centres", "0, but there is a centre");
    bool codes_fit = e->n_codes == sizes->n_codes;
    if (!codes_fit || e->n_norms != sizes->n_norms)
        return tqio_fail_whole(path, TQ_E_FILE_SHAPE, 0, codes_fit ? "n_norms" : "n_codes",
                               "%zu bytes of %s; format, heads and capacity make it %zu",
                               codes_fit ? e->n_norms : e->n_codes, codes_fit ? "norms" : "codes",
                               codes_fit ? sizes->n_norms : sizes->n_codes);
    const char *missing = e->codes == NULL && e->n_codes != 0         ? "codes"
                          : e->norms == NULL && e->n_norms != 0       ? "norms"
                          : e->centre == NULL && sizes->n_centre != 0 ? "centre"
                                                                      : NULL;
    if (missing != NULL) return tqio_fail_whole(path, TQ_E_NULL, 0, missing, "a tensor is NULL");
    return tqio_check_values(path, e, sizes, NULL);
}

static json_t *make_metadata(const tq_encoded *e, const tqio_sizes *sizes) {
    tqio_fields fields;
    tqio_hashes hashes = {{0}};
    char hash[TQIO_VALUE_ROOM];
    hashes.of[TQIO_CENTRE] =
        tqio_hash_numbers(e->centre, sizes->n_centre * sizeof *e->centre, sizeof *e->centre);
    hashes.of[TQIO_NORMS] = tqio_hash_numbers(e->norms, e->n_norms, sizes->norm_item);
    hashes.of[TQIO_CODES] = tqio_hash_bytes(e->codes, e->n_codes);
    tqio_describe(e, &hashes, &fields);
    tqio_hash_text(tqio_fields_hash(&fields), hash);

    json_t *metadata = json_object();
    int failed = json_object_set_new(metadata, TQIO_FIELDS_HASH, json_string(hash));
    for (size_t i = 0; i < fields.n; i++)
        failed |= json_object_set_new(metadata, fields.field[i].key, json_string(fields.field[i].value));
    if (failed) {
        json_decref(metadata);
        return NULL;
    }
    return metadata;
}

static json_t *make_entry(const tqio_entry *entry) {
    json_t *shape = json_array();
    int failed = 0;
    for (size_t i = 0; i < entry->n_dims; i++)
        failed |= json_array_append_new(shape, json_integer((json_int_t)entry->shape[i]));
    if (failed) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", entry->type, "shape", shape, "data_offsets",
                     (json_int_t)entry->begin, (json_int_t)entry->end);
}

/* The header as an object; NULL if there is no memory. */
static json_t *make_root(const tq_encoded *e, const tqio_sizes *sizes) {
    tqio_entry entries[TQIO_TENSORS];
    const size_t bytes[TQIO_TENSORS] = {sizes->n_centre * sizeof *e->centre, e->n_norms, e->n_codes};
    size_t at = 0;
    json_t *root = json_object();
    int failed = json_object_set_new(root, "__metadata__", make_metadata(e, sizes));
    tqio_expected_entries(e, sizes, entries);
    for (size_t i = 0; i < TQIO_TENSORS; i++) {
        if (i == TQIO_CENTRE && e->n_centres == 0) continue;
        entries[i].begin = at;
        entries[i].end = at += bytes[i];
        failed |= json_object_set_new(root, entries[i].name, make_entry(&entries[i]));
    }
    if (failed) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* Length and header, padded with spaces so that the data start at a multiple of 8. */
static uint8_t *make_header(json_t *root, size_t *size) {
    enum { PREFIX = 8 };
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) return NULL;
    size_t used = strlen(text);
    size_t length = (used + 7) / 8 * 8;
    uint8_t *header = malloc(PREFIX + length);
    if (header != NULL) {
        for (size_t i = 0; i < PREFIX; i++)
            header[i] = (uint8_t)((uint64_t)length >> 8 * i);
        memset(header + PREFIX, ' ', length);
        memcpy(header + PREFIX, text, used);
        *size = PREFIX + length;
    }
    free(text);
    return header;
}

/* Into the output, or into the file `path` if that is NULL. */
static tq_status put_encoded(tq_output *output, const char *path, const tq_encoded *encoded) {
    if (encoded == NULL) return tq_fail(TQ_E_NULL, 0, "encoded", "an argument is NULL");
    tqio_sizes sizes;
    tq_status status = check(path, encoded, &sizes);
    if (status != TQ_OK) return status;
    size_t header_size = 0;
    json_t *root = make_root(encoded, &sizes);
    uint8_t *header = root == NULL ? NULL : make_header(root, &header_size);
    json_decref(root);
    if (header == NULL)
        return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "header", "no memory for the header");
    tqio_piece pieces[] = {
        {.data = header, .n_bytes = header_size, .item = 1},
        {encoded->centre, sizes.n_centre * sizeof *encoded->centre, sizeof *encoded->centre},
        {encoded->norms, encoded->n_norms, sizes.norm_item},
        {.data = encoded->codes, .n_bytes = encoded->n_codes, .item = 1}};
    status = tqio_put(output, path, pieces, sizeof pieces / sizeof pieces[0]);
    free(header);
    return status;
}

tq_status tq_encoded_write(const char *path, const tq_encoded *encoded) {
    if (path == NULL) return tq_fail(TQ_E_NULL, 0, "path", "an argument is NULL");
    return put_encoded(NULL, path, encoded);
}

tq_status tq_output_encoded(tq_output *output, const tq_encoded *encoded) {
    if (output == NULL) return tq_fail(TQ_E_NULL, 0, "output", "an argument is NULL");
    return put_encoded(output, tqio_output_path(output), encoded);
}
