/* SPDX-License-Identifier: MIT
 * A list of temporary files that grows but never shrinks: a handler may walk it at any moment, so entries
 * are used again and never freed. */
#include "pending.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tqkv/io.h"

enum { UNUSED, HIDDEN, SHOWN, HELD };

/* Only lock-free atomics may be touched in a signal handler. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_POINTER_LOCK_FREE == 2, "atomics must be lock-free");

static _Atomic(tqio_pending *) list;

tqio_pending *tqio_pending_take(void) {
    for (tqio_pending *entry = atomic_load(&list); entry != NULL; entry = entry->next) {
        int expected = UNUSED;
        if (!atomic_compare_exchange_strong(&entry->state, &expected, HIDDEN)) continue;
        entry->owner = getpid();
        return entry;
    }
    tqio_pending *entry = calloc(1, sizeof *entry);
    if (entry == NULL) return NULL;
    entry->owner = getpid();
    atomic_init(&entry->state, HIDDEN);
    entry->next = atomic_load(&list);
    while (!atomic_compare_exchange_weak(&list, &entry->next, entry)) {
    }
    return entry;
}

void tqio_pending_show(tqio_pending *entry) {
    atomic_store(&entry->state, SHOWN);
}

void tqio_pending_hide(tqio_pending *entry) {
    atomic_store(&entry->state, HIDDEN);
}

void tqio_pending_hold(tqio_pending *entry) {
    atomic_store(&entry->state, HELD);
}

void tqio_pending_release(tqio_pending *entry) {
    atomic_store(&entry->state, UNUSED);
}

/* Whether the entry was there to be removed. */
static bool discard(tqio_pending *entry) {
    const struct timespec moment = {.tv_nsec = 1000000};
    int state;
    while ((state = atomic_load(&entry->state)) == HELD && entry->owner == getpid())
        nanosleep(&moment, NULL);
    return state == SHOWN && entry->owner == getpid() &&
           unlinkat(entry->folder, entry->name, entry->flags) == 0;
}

void tq_io_discard_pending(void) {
    int saved = errno; /* the code that was interrupted may be about to look at it */
    bool removed;
    do { /* a folder goes once it is empty */
        removed = false;
        for (tqio_pending *entry = atomic_load(&list); entry != NULL; entry = entry->next)
            removed |= discard(entry);
    } while (removed);
    errno = saved;
}
