/* SPDX-License-Identifier: MIT
 * The header of a .npy file. */
#ifndef IO_NPY_HEADER_H
#define IO_NPY_HEADER_H

#include "tqkv/io.h"

#define TQIO_NPY_MAGIC "\x93NUMPY"

enum {
    TQIO_NPY_MAGIC_SIZE = 6,
    TQIO_NPY_MAX_HEADER = 1 << 20 /* ours are 118 bytes; even a million bytes of padding is a hoax */
};

typedef struct tqio_npy_header {
    size_t data_at;   /* byte of the first value */
    size_t item_size; /* 4: '<f4', 2: '<f2' */
    size_t n_dims;
    size_t shape[TQ_MAX_DIMS];
} tqio_npy_header;

/* Reads everything in front of the values; their number is not yet held against the file's size. */
tq_status tqio_npy_header_read(const char *name, const uint8_t *bytes, size_t size, tqio_npy_header *out);

#endif
