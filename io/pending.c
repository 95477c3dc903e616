/* SPDX-License-Identifier: MIT
 * A list of temporary files that grows but never shrinks: a handler may walk it at any moment, so entries
 * are used again and never freed. */
#include "pending.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tqkv/io.h"

enum { UNUSED, HIDDEN, SHOWN };

/* Only lock-free atomics may be touched in a signal handler. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_POINTER_LOCK_FREE == 2, "atomics must be lock-free");

static _Atomic(tqio_pending *) list;

tqio_pending *tqio_pending_take(void) {
    for (tqio_pending *entry = atomic_load(&list); entry != NULL; entry = entry->next) {
        int expected = UNUSED;
        if (atomic_compare_exchange_strong(&entry->state, &expected, HIDDEN)) return entry;
    }
    tqio_pending *entry = calloc(1, sizeof *entry);
    if (entry == NULL) return NULL;
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

void tqio_pending_release(tqio_pending *entry) {
    atomic_store(&entry->state, UNUSED);
}

void tq_io_discard_pending(void) {
    int saved = errno; /* the code that was interrupted may be about to look at it */
    for (tqio_pending *entry = atomic_load(&list); entry != NULL; entry = entry->next)
        if (atomic_load(&entry->state) == SHOWN) unlinkat(entry->folder, entry->name, 0);
    errno = saved;
}
