/* SPDX-License-Identifier: MIT
 * Fills the temporary file of an output. */
#include <errno.h>
#include <unistd.h>

#include "bytes.h"
#include "file.h"
#include "outputs.h"
#include "report.h"

enum { BATCH = 16384 }; /* bytes turned over at a time */

static bool write_bytes(int fd, const uint8_t *bytes, size_t n) {
    while (n > 0) {
        size_t part = n < (1u << 30) ? n : 1u << 30; /* some systems refuse more than INT_MAX at once */
        ssize_t done = write(fd, bytes, part);
        if (done < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

static bool write_piece(int fd, const tqio_piece *piece) {
    const uint8_t *data = piece->data;
    uint8_t batch[BATCH];
    if (piece->item == 1) return write_bytes(fd, data, piece->n_bytes);
    for (size_t i = 0; i < piece->n_bytes; i += BATCH) {
        size_t n = piece->n_bytes - i < BATCH ? piece->n_bytes - i : BATCH;
        tqio_copy_numbers(batch, data + i, n, piece->item);
        if (!write_bytes(fd, batch, n)) return false;
    }
    return true;
}

/* Fills the temporary file, flushes it to disk and closes it. */
static tq_status fill(tq_output *output, const tqio_piece *pieces, size_t n_pieces) {
    if (output->fd < 0)
        return tqio_fail_whole(output->path, TQ_E_IO, 0, "output", "has been written already");
    if (output->temporary->owner != getpid())
        return tqio_fail_whole(output->path, TQ_E_IO, 0, "output",
                               "belongs to the process that opened it, not to its child");
    bool ok = true;
    for (size_t i = 0; ok && i < n_pieces; i++)
        ok = write_piece(output->fd, &pieces[i]);
    ok = ok && fsync(output->fd) == 0;
    int error = errno;
    if (close(output->fd) != 0 && ok) { /* some file systems tell of a full disk only here */
        ok = false;
        error = errno;
    }
    output->fd = -1;
    output->is_whole = ok;
    return ok ? TQ_OK : tqio_fail_os(output->path, "write", error);
}

tq_status tqio_put(tq_output *output, const char *path, const tqio_piece *pieces, size_t n_pieces) {
    if (output != NULL) return fill(output, pieces, n_pieces);
    tq_outputs *set = NULL;
    tq_status status = tq_outputs_begin(&set);
    if (status == TQ_OK) status = tq_outputs_open(set, path, &output);
    if (status == TQ_OK) status = fill(output, pieces, n_pieces);
    if (status == TQ_OK) status = tq_outputs_commit(set);
    tq_outputs_end(set);
    return status;
}

const char *tqio_output_path(const tq_output *output) {
    return output->path;
}

tq_status tq_output_bytes(tq_output *output, const void *bytes, size_t size) {
    if (output == NULL || (bytes == NULL && size != 0))
        return tq_fail(TQ_E_NULL, 0, output == NULL ? "output" : "bytes", "an argument is NULL");
    const tqio_piece piece = {.data = bytes, .n_bytes = size, .item = 1};
    return fill(output, &piece, 1);
}
