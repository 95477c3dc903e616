/* SPDX-License-Identifier: MIT
 * Reads a file into memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"
#include "tqkv/io.h"

enum { FIRST_ROOM = 65536 };

/* Room for what fstat() says and one byte more, so that the end of the file is met without growing, but
 * not for more than `most`. */
static tq_status first_room(const char *path, int fd, size_t most, size_t *room) {
    struct stat st;
    if (fstat(fd, &st) != 0) return tqio_fail_os(path, "ask for the size", errno);
    if (S_ISDIR(st.st_mode)) return tqio_fail_os(path, "read", EISDIR);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
        return tqio_fail_whole(path, TQ_E_IO, 0, "path",
                               "is a device: a regular file or a pipe is expected");
    *room = FIRST_ROOM;
    if (S_ISREG(st.st_mode) && st.st_size > 0)
        *room = (uintmax_t)st.st_size < SIZE_MAX ? (size_t)st.st_size + 1 : SIZE_MAX;
    if (*room > most) *room = most;
    if (*room >= PTRDIFF_MAX)
        return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "%ju bytes do not fit in memory",
                               (uintmax_t)st.st_size);
    return TQ_OK;
}

static tq_status no_memory(const char *path, size_t room) {
    return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory for %zu bytes", room);
}

static tq_status read_all(const char *path, int fd, size_t room, size_t most, uint8_t **bytes,
                          size_t *size) {
    size_t held = 0;
    uint8_t *buffer = malloc(room == 0 ? 1 : room);
    if (buffer == NULL) return no_memory(path, room);
    while (held < most) {
        if (held == room) {
            /* Doubling cannot overflow before malloc() has refused: sizes stay below PTRDIFF_MAX. */
            uint8_t *larger = realloc(buffer, 2 * room);
            if (larger == NULL) {
                free(buffer);
                return no_memory(path, 2 * room);
            }
            buffer = larger;
            room *= 2;
        }
        size_t want = (room < most ? room : most) - held;
        if (want > (1u << 30)) want = 1u << 30; /* some systems refuse more than INT_MAX at once */
        ssize_t got = read(fd, buffer + held, want);
        if (got == 0) break;
        if (got > 0) {
            held += (size_t)got;
        } else if (errno != EINTR) {
            tq_status status = tqio_fail_os(path, "read", errno);
            free(buffer);
            return status;
        }
    }
    *bytes = buffer;
    *size = held;
    return TQ_OK;
}

tq_status tq_file_read(const char *path, size_t most, uint8_t **bytes, size_t *size) {
    if (path == NULL || bytes == NULL || size == NULL)
        return tq_fail(TQ_E_NULL, 0,
                       path == NULL    ? "path"
                       : bytes == NULL ? "bytes"
                                       : "size",
                       "an argument is NULL");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tqio_fail_os(path, "open", errno);
    size_t room = 0;
    tq_status status = first_room(path, fd, most, &room);
    if (status == TQ_OK) status = read_all(path, fd, room, most, bytes, size);
    close(fd);
    return status;
}
