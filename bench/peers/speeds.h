/* SPDX-License-Identifier: MIT
 * Times all formats and the machine's limits beside each other. */
#ifndef TQKV_BENCH_PEERS_SPEEDS_H
#define TQKV_BENCH_PEERS_SPEEDS_H

#include "formats.h"
#include "measure/data.h"
#include "measure/limits.h"

enum { PEER_TO_CODES, PEER_FROM_CODES, N_PEER_WAYS };

/* Of a format in one direction, or of a limit. */
typedef struct peer_speed {
    double gb_per_s; /* of float32 */
    double share;    /* median over samples of the limit's time over the format's */
    double spread;   /* of those ratios: half the interquartile range over the median */
} peer_speed;

typedef struct peer_speeds {
    peer_speed formats[N_PEER_FORMATS]; /* all zero where a format does not serve the dimension */
    measure_limit limit;                /* the fastest */
    double limit_gb_per_s;
} peer_speeds;

/* Both directions of all formats for vectors of `dim` on a set. Returns 0, or -1 when a format fails or
 * memory runs out. */
int peer_measure(measure_data *data, measure_set set, size_t dim, size_t samples,
                 peer_speeds speeds[N_PEER_WAYS]);

#endif
