/* SPDX-License-Identifier: MIT
 * What is there until a set of outputs is in place, kept where a signal handler can find it. */
#ifndef IO_PENDING_H
#define IO_PENDING_H

#include <stdatomic.h>
#include <sys/types.h>

#include "place.h"

typedef struct tqio_pending {
    struct tqio_pending *next;
    atomic_int state;
    pid_t owner; /* a forked child has the list too, and must leave it alone */
    int folder;  /* an open descriptor */
    int flags;   /* of unlinkat(): AT_REMOVEDIR for a folder */
    char name[TQIO_NAME_ROOM];
} tqio_pending;

/* An entry of this process that nobody else uses; NULL if there is no memory. */
tqio_pending *tqio_pending_take(void);

/* Lets a handler see the entry (folder, flags and name are filled), or no more. */
void tqio_pending_show(tqio_pending *entry);
void tqio_pending_hide(tqio_pending *entry);

/* Makes a handler wait until the entry is shown or hidden. Whoever calls it blocks signals before, so
 * that the handler is another thread's, and makes system calls only until then. */
void tqio_pending_hold(tqio_pending *entry);

void tqio_pending_release(tqio_pending *entry);

#endif
