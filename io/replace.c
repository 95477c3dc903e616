/* SPDX-License-Identifier: MIT
 * Writes a file whole or not at all: temporary name, fsync, rename, fsync of the folder. */
#define _XOPEN_SOURCE 700 /* realpath() */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "file.h"
#include "pending.h"
#include "report.h"

enum {
    SUFFIX = 6,
    TRIES = 100,
    BATCH = 4096 /* floats turned into bytes at a time */
};

typedef struct target {
    const char *path; /* as the caller wrote it, for messages */
    int folder;
    char name[TQIO_NAME_ROOM];
    bool exists;
    mode_t mode; /* of the file that is replaced */
} target;

static tq_status not_a_file(const char *path, const char *what) {
    return tqio_fail_whole(path, TQ_E_IO, 0, "path", "%s", what);
}

/* Opens the folder of place and keeps the name within it. */
static tq_status split(const char *place, target *t) {
    const char *slash = strrchr(place, '/');
    const char *name = slash == NULL ? place : slash + 1;
    if (*name == '\0') return not_a_file(t->path, "names no file: end the path with a file name");
    if (strlen(name) >= sizeof t->name) return tqio_fail_os(t->path, "write", ENAMETOOLONG);
    strcpy(t->name, name);

    char *folder = NULL;
    if (slash != NULL) {
        size_t length = slash == place ? 1 : (size_t)(slash - place);
        folder = malloc(length + 1);
        if (folder == NULL)
            return tqio_fail_whole(t->path, TQ_E_NO_MEMORY, 0, "path", "no memory for the path");
        memcpy(folder, place, length);
        folder[length] = '\0';
    }
    t->folder = open(folder == NULL ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    free(folder);
    return t->folder < 0 ? tqio_fail_os(t->path, "open its folder", error) : TQ_OK;
}

/* Finds what the path means; on TQ_OK t->folder is open. */
static tq_status find_target(const char *path, target *t) {
    struct stat st;
    t->path = path;
    if (stat(path, &st) != 0) {
        if (errno != ENOENT) return tqio_fail_os(path, "write", errno);
        if (lstat(path, &st) == 0)
            return not_a_file(path, "is a link to a file that does not exist: remove the link");
        t->exists = false;
        return split(path, t);
    }
    if (!S_ISREG(st.st_mode))
        return not_a_file(path, S_ISDIR(st.st_mode)
                                    ? "is a folder: name a file in it"
                                    : "is not a regular file: write to a file, then copy it there");
    t->exists = true;
    t->mode = st.st_mode & 0777;
    char *real = realpath(path, NULL);
    if (real == NULL) return tqio_fail_os(path, "follow the path", errno);
    tq_status status = split(real, t);
    free(real);
    return status;
}

/* Different for every call and process; O_EXCL catches what chance brings together all the same. */
static void random_suffix(char out[SUFFIX + 1]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static atomic_uint calls;
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t x = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    x ^= (uint64_t)getpid() << 40 ^ (uint64_t)atomic_fetch_add(&calls, 1) << 32;
    /* the finalizer of splitmix64 spreads the few bits that differ */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    for (size_t i = 0; i < SUFFIX; i++, x /= sizeof letters - 1)
        out[i] = letters[x % (sizeof letters - 1)];
    out[SUFFIX] = '\0';
}

/* Creates the temporary file. Plain open() instead of mkstemp(): the mode then follows the umask. */
static int create_temporary(const target *t, tqio_pending *entry) {
    entry->folder = t->folder;
    for (int i = 0; i < TRIES; i++) {
        char suffix[SUFFIX + 1];
        random_suffix(suffix);
        /* The end of a name of full length makes room for two dots and the suffix. */
        snprintf(entry->name, sizeof entry->name, ".%.*s.%s", TQIO_NAME_ROOM - SUFFIX - 3, t->name,
                 suffix);
        /* Before the file exists: a signal in between finds nothing to remove. */
        tqio_pending_show(entry);
        int fd = openat(t->folder, entry->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) return fd;
        int error = errno;
        tqio_pending_hide(entry);
        errno = error;
        if (error != EEXIST) return -1;
    }
    return -1;
}

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
    if (piece->bytes != NULL) return write_bytes(fd, piece->bytes, piece->count);
    uint8_t batch[4 * BATCH];
    for (size_t i = 0; i < piece->count; i += BATCH) {
        size_t n = piece->count - i < BATCH ? piece->count - i : BATCH;
        tqio_floats_to_bytes(batch, piece->floats + i, n);
        if (!write_bytes(fd, batch, 4 * n)) return false;
    }
    return true;
}

/* Fills the temporary file and closes it. */
static tq_status fill(const target *t, int fd, const tqio_piece *pieces, size_t n_pieces) {
    bool ok = !t->exists || fchmod(fd, t->mode) == 0;
    for (size_t i = 0; ok && i < n_pieces; i++)
        ok = write_piece(fd, &pieces[i]);
    ok = ok && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 && ok) { /* some file systems tell of a full disk only here */
        ok = false;
        error = errno;
    }
    return ok ? TQ_OK : tqio_fail_os(t->path, "write", error);
}

/* Some file systems know no fsync of a folder, and then there is nothing to wait for. */
static tq_status flush_folder(const target *t) {
    if (fsync(t->folder) == 0 || errno == EINVAL || errno == ENOTSUP) return TQ_OK;
    return tqio_fail_os(t->path, "flush its folder", errno);
}

static tq_status replace(const target *t, tqio_pending *entry, const tqio_piece *pieces,
                         size_t n_pieces) {
    int fd = create_temporary(t, entry);
    if (fd < 0) return tqio_fail_os(t->path, "create a temporary file beside it", errno);
    tq_status status = fill(t, fd, pieces, n_pieces);
    if (status == TQ_OK && renameat(t->folder, entry->name, t->folder, t->name) != 0)
        status = tqio_fail_os(t->path, "rename the temporary file", errno);
    if (status != TQ_OK) unlinkat(t->folder, entry->name, 0);
    tqio_pending_hide(entry);
    return status == TQ_OK ? flush_folder(t) : status;
}

tq_status tqio_replace_file(const char *path, const tqio_piece *pieces, size_t n_pieces) {
    target t = {.folder = -1};
    tq_status status = find_target(path, &t);
    if (status != TQ_OK) return status;
    tqio_pending *entry = tqio_pending_take();
    if (entry == NULL) {
        status = tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory to write it");
    } else {
        status = replace(&t, entry, pieces, n_pieces);
        tqio_pending_release(entry);
    }
    close(t.folder);
    return status;
}
