/* SPDX-License-Identifier: MIT
 * Whole files out, or not at all. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/status.h"

/* A stretch of the file to be written: bytes as they are, or float32 as little-endian bytes. */
typedef struct tqio_piece {
    const uint8_t *bytes; /* NULL: floats */
    const float *floats;
    size_t count; /* bytes or floats */
} tqio_piece;

/* Writes the pieces one after the other under a temporary name, flushes them to disk and renames.
 *
 * A link is followed, so that the file it names is replaced and the link stays. A replaced file keeps its
 * permissions; a new one gets 0666 less the umask. What is there and not a regular file is refused. */
tq_status tqio_replace_file(const char *path, const tqio_piece *pieces, size_t n_pieces);

#endif
