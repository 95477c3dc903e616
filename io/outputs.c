/* SPDX-License-Identifier: MIT
 * Sets of outputs: each opened under a temporary name beside its place, before there is anything to
 * write. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "outputs.h"
#include "report.h"

enum { SUFFIX = 6, TRIES = 100 };

tq_status tq_outputs_begin(tq_outputs **out) {
    if (out == NULL) return tq_fail(TQ_E_NULL, 0, "out", "out is NULL");
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return tq_fail(TQ_E_NO_MEMORY, 0, "out", "no memory for a set of outputs");
    (*out)->owner = getpid();
    return TQ_OK;
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

/* The end of a name of full length makes room for two dots and the suffix. */
void tqio_temporary_name(const char *name, char out[TQIO_NAME_ROOM]) {
    char suffix[SUFFIX + 1];
    random_suffix(suffix);
    snprintf(out, TQIO_NAME_ROOM, ".%.*s.%s", TQIO_NAME_ROOM - SUFFIX - 3, name, suffix);
}

/* Creates the temporary file. Plain open() instead of mkstemp(): a new file's mode then follows the
 * umask. */
static int create_temporary(const tqio_place *place, tqio_pending *entry) {
    entry->folder = place->folder->fd;
    entry->flags = 0;
    for (int i = 0; i < TRIES; i++) {
        tqio_temporary_name(place->name, entry->name);
        /* Before the file exists: a signal in between finds nothing to remove. */
        tqio_pending_show(entry);
        int fd = openat(entry->folder, entry->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        place->exists ? 0600 : 0666);
        if (fd >= 0) return fd;
        int error = errno;
        tqio_pending_hide(entry);
        errno = error;
        if (error != EEXIST) return -1;
    }
    return -1;
}

/* Gives the temporary file what the one that it replaces has. *same_owner: as far as the process may. */
static bool take_after(int fd, const struct stat *before, bool *same_owner) {
    struct stat now;
    if (fstat(fd, &now) != 0) return false;
    *same_owner = (now.st_uid == before->st_uid && now.st_gid == before->st_gid) ||
                  fchown(fd, before->st_uid, before->st_gid) == 0;
    /* One's own group can be given although the owner cannot. */
    bool same_group = *same_owner || fchown(fd, (uid_t)-1, before->st_gid) == 0;
    (void)same_group;
    return fchmod(fd, before->st_mode & 0777) == 0;
}

static tq_status create(tq_outputs *set, tq_output *output) {
    bool same_owner = true;
    output->temporary = tqio_pending_take();
    if (output->temporary == NULL)
        return tqio_fail_whole(output->path, TQ_E_NO_MEMORY, 0, "path", "no memory to write it");
    output->fd = create_temporary(&output->place, output->temporary);
    if (output->fd < 0) {
        tq_status status = tqio_fail_os(output->path, "create a temporary file beside it", errno);
        tqio_pending_release(output->temporary);
        output->temporary = NULL;
        return status;
    }
    if (output->place.exists && !take_after(output->fd, &output->place.before, &same_owner))
        return tqio_fail_os(output->path, "set the permissions of a file beside it", errno);
    if (!same_owner) set->disowned = output->path;
    return TQ_OK;
}

static tq_status check_others(const tq_outputs *set, const tq_output *output) {
    for (const tq_output *other = set->last; other != NULL; other = other->next)
        if (tqio_place_same(&other->place, &output->place))
            return tqio_fail_whole(output->path, TQ_E_OVERLAP, 0, "path",
                                   "is the same file as the output %s: give each its own", other->path);
    return TQ_OK;
}

static void close_output(tq_output *output, bool is_mine) {
    if (output->fd >= 0) close(output->fd);
    if (output->temporary != NULL) {
        if (is_mine) unlinkat(output->place.folder->fd, output->temporary->name, 0);
        tqio_pending_release(output->temporary);
    }
    free(output->path);
    free(output);
}

tq_status tq_outputs_open(tq_outputs *set, const char *path, tq_output **out) {
    if (set == NULL || path == NULL || out == NULL)
        return tq_fail(TQ_E_NULL, 0,
                       set == NULL    ? "outputs"
                       : path == NULL ? "path"
                                      : "out",
                       "an argument is NULL");
    tq_output *output = calloc(1, sizeof *output);
    if (output == NULL) return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory to write it");
    output->fd = -1;
    output->path = strdup(path);
    tq_status status = output->path == NULL
                           ? tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory to write it")
                           : tqio_place_find(path, &set->folders, &output->place);
    if (status == TQ_OK) status = check_others(set, output);
    if (status == TQ_OK) status = create(set, output);
    if (status != TQ_OK) {
        close_output(output, true);
        return status;
    }
    output->next = set->last;
    set->last = output;
    *out = output;
    return TQ_OK;
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static tq_status make_folder(tq_outputs *set, const char *path, tqio_folder *parent, const char *name) {
    tqio_made *made = malloc(sizeof *made);
    tqio_pending *entry = made == NULL ? NULL : tqio_pending_take();
    if (entry == NULL) {
        free(made);
        return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory for the path");
    }
    *made = (tqio_made){.next = set->made, .entry = entry};
    entry->folder = parent->fd;
    entry->flags = AT_REMOVEDIR;
    strcpy(entry->name, name);
    /* Shown once it is there, as it might be somebody else's before; a handler, in this thread or in
     * another, comes before or after both. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    tqio_pending_hold(entry);
    const int error = mkdirat(parent->fd, name, 0777) == 0 ? 0 : errno;
    if (error == 0)
        tqio_pending_show(entry);
    else
        tqio_pending_hide(entry);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error == 0) {
        set->made = made;
        return TQ_OK;
    }
    tqio_pending_release(entry);
    free(made);
    return error == EEXIST && is_folder(path) ? TQ_OK : tqio_fail_os(path, "make the folder", error);
}

tq_status tq_outputs_folder(tq_outputs *set, const char *path) {
    if (set == NULL || path == NULL)
        return tq_fail(TQ_E_NULL, 0, set == NULL ? "outputs" : "path", "an argument is NULL");
    if (is_folder(path)) return TQ_OK;
    tqio_folder *parent = NULL;
    char name[TQIO_NAME_ROOM];
    char *bare = strdup(path);
    if (bare == NULL) return tqio_fail_whole(path, TQ_E_NO_MEMORY, 0, "path", "no memory for the path");
    for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/'; n--)
        bare[n - 1] = '\0';
    tq_status status = tqio_place_split(path, bare, &set->folders, &parent, name);
    free(bare);
    return status == TQ_OK ? make_folder(set, path, parent, name) : status;
}

void tq_outputs_end(tq_outputs *set) {
    if (set == NULL) return;
    const bool is_mine = set->owner == getpid();
    while (set->last != NULL) {
        tq_output *output = set->last;
        set->last = output->next;
        close_output(output, is_mine);
    }
    while (set->made != NULL) { /* the newest first: it may lie in another */
        tqio_made *made = set->made;
        set->made = made->next;
        if (is_mine) unlinkat(made->entry->folder, made->entry->name, AT_REMOVEDIR);
        tqio_pending_release(made->entry);
        free(made);
    }
    tqio_folders_close(set->folders);
    free(set);
}

const char *tq_outputs_disowned(const tq_outputs *set) {
    return set == NULL ? NULL : set->disowned;
}
