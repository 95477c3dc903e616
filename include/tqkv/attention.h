/* SPDX-License-Identifier: MIT
 * Attention of queries over cached keys and values, read as they lie: codes of any format, float16 or
 * float32, contiguous, in rings or in pages.
 *
 * Letters: H query heads, G KV heads (H % G == 0; query head h reads KV head h / (H/G)), D head
 * dimension, n queries a head, T positions.
 *
 * Accuracy class: bounded, against float64 on the decoded cache. For a row that sees T positions let
 * S = |scale| |q| max(|k| + 2 |c|), the largest score that lengths allow (|x| the Euclidean length, k the
 * keys it sees, c their centre, if any), and E = 2^-24 (min(T, 512) + T/16 + 16 + (D/16 + 24) S).
 * Then
 *
 *     |out - exact| <= 2 E sum over t of weight(t) |v(t)|
 *     |lse - exact| <= E + 2^-24 |lse|
 *
 * as far as nothing underflows: a weight below 1e-37 of the largest counts as 0, and products below 1e-38
 * lose digits. Rounding errors seldom add up: on normally distributed vectors with scores of a few units
 * the error is about 1e-6 of that sum. Scores are rounded in proportion to S, and weights with them: no
 * float32 arithmetic has a bound without S. The same bits for any number of threads.
 *
 * What float32 cannot carry: a row that sees a NaN or an infinity (in a key, a value, a norm or a
 * centre), or a score or sum that float32 cannot hold, is NaN in all of its outputs and in lse; its
 * partial result is NaN in acc, max and sum, and stays so when merged. No other row is touched, whatever
 * shares a call with it. A softcap does not hide it. Arguments that are not finite are errors.
 */
#ifndef TQKV_ATTENTION_H
#define TQKV_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"
#include "tqkv/status.h"
#include "tqkv/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What is computed. Zero-initialise and set what is wanted: a zero is what a language model's step does,
 * or an error. */
typedef struct tq_attention_params {
    uint32_t n_heads;    /**< H */
    uint32_t n_kv_heads; /**< G */
    uint32_t head_dim;   /**< D, of keys and values */
    size_t n_queries;    /**< n, per head; at least 1 (TQ_E_SIZE) */
    uint64_t query_end; /**< absolute position behind the last query: query i stands at query_end - n + i.
                             0: the segments' end, so that the queries are the newest n positions, which
                             must have been appended. A part of the positions does not tell:
                             tq_attention_partial() with a mask or window wants the number */
    float scale;        /**< scores are multiplied by it; finite and not 0 (TQ_E_SCALE) */
    float softcap;      /**< then cap * tanh(score / cap); 0: off; not negative (TQ_E_NOT_FINITE) */
    int bidirectional;  /**< 0: a query sees positions up to its own (causal); not 0: later ones too */
    uint64_t window;    /**< and none older than the last `window` up to its own; 0: all */
    const float *sinks; /**< [H] extra logits that take weight and give no value, finite; NULL: none */
    tq_domain domain;   /**< of queries and outputs. TQ_ORIGINAL: as the model has them; rotation is done
                             inside. TQ_ROTATED: queries come rotated and outputs are left so, on codes
                             and on dense views that are said to be rotated */
    const tq_parallel *parallel; /**< NULL: the calling thread alone */
} tq_attention_params;

/** Bytes of workspace, a multiple of 64, that tq_attention() and tq_attention_partial() want for these.
 * Fewer positions never want more; fewer queries may, since their positions are shared out among threads.
 *
 * TQ_E_NULL, TQ_E_OVERFLOW and whatever is wrong with params; *bytes untouched on failure. */
TQ_API tq_status tq_attention_workspace(const tq_attention_params *params, const tq_segment *segments,
                                        size_t n_segments, size_t *bytes);

/** Attention over all segments together.
 *
 * params      shapes, masks, scale
 * segments    [n_segments], in any order, their positions apart; all encoded keys have one rotation (v1
 *             or v2), and so have all encoded values
 * q           [H][n][D] float32, finite
 * out         [H][n][D] float32 out; must not overlap anything else
 * lse         [H][n] natural logarithm of the sum of exp(score), sinks included; NULL: not wanted.
 *             Rows that see no key give zeros in out, and their sink here, -infinity without one
 * workspace   workspace_bytes bytes, at least what tq_attention_workspace() says, aligned to 64
 * (TQ_E_SIZE)
 *
 * TQ_E_NULL, TQ_E_HEADS, TQ_E_HEAD_DIM, TQ_E_FORMAT, TQ_E_SCALE_FACTOR, TQ_E_SCALE, TQ_E_DOMAIN,
 * TQ_E_SIZE, TQ_E_STRIDE, TQ_E_POSITION (length, capacity, ring start, pages, positions beyond 2^64 or in
 * two segments, queries before position 0), TQ_E_OVERFLOW, TQ_E_OVERLAP; TQ_E_NOT_FINITE for q and sinks
 * (with the index), scale, softcap. On failure nothing is written but the workspace.
 * Cost: 4 H n T D operations, and the bytes of the segments once a head group; no allocation. */
TQ_API tq_status tq_attention(const tq_attention_params *params, const tq_segment *segments,
                              size_t n_segments, const float *q, float *out, float *lse, void *workspace,
                              size_t workspace_bytes);

/** The same, left open: for work that is split over machines, pages or kinds of cache.
 *
 * acc   [H][n][D] out: sum of exp(score - max) * v
 * max   [H][n] out: the largest score, -infinity where nothing is seen
 * sum   [H][n] out: sum of exp(score - max)
 *
 * params->sinks is not looked at: a sink belongs to the whole, and is given to the merge. TQ_E_POSITION
 * too if query_end is 0 and a causal mask or a window asks where the queries stand. */
TQ_API tq_status tq_attention_partial(const tq_attention_params *params, const tq_segment *segments,
                                      size_t n_segments, const float *q, float *acc, float *max,
                                      float *sum, void *workspace, size_t workspace_bytes);

/** Puts partial results together, in the order given.
 *
 * n_partials           how many, at least 1
 * n_heads, n_queries   H, n; head_dim D
 * acc, max, sum        [n_partials] pointers to what tq_attention_partial() wrote
 * sinks                [H], finite, or NULL
 * out                  [H][n][D] out; may be acc[0]
 * lse                  [H][n] out; NULL: not wanted
 *
 * TQ_E_NULL, TQ_E_SIZE if n_partials is 0, TQ_E_HEAD_DIM if head_dim is 0, TQ_E_OVERFLOW, TQ_E_OVERLAP,
 * TQ_E_NOT_FINITE for sinks. On failure nothing is written. */
TQ_API tq_status tq_attention_merge(size_t n_partials, size_t n_heads, size_t n_queries, size_t head_dim,
                                    const float *const *acc, const float *const *max,
                                    const float *const *sum, const float *sinks, float *out, float *lse);

#ifdef __cplusplus
}
#endif
#endif
