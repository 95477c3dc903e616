/* SPDX-License-Identifier: MIT
 * The parts of check_devices. */
#ifndef TESTS_DEVICES_CHECK_H
#define TESTS_DEVICES_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* What the command line asks for. */
typedef struct options {
    uint64_t seed;
    size_t kinds;            /* of layers that are drawn */
    size_t scenes;           /* of each */
    const char *only;        /* the part to run; NULL: all */
    int one_kind, one_scene; /* -1: all */
} options;

void check_codec(void);

void check_drawn(const options *o); /* kinds of layers and scenes at random */
void check_fixed(const options *o); /* scenes that chance would miss */
void check_hostile(const options *o);
void check_tiles(const options *o);   /* many rows: what is small enough for a sanitizer */
void check_prefill(const options *o); /* the rest of that */
void check_merge(void);
void check_graph(void);
void check_refusals(void);
void check_planted(void); /* that the check would find a fault */
void check_stale(void);   /* last: a wrong kernel would end the program here */

#endif
