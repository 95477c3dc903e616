/* SPDX-License-Identifier: MIT
 * All sides of the comparison of attention on one scene: checked, then timed in turn. */
#ifndef TQKV_BENCH_PEERS_COMPARE_H
#define TQKV_BENCH_PEERS_COMPARE_H

#include "attend.h"

enum { PEER_READ = 0, PEER_TQ4 = 1, N_PEER_SIDES = 12 };

/* In the order in which tables show them. Those of PyTorch are the last two. */
extern const peer_attend peer_sides[N_PEER_SIDES];
enum { N_PEER_SIDES_WITHOUT_SDPA = N_PEER_SIDES - 2 };

typedef struct peer_time {
    double us;     /* median */
    double times;  /* as many as tq4's: the median of the ratios of neighbouring samples */
    double spread; /* of these ratios: half the interquartile range over the median */
    double
        error; /* the length of (result - float64's) over that of float64's; below 0: nothing to check */
} peer_time;

/* Times the first n_sides sides. samples: of each; 0: as many as some seconds hold, from 7 to 31; *taken
 * tells how many. Returns 0 or, after a message, -1. */
int peer_compare(const peer_scene *scene, size_t n_sides, size_t samples, peer_time *times,
                 size_t *taken);

#endif
