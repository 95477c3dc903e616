/* SPDX-License-Identifier: MIT
 * A way to compute attention over a cache, and what it can be seen to read there. */
#ifndef TQKV_CLI_ABLATE_PATH_H
#define TQKV_CLI_ABLATE_PATH_H

#include "base/attention.h"

typedef struct cli_path {
    const char *name;
    tq_attention_params params;
    tq_segment segment;
    const float *q;          /* [H][n][D], original domain */
    const tq_codec *k_codec; /* queries are rotated by it first; NULL: as they come */
    const tq_codec *v_codec; /* outputs are rotated back by it; NULL: left so */
    const float *signs;      /* [D] a fault: factors of queries and outputs; NULL: none */
    const float *k, *v;      /* [G][length][D], original domain: what it ought to read */
} cli_path;

/* Results of all positions, original domain: out [H][n][D], lse [H][n]. */
tq_status cli_path_attend(const cli_path *path, float *out, float *lse);

/* The same from positions [first, first + length) alone. */
tq_status cli_path_stretch(const cli_path *path, size_t first, size_t length, float *out, float *lse);

/* The keys that the path's scores are those of, and the values that its outputs are sums of: both
 * [G][length][D], original domain, found by attending with queries along each axis and to keys that
 * single out a position. NaN where a weight has vanished. Keys are read through sums of unit vectors,
 * which may be at fault themselves; sum_error is how far the log-sum-exps of the same scores are off,
 * which know no values. */
tq_status cli_path_keys(const cli_path *path, float *keys, double *sum_error);
tq_status cli_path_values(const cli_path *path, float *values);

#endif
