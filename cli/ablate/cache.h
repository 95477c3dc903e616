/* SPDX-License-Identifier: MIT
 * The caches that an ablation compares: originals, codes, decoded and requantised copies, each in the
 * same ring, and beside it what it holds, made without a ring. */
#ifndef TQKV_CLI_ABLATE_CACHE_H
#define TQKV_CLI_ABLATE_CACHE_H

#include "base/heads.h"
#include "tqkv/attention.h"

/* How positions lie in the caches. Position p, counted from the first one written, lies in slot
 * p % capacity. */
typedef struct cli_ring {
    size_t n_positions; /* T, of the tensors */
    size_t capacity;    /* slots */
    size_t held;        /* the last so many positions of the tensors are attended to */
    size_t written;     /* positions written in all; the last T are those of the tensors, and those
                           before repeat them */
    size_t ring_start;  /* slot of the oldest position held */
} cli_ring;

/* Without a window (0) slots 0 to T-1. With one a ring that holds what n queries look back on and some
 * more, and wraps at least twice. */
cli_ring cli_ring_plan(size_t n_positions, size_t n_queries, size_t window);

enum { CLI_N_SNAPS = 3 }; /* 5, 6 and 8 bits */
extern const unsigned cli_snap_bits[CLI_N_SNAPS];

/* Keys or values. `flat`: [G][held][D], original domain, oldest first. `ring`: [G][capacity][D]. */
typedef struct cli_ablate_side {
    tq_codec codec;
    float *flat_original, *flat_decoded, *flat_snapped[CLI_N_SNAPS];
    float *ring_original;
    float *ring_decoded, *ring_snapped[CLI_N_SNAPS]; /* rotated */
    uint8_t *codes;
    float *norms;
    size_t n_codes, n_norms;
} cli_ablate_side;

/* CLI_DONE or CLI_FAILED after a message. Release with cli_ablate_side_free() in every case. */
int cli_ablate_side_build(const char *path, const cli_heads *heads, const cli_ring *ring,
                          const tq_codec *codec, cli_ablate_side *side);
void cli_ablate_side_free(cli_ablate_side *side);

#endif
