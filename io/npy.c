/* SPDX-License-Identifier: MIT
 * Plain tensors in .npy files. */
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "file.h"
#include "npy_header.h"
#include "report.h"

static void convert(float *out, const uint8_t *bytes, size_t n, size_t item_size) {
    if (item_size == 4) {
        tqio_copy_numbers(out, bytes, n * sizeof *out, sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = tqio_half(tqio_le16(bytes + 2 * i));
}

static tq_status check_size(const char *name, const tqio_npy_header *h, size_t size, size_t *n_values) {
    /* Four bytes a value whatever the file holds: that is what the values need in memory. */
    if (!tqio_shape_values(h->shape, h->n_dims, sizeof(float), n_values))
        return tqio_fail(name, TQ_E_FILE_SHAPE, h->data_at, "shape",
                         "the shape multiplies to more than an address can hold");
    size_t want = *n_values * h->item_size;
    size_t have = size - h->data_at;
    if (want != have)
        return tqio_fail(name, TQ_E_FILE_TRUNCATED, h->data_at, "data",
                         "the shape asks for %zu bytes of values, the file has %zu", want, have);
    return TQ_OK;
}

tq_status tq_npy_parse(const char *name, const void *bytes, size_t size, tq_tensor *out) {
    if (name == NULL) return tq_fail(TQ_E_NULL, 0, "name", "name is NULL");
    if (out == NULL || (bytes == NULL && size != 0))
        return tqio_fail_whole(name, TQ_E_NULL, 0, out == NULL ? "out" : "bytes", "an argument is NULL");
    tqio_npy_header h;
    size_t n_values = 0;
    tq_status status = tqio_npy_header_read(name, size == 0 ? (const uint8_t *)"" : bytes, size, &h);
    if (status == TQ_OK) status = check_size(name, &h, size, &n_values);
    if (status != TQ_OK) return status;
    float *data = tqio_alloc(n_values * sizeof *data);
    if (data == NULL)
        return tqio_fail_whole(name, TQ_E_NO_MEMORY, 0, "data", "no memory for %zu values", n_values);
    convert(data, (const uint8_t *)bytes + h.data_at, n_values, h.item_size);
    *out = (tq_tensor){.n_dims = h.n_dims, .n_values = n_values, .data = data};
    memcpy(out->shape, h.shape, h.n_dims * sizeof h.shape[0]);
    return TQ_OK;
}

tq_status tq_npy_read(const char *path, tq_tensor *out) {
    if (path == NULL || out == NULL)
        return tq_fail(TQ_E_NULL, 0, path == NULL ? "path" : "out", "an argument is NULL");
    uint8_t *bytes = NULL;
    size_t size = 0;
    tq_status status = tq_file_read(path, SIZE_MAX, &bytes, &size);
    if (status == TQ_OK) status = tq_npy_parse(path, bytes, size, out);
    free(bytes);
    return status;
}

enum {
    PREFIX = 10,
    ALIGN = 64,        /* as numpy does it, for readers that map the file */
    HEADER_ROOM = 1024 /* 32 dimensions of 20 digits, their commas, and 60 for the rest */
};

/* Fills a header of version 1.0 and returns its length, a multiple of ALIGN. */
static size_t make_header(char header[HEADER_ROOM], size_t n_dims, const size_t *shape) {
    size_t at = PREFIX;
    at += (size_t)sprintf(header + at, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (size_t i = 0; i < n_dims; i++)
        at += (size_t)sprintf(header + at, i == 0 ? "%zu," : " %zu,", shape[i]);
    if (n_dims > 1) at--; /* the last comma is needed in a tuple of one only */
    at += (size_t)sprintf(header + at, "), }");
    size_t length = (at + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(header + at, ' ', length - at);
    header[length - 1] = '\n';
    memcpy(header, TQIO_NPY_MAGIC "\x01\x00", 8);
    header[8] = (char)((length - PREFIX) & 0xff);
    header[9] = (char)((length - PREFIX) >> 8);
    return length;
}

/* Into the output, or into the file `path` if that is NULL. */
static tq_status put_npy(tq_output *output, const char *path, const float *data, size_t n_dims,
                         const size_t *shape) {
    if (shape == NULL && n_dims != 0) return tq_fail(TQ_E_NULL, 0, "shape", "an argument is NULL");
    size_t n_values = 0;
    if (n_dims > TQ_MAX_DIMS || !tqio_shape_values(shape, n_dims, sizeof *data, &n_values))
        return tqio_fail_whole(path, TQ_E_OVERFLOW, 0, "shape",
                               n_dims > TQ_MAX_DIMS
                                   ? "%zu dimensions are more than a tensor may have"
                                   : "%zu dimensions multiply to more than an address holds",
                               n_dims);
    if (data == NULL && n_values != 0) return tqio_fail_whole(path, TQ_E_NULL, 0, "data", "data is NULL");
    char header[HEADER_ROOM];
    size_t length = make_header(header, n_dims, shape);
    tqio_piece pieces[] = {{.data = header, .n_bytes = length, .item = 1},
                           {.data = data, .n_bytes = n_values * sizeof *data, .item = sizeof *data}};
    return tqio_put(output, path, pieces, 2);
}

tq_status tq_npy_write(const char *path, const float *data, size_t n_dims, const size_t *shape) {
    if (path == NULL) return tq_fail(TQ_E_NULL, 0, "path", "an argument is NULL");
    return put_npy(NULL, path, data, n_dims, shape);
}

tq_status tq_output_npy(tq_output *output, const float *data, size_t n_dims, const size_t *shape) {
    if (output == NULL) return tq_fail(TQ_E_NULL, 0, "output", "an argument is NULL");
    return put_npy(output, tqio_output_path(output), data, n_dims, shape);
}

void tq_tensor_free(tq_tensor *tensor) {
    if (tensor == NULL) return;
    free(tensor->data);
    *tensor = (tq_tensor){0};
}
