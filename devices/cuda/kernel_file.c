/* SPDX-License-Identifier: MIT
 * The cache folder. Whatever goes wrong here, the kernel is compiled instead. */
#include "kernel_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/size.h"

/* Larger than any kernel: files beyond it are not looked at. */
enum { VERSION = 1, HEAD = 40, TAIL = 8, MOST = 64 << 20 };
static const char magic[8] = {'t', 'q', 'k', 'v', 'j', 'i', 't', '\n'};

const char *tq_cuda_environment(const char *name) {
    return getuid() == geteuid() && getgid() == getegid() ? getenv(name) : NULL;
}

static char *path_of(const char *folder, const char *inner, const tq_cuda_key *key) {
    const size_t room = strlen(folder) + strlen(inner) + 32;
    char *path = malloc(room);
    if (path != NULL)
        snprintf(path, room, "%s%s/%016" PRIx64 ".kernel", folder, inner, tq_hash(key->bytes, key->n));
    return path;
}

char *tq_cuda_kernel_path(const char *cache_dir, const tq_cuda_key *key) {
    if (cache_dir == NULL) cache_dir = tq_cuda_environment("TQKV_CUDA_CACHE");
    if (cache_dir != NULL) return cache_dir[0] == '\0' ? NULL : path_of(cache_dir, "", key);
    const char *caches = tq_cuda_environment("XDG_CACHE_HOME"), *home = tq_cuda_environment("HOME");
    if (caches != NULL && caches[0] == '/') return path_of(caches, "/tqkv", key);
    return home != NULL && home[0] == '/' ? path_of(home, "/.cache/tqkv", key) : NULL;
}

/* n bytes or nothing. */
static bool read_all(int file, uint8_t *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        const ssize_t got = read(file, bytes + done, n - done);
        if (got == 0 || (got < 0 && errno != EINTR)) return false;
        if (got > 0) done += (size_t)got;
    }
    return true;
}

static bool write_all(int file, const uint8_t *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        const ssize_t put = write(file, bytes + done, n - done);
        if (put == 0 || (put < 0 && errno != EINTR)) return false;
        if (put > 0) done += (size_t)put;
    }
    return true;
}

/* The file's bytes, for free(); NULL if it is none that could hold a kernel. */
static uint8_t *read_file(const char *path, size_t *n) {
    uint8_t *bytes = NULL;
    struct stat st;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* nobody may write to a pipe */
    if (file < 0) return NULL;
    if (fstat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= HEAD + TAIL && st.st_size <= MOST) {
        *n = (size_t)st.st_size;
        bytes = malloc(*n);
        if (bytes != NULL && !read_all(file, bytes, *n)) {
            free(bytes);
            bytes = NULL;
        }
    }
    close(file);
    return bytes;
}

/* Sizes of name and cubin, if all is as it was written; n is HEAD + TAIL at least. */
static bool check(const uint8_t *bytes, size_t n, const tq_cuda_key *key, size_t *n_name,
                  size_t *n_cubin) {
    const size_t rest = n - HEAD - TAIL;
    const uint64_t name = tq_get_u64(bytes + 24), cubin = tq_get_u64(bytes + 32);
    if (memcmp(bytes, magic, sizeof magic) != 0 || tq_get_u32(bytes + 8) != VERSION) return false;
    if (tq_get_u64(bytes + 16) != key->n || key->n > rest || name > rest - key->n) return false;
    if (name == 0 || cubin == 0 || cubin != rest - key->n - name) return false;
    if (memcmp(bytes + HEAD, key->bytes, key->n) != 0) return false;
    *n_name = (size_t)name;
    *n_cubin = (size_t)cubin;
    return tq_get_u64(bytes + n - TAIL) == tq_hash(bytes, n - TAIL);
}

void tq_cuda_kernel_free(tq_cuda_kernel *kernel) {
    free(kernel->cubin);
    free(kernel->name);
    *kernel = (tq_cuda_kernel){0};
}

