/* SPDX-License-Identifier: MIT
 * .safetensors files with any tensors, as they are. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "container.h"
#include "report.h"
#include "tqkv/io.h"

_Static_assert((int)TQ_MAX_RAW_DIMS == (int)TQIO_MAX_TENSOR_DIMS, "a raw tensor holds every shape");

struct tq_safetensors {
    tqio_container c; /* its texts lie in its JSON */
    uint8_t *bytes;   /* the file */
    char *name;
};

/* Where a tensor with bytes lies in the data. */
typedef struct span {
    size_t begin, end;
} span;

static int compare_spans(const void *a, const void *b) {
    const span *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Every byte of the data belongs to one tensor: a reader of one sees what a reader of all does. */
static tq_status check_spans(const tqio_container *c, span *spans, size_t n) {
    const uint64_t data_at = sizeof(uint64_t) + c->header_size;
    size_t at = 0;
    qsort(spans, n, sizeof *spans, compare_spans);
    for (size_t i = 0; i < n; i++) {
        if (spans[i].begin != at)
            return tqio_fail(c->name, TQ_E_FILE_SHAPE, data_at + at, "data",
                             "the tensors overlap or leave a gap: none begins here");
        at = spans[i].end;
    }
    if (at == c->data_size) return TQ_OK;
    return tqio_fail(c->name, TQ_E_FILE_TRUNCATED, data_at + at, "data",
                     "%zu bytes after the last tensor: the file goes on past its end", c->data_size - at);
}

/* Tensors are checked here, all of them, and again by those who ask for one: entries need no room. */
static tq_status check_tensors(const tqio_container *c) {
    const char *key;
    json_t *value;
    size_t n = 0;
    tq_status status = TQ_OK;
    span *spans = tqio_alloc((json_object_size(c->root) + 1) * sizeof *spans);
    if (spans == NULL)
        return tqio_fail_whole(c->name, TQ_E_NO_MEMORY, 0, "header", "no memory for the list of tensors");
    json_object_foreach(c->root, key, value) {
        tqio_entry entry = {.name = key};
        if (strcmp(key, "__metadata__") == 0) continue;
        status = tqio_container_entry(c, &entry);
        if (status != TQ_OK) break;
        if (entry.end > entry.begin) spans[n++] = (span){entry.begin, entry.end};
    }
    if (status == TQ_OK) status = check_spans(c, spans, n);
    free(spans);
    return status;
}

/* Takes bytes over, on failure too. */
static tq_status open_bytes(const char *name, uint8_t *bytes, size_t size, tq_safetensors **out) {
    const size_t name_size = strlen(name) + 1;
    tq_safetensors *file = calloc(1, sizeof *file);
    char *own_name = malloc(name_size);
    if (file == NULL || own_name == NULL) {
        free(file);
        free(own_name);
        free(bytes);
        return tqio_fail_whole(name, TQ_E_NO_MEMORY, 0, "path", "no memory for what describes the file");
    }
    memcpy(own_name, name, name_size);
    file->name = own_name;
    file->bytes = bytes;
    tq_status status = tqio_container_open(&file->c, own_name, bytes, size, true);
    if (status == TQ_OK) status = check_tensors(&file->c);
    if (status == TQ_OK)
        *out = file;
    else
        tq_safetensors_free(file);
    return status;
}

tq_status tq_safetensors_parse(const char *name, const void *bytes, size_t size, tq_safetensors **out) {
    if (out == NULL) return tq_fail(TQ_E_NULL, 0, "out", "out is NULL");
    *out = NULL;
    if (name == NULL) return tq_fail(TQ_E_NULL, 0, "name", "name is NULL");
    if (bytes == NULL && size != 0) return tqio_fail_whole(name, TQ_E_NULL, 0, "bytes", "bytes is NULL");
    uint8_t *copy = tqio_alloc(size);
    if (copy == NULL)
        return tqio_fail_whole(name, TQ_E_NO_MEMORY, 0, "bytes", "no memory for %zu bytes", size);
    if (size != 0) memcpy(copy, bytes, size);
    return open_bytes(name, copy, size, out);
}

tq_status tq_safetensors_read(const char *path, tq_safetensors **out) {
    if (out == NULL) return tq_fail(TQ_E_NULL, 0, "out", "out is NULL");
    *out = NULL;
    if (path == NULL) return tq_fail(TQ_E_NULL, 0, "path", "path is NULL");
    uint8_t *bytes = NULL;
    size_t size = 0;
    tq_status status = tq_file_read(path, SIZE_MAX, &bytes, &size);
    return status == TQ_OK ? open_bytes(path, bytes, size, out) : status;
}

tq_status tq_safetensors_tensor(const tq_safetensors *file, const char *name, tq_raw_tensor *out) {
    if (file == NULL || name == NULL || out == NULL)
        return tq_fail(TQ_E_NULL, 0,
                       file == NULL   ? "file"
                       : name == NULL ? "name"
                                      : "out",
                       "an argument is NULL");
    tqio_entry entry = {.name = name};
    tq_status status = TQ_OK;
    if (strcmp(name, "__metadata__") != 0) status = tqio_container_entry(&file->c, &entry);
    if (status != TQ_OK) return status;
    if (!entry.present)
        return tqio_fail(file->name, TQ_E_FILE_FIELD, sizeof(uint64_t), name, "no tensor %s", name);
    *out = (tq_raw_tensor){.type = entry.type,
                           .item_size = entry.item_size,
                           .n_dims = entry.n_dims,
                           .n_values = entry.n_values,
                           .n_bytes = entry.end - entry.begin,
                           .bytes = file->c.data + entry.begin,
                           .at = tqio_container_at(&file->c, &entry)};
    memcpy(out->shape, entry.shape, sizeof out->shape);
    return TQ_OK;
}

const char *tq_safetensors_name(const tq_safetensors *file, size_t index) {
    const char *key;
    json_t *value;
    if (file == NULL) return NULL;
    json_object_foreach(file->c.root, key, value) {
        if (strcmp(key, "__metadata__") != 0 && index-- == 0) return key;
    }
    return NULL;
}

const char *tq_safetensors_metadata(const tq_safetensors *file, const char *key, size_t *length) {
    if (length != NULL) *length = 0;
    if (file == NULL || key == NULL) return NULL;
    const json_t *text = json_object_get(file->c.metadata, key);
    if (length != NULL) *length = json_string_length(text);
    return json_string_value(text);
}

void tq_safetensors_free(tq_safetensors *file) {
    if (file == NULL) return;
    tqio_container_close(&file->c);
    free(file->bytes);
    free(file->name);
    free(file);
}
