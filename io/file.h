/* SPDX-License-Identifier: MIT
 * Whole files out, or not at all. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/io.h"

/* A part of the file to be written: numbers, which become little-endian. */
typedef struct tqio_piece {
    const void *data;
    size_t n_bytes;
    size_t item; /* bytes of a number */
} tqio_piece;

/* Writes the pieces one after the other into an output, flushes and closes it. NULL: into the file
 * `path`, as a set of outputs of its own. */
tq_status tqio_put(tq_output *output, const char *path, const tqio_piece *pieces, size_t n_pieces);

/* As the caller wrote it, for messages. */
const char *tqio_output_path(const tq_output *output);

#endif
