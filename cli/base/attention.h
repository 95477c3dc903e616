/* SPDX-License-Identifier: MIT
 * What commands that attend share: their options, shapes, views, and calls with a workspace. */
#ifndef TQKV_CLI_ATTENTION_H
#define TQKV_CLI_ATTENTION_H

#include <stdbool.h>

#include "base/command.h"
#include "tqkv/attention.h"

/* --scale, --causal, --window and --softcap; --arithmetic of those that have it. */
typedef struct cli_attention_request {
    bool scale_given;
    float scale;
    float softcap; /* 0: none */
    bool causal;
    size_t window; /* 0: none */
    tq_arithmetic arithmetic;
} cli_attention_request;

/* CLI_DONE, or CLI_MISUSE after a message. */
int cli_take_attention(cli_attention_request *request, const cli_option *scale, const cli_option *causal,
                       const cli_option *window, const cli_option *softcap);

/* --arithmetic default, float or integer; the first where it is not given. CLI_DONE, or CLI_MISUSE after
 * a message.
 */
int cli_take_arithmetic(const cli_option *option, tq_arithmetic *arithmetic);
const char *cli_arithmetic_name(tq_arithmetic arithmetic);

/* A tensor's name and shape: heads, vectors a head, values a vector. */
typedef struct cli_shape {
    const char *path;
    size_t n_heads, n_rows, head_dim;
} cli_shape;

/* Fills in shapes and masks, and where the queries stand: query i at position T - n + i.
 * CLI_DONE or CLI_FAILED after a message about shapes that do not fit. */
int cli_attention_params(const cli_attention_request *request, const cli_shape *q, const cli_shape *k,
                         const cli_shape *v, tq_attention_params *params);

/* Logical positions [first, first + length) of a segment. */
tq_segment cli_stretch(const tq_segment *whole, size_t first, size_t length);

/* Sums of a stretch, as tq_attention_partial() leaves them. */
typedef struct cli_partial {
    float *acc; /* [H][n][D] */
    float *max; /* [H][n] */
    float *sum; /* [H][n] */
} cli_partial;

/* TQ_E_NO_MEMORY too. Release with cli_partial_free(), in every case. */
tq_status cli_partial_new(const tq_attention_params *params, cli_partial *partial);
void cli_partial_free(cli_partial *partial);

/* tq_attention() and tq_attention_partial() with a workspace of their own; TQ_E_NO_MEMORY too. */
tq_status cli_attend(const tq_attention_params *params, const tq_segment *segment, const float *q,
                     float *out, float *lse);
tq_status cli_attend_partial(const tq_attention_params *params, const tq_segment *segment, const float *q,
                             const cli_partial *partial);

/* The same result as cli_attend() to rounding, from `splits` stretches merged. */
tq_status cli_attend_split(const tq_attention_params *params, const tq_segment *segment, size_t splits,
                           const float *q, float *out, float *lse);

#endif
