/* SPDX-License-Identifier: MIT
 * What a set of outputs is made of. */
#ifndef IO_OUTPUTS_H
#define IO_OUTPUTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "pending.h"
#include "place.h"
#include "tqkv/io.h"

struct tq_output {
    tq_output *next; /* the one opened before it */
    char *path;      /* as the caller wrote it, for messages */
    tqio_place place;
    int fd; /* of the temporary file; -1: it is whole, or there is none */
    bool is_whole;
    tqio_pending *temporary;   /* shown while there is one */
    char kept[TQIO_NAME_ROOM]; /* what the predecessor is called during a commit; "": there is none */
};

/* A folder that was made for the outputs. */
typedef struct tqio_made {
    struct tqio_made *next;
    tqio_pending *entry;
} tqio_made;

struct tq_outputs {
    pid_t owner; /* a forked child must not touch its parent's files */
    tqio_folder *folders;
    tqio_made *made;
    tq_output *last;
    const char *disowned;
};

/* ".NAME." and something random, cut at the end of NAME if need be. */
void tqio_temporary_name(const char *name, char out[TQIO_NAME_ROOM]);

#endif
