/* SPDX-License-Identifier: MIT
 * What the path of an output means. */
#define _GNU_SOURCE /* O_PATH; realpath() */

#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

/* What opens a folder that may be searched and not read. */
#if defined(O_SEARCH)
#define SEARCH_ONLY O_SEARCH
#elif defined(O_PATH)
#define SEARCH_ONLY O_PATH
#else
#define SEARCH_ONLY O_RDONLY
#endif

static tq_status refuse(const char *path, const char *what) {
    return tqio_fail_whole(path, TQ_E_IO, 0, "path", "%s", what);
}

static tq_status no_memory(const char *path) {
    return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory for the path");
}

/* fd and can_flush, or fd -1 and errno. */
static void open_folder(const char *path, tqio_folder *folder) {
    folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    folder->can_flush = folder->fd >= 0;
    if (folder->fd < 0 && errno == EACCES) folder->fd = open(path, SEARCH_ONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The folder of that path, from the list or as a new entry of it. */
static tq_status hold(const char *path, const char *folder_path, tqio_folder **folders,
                      tqio_folder **folder) {
    tqio_folder *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL || (fresh->path = strdup(folder_path)) == NULL) {
        free(fresh);
        return no_memory(path);
    }
    open_folder(folder_path, fresh);
    if (fresh->fd < 0 || fstat(fresh->fd, &fresh->now) != 0) {
        tq_status status = tqio_fail_os(path, "open its folder", errno);
        tqio_folders_close(fresh);
        return status;
    }
    tqio_folder *held = *folders;
    while (held != NULL &&
           (held->now.st_dev != fresh->now.st_dev || held->now.st_ino != fresh->now.st_ino))
        held = held->next;
    *folder = held == NULL ? fresh : held;
    if (held != NULL) {
        tqio_folders_close(fresh);
    } else {
        fresh->next = *folders;
        *folders = fresh;
    }
    return TQ_OK;
}

tq_status tqio_place_split(const char *path, const char *where, tqio_folder **folders,
                           tqio_folder **folder, char name[TQIO_NAME_ROOM]) {
    const char *slash = strrchr(where, '/');
    const char *last = slash == NULL ? where : slash + 1;
    if (*last == '\0') return refuse(path, "names no file: end the path with a file name");
    if (strlen(last) >= TQIO_NAME_ROOM) return tqio_fail_os(path, "write", ENAMETOOLONG);
    strcpy(name, last);
    if (slash == NULL) return hold(path, ".", folders, folder);
    char *folder_path = strndup(where, slash == where ? 1 : (size_t)(slash - where));
    tq_status status = folder_path == NULL ? no_memory(path) : hold(path, folder_path, folders, folder);
    free(folder_path);
    return status;
}

/* In a sticky folder, such as /tmp, only the owner of a file or of the folder may rename over it. */
static bool is_protected(const tqio_place *place) {
    uid_t user = geteuid();
    const struct stat *folder = &place->folder->now;
    return place->exists && (folder->st_mode & S_ISVTX) != 0 && user != 0 && user != folder->st_uid &&
           user != place->before.st_uid;
}

tq_status tqio_place_find(const char *path, tqio_folder **folders, tqio_place *place) {
    struct stat link;
    *place = (tqio_place){0};
    place->exists = stat(path, &place->before) == 0;
    if (!place->exists && errno != ENOENT) return tqio_fail_os(path, "write", errno);
    if (place->exists && !S_ISREG(place->before.st_mode))
        return refuse(path, S_ISDIR(place->before.st_mode)
                                ? "is a folder: name a file in it"
                                : "is not a regular file: write to a file, then copy it there");
    char *real = NULL;
    if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode)) {
        if (!place->exists)
            return refuse(path, "is a link to a file that does not exist: remove the link");
        real = realpath(path, NULL);
        if (real == NULL) return tqio_fail_os(path, "follow the path", errno);
    }
    tq_status status =
        tqio_place_split(path, real == NULL ? path : real, folders, &place->folder, place->name);
    free(real);
    if (status == TQ_OK && is_protected(place))
        return refuse(path, "belongs to another user, in a folder where only owners replace files: name "
                            "another file");
    return status;
}

bool tqio_place_same(const tqio_place *a, const tqio_place *b) {
    if (a->exists && b->exists)
        return a->before.st_dev == b->before.st_dev && a->before.st_ino == b->before.st_ino;
    return !a->exists && !b->exists && a->folder == b->folder && strcmp(a->name, b->name) == 0;
}

void tqio_folders_close(tqio_folder *folders) {
    while (folders != NULL) {
        tqio_folder *next = folders->next;
        if (folders->fd >= 0) close(folders->fd);
        free(folders->path);
        free(folders);
        folders = next;
    }
}
