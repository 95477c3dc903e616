/* SPDX-License-Identifier: MIT
 * The temporary files of writes that are under way, kept where a signal handler can find them. */
#ifndef IO_PENDING_H
#define IO_PENDING_H

#include <stdatomic.h>

enum { TQIO_NAME_ROOM = 256 }; /* a file name without its folder, and its end */

typedef struct tqio_pending {
    struct tqio_pending *next;
    atomic_int state;
    int folder; /* an open descriptor: holds even if the process changes its working folder */
    char name[TQIO_NAME_ROOM];
} tqio_pending;

/* An entry that nobody else uses; NULL if there is no memory. */
tqio_pending *tqio_pending_take(void);

/* Lets a handler see the entry (folder and name are filled), or no more. */
void tqio_pending_show(tqio_pending *entry);
void tqio_pending_hide(tqio_pending *entry);

void tqio_pending_release(tqio_pending *entry);

#endif
