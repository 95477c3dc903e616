/* SPDX-License-Identifier: MIT
 * All sides of the comparison of attention on one scene: checked, then timed in turn. */
#ifndef TQKV_BENCH_PEERS_COMPARE_H
#define TQKV_BENCH_PEERS_COMPARE_H

#include <stdbool.h>

#include "attend.h"

enum { PEER_READ = 0, PEER_DEFAULT = 1, N_PEER_SIDES = 20 };

/* In the order in which tables show them. */
extern const peer_attend peer_sides[N_PEER_SIDES];

/* Whether its server, if it has one, was started. */
bool peer_is_there(const peer_attend *side);

typedef struct peer_time {
    double us;     /* median; 0: this scene is not for it, and nothing else is set */
    double times;  /* as many as tq4's: the median of the ratios of neighbouring samples */
    double spread; /* of these ratios: half the interquartile range over the median */
    double
        error; /* the length of (result - float64's) over that of float64's; below 0: nothing to check */
} peer_time;

/* Times the sides that are there; times: [N_PEER_SIDES]. samples: of each; 0: as many as some seconds
 * hold, from 7 to 31; *taken tells how many. Returns 0 or, after a message, -1. */
int peer_compare(const peer_scene *scene, size_t samples, peer_time *times, size_t *taken);

#endif