/* Out of the file's bytes, a name and then the cubin. */
static bool copy(const uint8_t *from, size_t n_name, size_t n_cubin, tq_cuda_kernel *kernel) {
    *kernel = (tq_cuda_kernel){malloc(n_cubin), n_cubin, malloc(n_name + 1)};
    if (kernel->cubin == NULL || kernel->name == NULL) {
        tq_cuda_kernel_free(kernel);
        return false;
    }
    memcpy(kernel->name, from, n_name);
    kernel->name[n_name] = '\0';
    memcpy(kernel->cubin, from + n_name, n_cubin);
    return true;
}

bool tq_cuda_kernel_load(const char *path, const tq_cuda_key *key, tq_cuda_kernel *kernel) {
    size_t n, n_name, n_cubin;
    *kernel = (tq_cuda_kernel){0};
    uint8_t *bytes = read_file(path, &n);
    const bool loaded = bytes != NULL && check(bytes, n, key, &n_name, &n_cubin) &&
                        copy(bytes + HEAD + key->n, n_name, n_cubin, kernel);
    free(bytes);
    return loaded;
}

/* The file's bytes, for free(); NULL if they are too many. */
static uint8_t *assemble(const tq_cuda_key *key, const tq_cuda_kernel *kernel, size_t *n) {
    const size_t name = strlen(kernel->name);
    *n = HEAD + TAIL;
    if (!tq_size_add(*n, key->n, n) || !tq_size_add(*n, name, n) || !tq_size_add(*n, kernel->n, n))
        return NULL;
    uint8_t *bytes = *n <= MOST ? malloc(*n) : NULL;
    if (bytes == NULL) return NULL;
    memcpy(bytes, magic, sizeof magic);
    tq_put_u32(bytes + 8, VERSION);
    tq_put_u32(bytes + 12, 0);
    tq_put_u64(bytes + 16, key->n);
    tq_put_u64(bytes + 24, name);
    tq_put_u64(bytes + 32, kernel->n);
    memcpy(bytes + HEAD, key->bytes, key->n);
    memcpy(bytes + HEAD + key->n, kernel->name, name);
    memcpy(bytes + HEAD + key->n + name, kernel->cubin, kernel->n);
    tq_put_u64(bytes + *n - TAIL, tq_hash(bytes, *n - TAIL));
    return bytes;
}

/* All folders on the way to a file, as far as that can be: whether they are there, opening it will show.
 */
static void make_folders(char *path) {
    for (char *p = path + 1; *p != '\0'; p++) /* a path is never empty */
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(path, 0700);
            *p = '/';
        }
}

/* A new file beside the other one. Its number is anew in each process; a file that is there already is
 * one of a process that was killed, or of one on another machine. */
static int create_beside(const char *path, char *temporary, size_t room) {
    static atomic_uint number;
    int file = -1;
    for (int i = 0; i < 100 && file < 0; i++) {
        snprintf(temporary, room, "%s.%ld.%u", path, (long)getpid(), atomic_fetch_add(&number, 1));
        file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (file < 0 && errno != EEXIST) return -1;
    }
    return file;
}

/* Not flushed to the disk: a file that a power cut has spoilt is found out when it is read. */
static bool write_beside(const char *path, char *temporary, size_t room, const uint8_t *bytes, size_t n) {
    const int file = create_beside(path, temporary, room);
    if (file < 0) return false;
    const bool written = write_all(file, bytes, n);
    if (close(file) == 0 && written && rename(temporary, path) == 0) return true;
    unlink(temporary);
    return false;
}

bool tq_cuda_kernel_store(const char *path, const tq_cuda_key *key, const tq_cuda_kernel *kernel) {
    size_t n;
    const size_t room = strlen(path) + 48;
    uint8_t *bytes = assemble(key, kernel, &n);
    char *temporary = malloc(room);
    bool stored = false;
    if (bytes != NULL && temporary != NULL) {
        memcpy(temporary, path, strlen(path) + 1);
        make_folders(temporary);
        stored = write_beside(path, temporary, room, bytes, n);
    }
    free(temporary);
    free(bytes);
    return stored;
}
