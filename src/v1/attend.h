/* SPDX-License-Identifier: MIT
 * A call of v1's attention: its parameters checked, its positions cut into stretches worked on apart. */
#ifndef TQ_API_V1_ATTEND_H
#define TQ_API_V1_ATTEND_H

#include <stdbool.h>

#include "tqkv/attention.h"
#include "tqkv/v1.h"

/* Where the parts of the workspace start, in bytes. P stretches, n queries a head. */
typedef struct tq_v1_layout {
    size_t lists; /* [3][P] pointers to the stretches' acc, max and sum */
    size_t acc;   /* [P][H][n][D] */
    size_t max;   /* [P][H][n] */
    size_t sum;   /* [P][H][n] */
    size_t inner; /* workspace of tq_attention_partial(), used by one stretch after the other */
    size_t total;
} tq_v1_layout;

typedef struct tq_v1_attend {
    tq_attention_params params;
    tq_codec codec;
    bool dense;                     /* float32 vectors; otherwise codes */
    size_t cache_rows;              /* vectors of a cache, G * C */
    size_t row_bytes, norm_bytes;   /* of a vector */
    size_t rows, values;            /* of queries: H * n, and H * n * D floats */
    size_t positions, capacity;     /* T, C */
    size_t ring_start;              /* slot of position 0 */
    size_t stretch, most_stretches; /* positions of a stretch; how many of them there may be */
    size_t inner_bytes;
    tq_v1_layout at;
} tq_v1_attend;

/* Checks a parameter block and cuts the call. p is the widest of the blocks; codebook_bits is 0 for dense
 * vectors, and ring_start and scale_factor_d512 are not looked at then. */
tq_status tq_v1_attend_init(tq_v1_attend *a, const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries);

/* Works on the stretches in order and merges them. Everything has been checked but the values of q, which
 * are before anything is written. */
tq_status tq_v1_attend_run(const tq_v1_attend *a, const tq_view *k, const tq_view *v, const float *q,
                           float *dst, void *workspace);

#endif
