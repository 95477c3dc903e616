/* SPDX-License-Identifier: MIT
 * What the path of an output means: a folder that is held open, a name in it, and what lies there. */
#ifndef IO_PLACE_H
#define IO_PLACE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "tqkv/status.h"

enum { TQIO_NAME_ROOM = 256 }; /* a file name without its folder, and its end */

/* Held open once, however many paths lead to it: two of them are the same one if their pointers are. */
typedef struct tqio_folder {
    struct tqio_folder *next;
    char *path;      /* for messages */
    int fd;          /* holds even if the process changes its working folder */
    bool can_flush;  /* false: it may be written but not read, and fsync() needs reading */
    struct stat now; /* when it was opened */
} tqio_folder;

typedef struct tqio_place {
    tqio_folder *folder;
    char name[TQIO_NAME_ROOM];
    bool exists;
    struct stat before; /* of the file that will be replaced */
} tqio_place;

/* Opens the folder that `where` lies in, or finds it in the list; name becomes what follows the last
 * slash. path is what messages call it. */
tq_status tqio_place_split(const char *path, const char *where, tqio_folder **folders,
                           tqio_folder **folder, char name[TQIO_NAME_ROOM]);

/* Follows links. Refuses what is there and no regular file, and what could not be replaced. */
tq_status tqio_place_find(const char *path, tqio_folder **folders, tqio_place *place);

/* By what they are, not by what they are called. */
bool tqio_place_same(const tqio_place *a, const tqio_place *b);

void tqio_folders_close(tqio_folder *folders);

#endif
