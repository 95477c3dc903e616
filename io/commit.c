/* SPDX-License-Identifier: MIT
 * Brings a set of outputs into place: all of them, or the folders stay as they were.
 *
 * Renames fail seldom once the files lie beside their places, but they do: somebody made a folder of that
 * name in the meantime, or marked the file immutable. So every predecessor but the last one's keeps a
 * second name until all is done. Signals wait meanwhile, those of other threads too
 * (tqio_pending_hold()). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "outputs.h"
#include "report.h"

/* Gives what lies at the place a second name. Where there are no hard links it is moved there, and the
 * place is empty for a moment. */
static bool keep(tq_output *output) {
    struct stat st;
    const int folder = output->place.folder->fd;
    char *name = output->place.name, *kept = output->kept;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT;
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return false;
    }
    tqio_temporary_name(name, kept);
    if (linkat(folder, name, folder, kept, 0) == 0) return true;
    if (errno != EEXIST && renameat(folder, name, folder, kept) == 0) return true;
    kept[0] = '\0';
    return false;
}

static void put_back(const tq_output *output, bool placed) {
    const int folder = output->place.folder->fd;
    if (output->kept[0] != '\0') {
        renameat(folder, output->kept, folder, output->place.name);
        unlinkat(folder, output->kept, 0); /* a rename between two names of one file leaves both */
    } else if (placed) {
        unlinkat(folder, output->place.name, 0);
    }
}

static bool place(tq_output *output) {
    const int folder = output->place.folder->fd;
    if (output->next != NULL && !keep(output)) return false;
    if (renameat(folder, output->temporary->name, folder, output->place.name) == 0) return true;
    int error = errno;
    put_back(output, false);
    errno = error;
    return false;
}

/* NULL, or the output that could not be placed, with errno, and then all is as before. System calls only.
 */
static tq_output *place_all(tq_outputs *set) {
    for (tq_output *output = set->last; output != NULL; output = output->next) {
        if (place(output)) continue;
        int error = errno;
        for (tq_output *done = set->last; done != output; done = done->next)
            put_back(done, true);
        errno = error;
        return output;
    }
    for (tq_output *output = set->last; output != NULL; output = output->next)
        if (output->kept[0] != '\0') unlinkat(output->place.folder->fd, output->kept, 0);
    return NULL;
}

/* A signal comes before or after all of it. */
static tq_output *place_undisturbed(tq_outputs *set, int *error) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (tq_output *output = set->last; output != NULL; output = output->next)
        tqio_pending_hold(output->temporary);
    tq_output *failed = place_all(set);
    *error = errno;
    for (tq_output *output = set->last; output != NULL; output = output->next)
        if (failed == NULL)
            tqio_pending_hide(output->temporary);
        else
            tqio_pending_show(output->temporary);
    for (tqio_made *made = set->made; failed == NULL && made != NULL; made = made->next)
        tqio_pending_hide(made->entry);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* Outputs in place are no longer the set's; tq_outputs_end() would remove them. */
static void let_go(tq_outputs *set) {
    for (tq_output *output = set->last; output != NULL; output = output->next) {
        tqio_pending_release(output->temporary);
        output->temporary = NULL;
    }
    while (set->made != NULL) {
        tqio_made *made = set->made;
        set->made = made->next;
        tqio_pending_release(made->entry);
        free(made);
    }
}

/* Some file systems know no fsync of a folder, and then there is nothing to wait for. */
static tq_status flush_folders(const tq_outputs *set) {
    for (const tqio_folder *folder = set->folders; folder != NULL; folder = folder->next) {
        if (!folder->can_flush || fsync(folder->fd) == 0 || errno == EINVAL || errno == ENOTSUP) continue;
        return tqio_fail_os(folder->path, "flush the folder", errno);
    }
    return TQ_OK;
}

static tq_status check(const tq_outputs *set) {
    for (const tq_output *output = set->last; output != NULL; output = output->next) {
        if (set->owner != getpid())
            return tqio_fail_whole(output->path, TQ_E_IO, 0, "outputs",
                                   "belongs to the process that opened it, not to its child");
        if (!output->is_whole || output->temporary == NULL)
            return tqio_fail_whole(output->path, TQ_E_IO, 0, "outputs",
                                   output->is_whole ? "is in place already" : "has not been written");
    }
    return TQ_OK;
}

tq_status tq_outputs_commit(tq_outputs *set) {
    if (set == NULL) return tq_fail(TQ_E_NULL, 0, "outputs", "outputs is NULL");
    tq_status status = check(set);
    if (status != TQ_OK) return status;
    int error = 0;
    tq_output *failed = place_undisturbed(set, &error);
    if (failed != NULL) return tqio_fail_os(failed->path, "rename the temporary file", error);
    let_go(set);
    return flush_folders(set);
}
