/* SPDX-License-Identifier: MIT
 * The safetensors container: a length, a JSON header, and the tensors' bytes without gaps. */
#ifndef IO_CONTAINER_H
#define IO_CONTAINER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tqkv/status.h"

enum {
    TQIO_MAX_HEADER = 100000000, /* what the format's own reader takes; ours stay below 2 KiB */
    TQIO_MAX_TENSOR_DIMS = 8
};

typedef struct tqio_container {
    const char *name; /* for messages */
    bool any_tensors; /* false: an encoded tensor's alone: U8, F16 and F32, with metadata */
    const char *header;
    size_t header_size;
    const uint8_t *data; /* what the tensors' offsets count from */
    size_t data_size;
    json_t *root;
    json_t *metadata; /* NULL: none */
} tqio_container;

typedef struct tqio_entry {
    const char *name;
    bool present;
    const char *type; /* as in the file: "U8", "F32", "BF16" */
    size_t item_size; /* 0: not told */
    size_t n_dims;
    size_t shape[TQIO_MAX_TENSOR_DIMS];
    size_t n_values;   /* the product */
    size_t begin, end; /* in the container's data */
} tqio_entry;

/* Reads the header of a file of `size` bytes, which must outlive the container. */
tq_status tqio_container_open(tqio_container *c, const char *name, const uint8_t *bytes, size_t size,
                              bool any_tensors);
void tqio_container_close(tqio_container *c);

/* Fills the entry whose name is given, which lies within the file: type, shape and offsets are sound and
 * agree with each other. One that is absent has present == false. */
tq_status tqio_container_entry(const tqio_container *c, tqio_entry *entry);

/* Fills the entries, whose names are given: types, shapes and offsets are sound and agree with each
 * other, and the tensors present fill the data section without gap or overlap. A tensor of another
 * name is an error; one that is absent has present == false. */
tq_status tqio_container_entries(const tqio_container *c, tqio_entry *entries, size_t n);

/* Byte of the file where the header names key; that of the header if it does not. */
uint64_t tqio_container_where(const tqio_container *c, const char *key);

/* Byte of the file where the entry starts. */
uint64_t tqio_container_at(const tqio_container *c, const tqio_entry *entry);

#endif
