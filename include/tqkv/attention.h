/* SPDX-License-Identifier: MIT
 * Attention of queries over cached keys and values, read as they lie: codes of any format or dense
 * vectors, contiguous, in rings, pages or blocks.
 *
 * Letters: H query heads, G KV heads (H % G == 0; query head h reads KV head h / (H/G)), D head dimension
 * of keys and queries, E that of values and outputs, n queries of a sequence, N of a run, T positions.
 *
 * An engine plans once for a kind of layer (tq_attention_plan()) and runs for every layer and step, all
 * sequences in one call (tq_attention_run()). tq_attention() is both for one sequence, for tools and
 * tests; tq_cache_attend() (cache.h) the same on a cache. Every sequence gives the same bits alone, in
 * any batch, wherever its rows lie (an array, a ring, pages, blocks), on any number of threads and on
 * every level of instruction sets (cpu.h); lse alone takes a logarithm from libm, and may differ in its
 * last bit from one libm to another.
 *
 * Accuracy class: bounded, against float64 on the decoded cache, where products are formed in float32:
 * all but those with codes that tq_arithmetic has in integers. For a row that sees T positions let
 * S = |scale| |q| max(|k| + 2 |c|), the largest score that lengths allow (|x| the Euclidean length, k the
 * keys it sees, c their centre, if any), and E = 2^-24 (min(T, 512) + T/16 + 16 + (D/16 + 24) S).
 * Then
 *
 *     |out - exact| <= 2 E sum over t of weight(t) |v(t)|
 *     |lse - exact| <= E + 2^-24 |lse|
 *
 * as far as nothing underflows: a weight below 1e-37 of the largest counts as 0, and products below 1e-38
 * lose digits. With ALiBi S has the largest slope times distance added; outputs in float16 or bfloat16
 * are rounded once more. Rounding errors seldom add up: on normally distributed vectors with scores of a
 * few units the error is about 1e-6 of that sum. Scores are rounded in proportion to S, and weights with
 * them: no float32 arithmetic has a bound without S.
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

/** How products of queries and weights with codes are formed; either way results do not depend on the
 * machine. The default goes by format and heads alone, not by the machine or by how many queries are
 * asked at once, and for keys and values apart: it is integers where a decode step takes less time with
 * them, both on AVX2 and on processors with the dot product of bytes (docs/performance.md). These are
 * keys of 2 to 6 bits and values of 2 to 4 (1.4 to 2.8 times as fast), and the others where H/G is at
 * most 8 (1.0 to 1.6 times). Float is faster for many queries on keys of 7 and 8 bits and values of 5 to
 * 8 on AVX2 (1.0 to 1.5 times), and on AVX-512 without VNNI.
 *
 * Integers have no bound but beside the format's own error: the square of what they change in an output
 * is below 1 % of the square of that, on Gaussian keys and values with scores of deviation 1, 3 and 9
 * (0.7 % seen with tq4, 0.2 % with others) and on a language model's (0.6 % and 0.2 %, in the worst head
 * 0.9 % and 0.4 %; docs/performance.md has the table). Whether the two add up or cancel is chance: in all
 * heads of a layer together the error became 0.3 % smaller to 0.5 % larger. Attention much sharper than
 * that, or queries that lie along a few axes of the rotated domain, have more (4 % and 12 % seen with
 * tq4). The sums of products are exact, so that they are the same on every instruction set. */
typedef enum tq_arithmetic {
    TQ_ARITHMETIC_DEFAULT = 0, /**< integer or float by format and H/G, as above */
    TQ_ARITHMETIC_FLOAT = 1,   /**< float32, bounded as above */
    TQ_ARITHMETIC_INTEGER = 2, /**< whole numbers of 8, 11 or twice 7 bits, of codes in v2 formats; all
                                  else is as in float32: dense vectors, v1 formats, masks, the softmax */
} tq_arithmetic;

/** What a kind of layer computes, and the most that a run may have of it. Zero-initialise, set `size`,
 * and set what is wanted: a zero is what a language model's step does, or an error. */
typedef struct tq_attention_config {
    size_t size;         /**< sizeof(tq_attention_config) (TQ_E_SIZE) */
    uint32_t n_heads;    /**< H */
    uint32_t n_kv_heads; /**< G */
    uint32_t head_dim;   /**< D: a multiple of 16 from 32 to 1024 */
    uint32_t v_head_dim; /**< E; 0: D */
    tq_format k_format;  /**< of the keys that are codes; 0: all of them are dense */
    tq_format v_format;  /**< of the values that are codes; 0: all of them are dense */
    tq_type q_type;      /**< of queries */
    tq_type out_type;    /**< of outputs; float16 cannot hold what is beyond 65504: it becomes infinite */
    tq_domain domain;    /**< of queries and outputs. TQ_ORIGINAL: as the model has them; rotation is done
                              inside. TQ_ROTATED: queries come rotated and outputs are left so, on codes
                              and on dense views that are said to be rotated */
    float scale;         /**< scores are multiplied by it; finite and not 0 (TQ_E_SCALE) */
    float softcap;       /**< then cap * tanh(score / cap); 0: off; not negative (TQ_E_NOT_FINITE) */
    int bidirectional;   /**< 0: a query sees positions up to its own (causal); not 0: later ones too */
    uint64_t window;     /**< and none older than the last `window` up to its own; 0: all */
    uint64_t sink_positions; /**< so many first positions are seen whatever the window (StreamingLLM) */
    size_t max_sequences;    /**< of a run; 0: 1 */
    size_t max_queries;      /**< N, of all its sequences together; 0: one a sequence */
    size_t max_positions;    /**< T of a sequence, at least 1: as many as its segments hold together. Of a
                                  ring that is its sinks and capacity, however long the sequence is */
    size_t max_segments;     /**< of a sequence; 0: 3, what a cache has */
    tq_arithmetic arithmetic; /**< of products with codes (TQ_E_FORMAT); 0: the default */
} tq_attention_config;

/** What tq_attention_plan() makes of it. Nothing is owned: it may be copied, shared by threads, and
 * dropped. It does not depend on the machine or on the instruction set. */
typedef struct tq_attention_kind {
    uint64_t opaque[24];
} tq_attention_kind;

/** Checks a kind of layer and says what a run of it needs at most; once for all of its layers and steps.
 *
 * config            see above
 * kind              out
 * workspace_bytes   out: bytes of workspace that any run within the limits wants, a multiple of 64; known
 *                   before a token is there. Fewer of anything never want more. Nothing stays in it
 *                   between runs: kinds and layers that take turns may share one, of the largest size
 *
 * TQ_E_NULL, TQ_E_SIZE (size, max_positions), TQ_E_UNSUPPORTED (tqkv.h), TQ_E_HEADS, TQ_E_HEAD_DIM,
 * TQ_E_FORMAT (formats, types), TQ_E_SCALE, TQ_E_NOT_FINITE, TQ_E_DOMAIN, TQ_E_OVERFLOW; outputs
 * untouched on failure. */
TQ_API tq_status tq_attention_plan(const tq_attention_config *config, tq_attention_kind *kind,
                                   size_t *workspace_bytes);

/** A sequence of a run: what it holds, and its queries. Zero-initialise and set what is wanted. */
typedef struct tq_sequence {
    const tq_segment *segments; /**< [n_segments], in any order, their positions apart; all encoded keys
                                     have one rotation (v1 or v2), and so have all encoded values */
    size_t n_segments;
    size_t n_queries;   /**< n; 0: nothing to do for this one, or, with cu_seqlens, what that says */
    uint64_t query_end; /**< absolute position behind the last query: query i stands at query_end - n + i.
                             0: the segments' end, so that the queries are the newest n positions, which
                             must have been appended. A part of the positions does not tell: with max and
                             sum, a mask, a window or slopes want the number (TQ_E_POSITION) */
    uint64_t kept_first;  /**< of the positions below kept_from only so many first ones are there, the
                             others are gone: queries that would see them are refused (TQ_E_POSITION). */
    uint64_t kept_from;   /**< 0: nothing is gone. tq_cache_sequence() sets both */
    const uint64_t *tree; /**< speculative decoding: bit j of row i, [n][(n_tree + 63) / 64], says whether
                               query i sees position query_end - n_tree + j, alone: its own counts too.
                               A window does not touch the tree's
                               positions, which must all be there (TQ_E_POSITION); the others it takes
                               from the query's position, not from its depth.
                               NULL: none. Not for bidirectional kinds, and not with slopes: distances
                               would not be those of the tree (TQ_E_MASK) */
    size_t n_tree;        /**< last positions that the tree's bits stand for, at least 1 with a tree */
} tq_sequence;

/** A run: many sequences, their queries and outputs. Zero-initialise, set `size`, and set what is wanted.
 *
 * Strides are in elements, of tokens (queries of all sequences, one after the other) and of heads; 0:
 * side by side, [N][H][..]. */
typedef struct tq_attention_batch {
    size_t size;                  /**< sizeof(tq_attention_batch) (TQ_E_SIZE) */
    size_t n_sequences;           /**< 0: nothing to do */
    const tq_sequence *sequences; /**< [n_sequences]; NULL: the pool's, below */
    const int32_t *cu_seqlens;    /**< [n_sequences + 1] queries of sequence i are tokens cu_seqlens[i] to
                                       cu_seqlens[i + 1] - 1; the first is 0; n_queries of a sequence
                                       is 0 or agrees (TQ_E_SIZE). NULL: n_queries of each, and 1 of
                                       those that are block tables */

    /** Sequences that are block tables of one pool, as engines have them: [n_sequences] rows of
     * table_stride entries. Positions are counted from 0. NULL unless `sequences` is. */
    const tq_segment *pool; /**< views of the pool with page_rows, page_stride and pool_pages, such as
                                 tq_view_paged() makes without a table; pages, n_pages, capacity, length
                                 and first_position are not looked at */
    const int32_t *block_tables;
    size_t table_stride;          /**< entries of a row, enough for each length (TQ_E_POSITION);
                                       those behind it are not looked at */
    const int32_t *lengths;       /**< [n_sequences] positions; the queries are the newest of them */
    const int32_t *centre_tables; /**< keys with a centre per stretch: [n_sequences] rows of
                                       centre_table_stride entries, number j the centre of stretch j among
                                       the pool's; with centre_stretch 0 one entry a sequence. NULL: the
                                       pool's keys have one centre, or none. What a cache keeps in float16
                                       (sinks, recent positions, a stretch whose centre is not known) is
                                       no page of codes: give such sequences as segments with pages */
    size_t centre_table_stride;

    const void *q; /**< [N][H][D] of the kind's q_type, finite */
    size_t n_q;    /**< elements there, and so below */
    size_t q_token_stride, q_head_stride;
    void *out; /**< [N][H][E] of the kind's out_type, out; must not overlap anything else. With `sum`,
                  which wants float32: sum over t of exp(score - max) * v */
    size_t n_out;
    size_t out_token_stride, out_head_stride;
    float *lse; /**< [N][H] out: natural logarithm of the sum of exp(score), sinks included; NULL: not
                     wanted. Rows that see no key give zeros in out, and their sink here, -infinity
                     without one */
    size_t n_lse;
    size_t lse_token_stride, lse_head_stride;
    float *max,
        *sum; /**< [N][H] out, as lse lies: the largest score, -infinity where nothing is seen, and
                   the sum of exp(score - max). Both or neither (TQ_E_NULL): with them the result
                   is left open for tq_attention_merge(), lse is NULL and sinks are given there */
    const float *sinks;  /**< [H] extra logits that take weight and give no value, finite; NULL: none */
    const float *slopes; /**< [H] ALiBi: slope times the distance of query and key is taken from a score,
                              after the softcap; finite; NULL: none */
    const tq_parallel *parallel; /**< NULL: the calling thread alone */
} tq_attention_batch;

/** Attention of all sequences of a batch. Plans nothing: everything follows from the kind and the
 * lengths.
 *
 * kind        of tq_attention_plan()
 * batch       see above; within the kind's limits (TQ_E_SIZE with the limit as field)
 * workspace   workspace_bytes bytes, aligned to 64 (TQ_E_SIZE): what tq_attention_plan() said, or less if
 *             it is enough for this batch
 *
 * TQ_E_NULL, TQ_E_UNSUPPORTED (tqkv.h), TQ_E_HEAD_DIM, TQ_E_FORMAT (views, other codes than planned),
 * TQ_E_SCALE_FACTOR, TQ_E_DOMAIN, TQ_E_SIZE, TQ_E_STRIDE, TQ_E_POSITION (length, capacity, ring start,
 * pages, positions beyond 2^64 or in two segments, queries before position 0 or on what is gone),
 * TQ_E_MASK (tree), TQ_E_OVERFLOW, TQ_E_OVERLAP; TQ_E_NOT_FINITE for q, sinks and slopes, with the index.
 * On failure nothing is written but the workspace. Cost: 2 H n T (D + E) operations a sequence, and the
 * bytes of its segments once for 32 rows that share a KV head; no allocation. */
TQ_API tq_status tq_attention_run(const tq_attention_kind *kind, const tq_attention_batch *batch,
                                  void *workspace, size_t workspace_bytes);

/** One sequence, planned and run in one. Zero-initialise and set what is wanted; what is not said here is
 * as in tq_attention_config, tq_sequence and tq_attention_batch. */
typedef struct tq_attention_params {
    size_t size; /**< sizeof(tq_attention_params) (TQ_E_SIZE) */
    uint32_t n_heads, n_kv_heads, head_dim, v_head_dim;
    size_t n_queries; /**< n, per head; at least 1 (TQ_E_SIZE) */
    uint64_t query_end;
    float scale, softcap;
    int bidirectional;
    uint64_t window, sink_positions;
    const float *sinks, *slopes;
    tq_domain domain;
    const tq_parallel *parallel;
    tq_arithmetic arithmetic;
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
 * segments    [n_segments], as in tq_sequence; codes may be of several formats
 * q           [H][n][D] float32, finite; n_q floats
 * out         [H][n][E] float32 out; must not overlap anything else; n_out floats
 * lse         [H][n], as in tq_attention_batch; n_lse floats; NULL: not wanted
 * workspace   workspace_bytes bytes, at least what tq_attention_workspace() says, aligned to 64
 * (TQ_E_SIZE)
 *
 * Errors are those of tq_attention_plan() and tq_attention_run(). On failure nothing is written but the
 * workspace. */
TQ_API tq_status tq_attention(const tq_attention_params *params, const tq_segment *segments,
                              size_t n_segments, const float *q, size_t n_q, float *out, size_t n_out,
                              float *lse, size_t n_lse, void *workspace, size_t workspace_bytes);

/** The same, left open: for work that is split over machines, pages or kinds of cache.
 *
 * acc   [H][n][E] out: sum of exp(score - max) * v; n_acc floats
 * max   [H][n] out: the largest score, -infinity where nothing is seen; n_sum floats, as sum
 * sum   [H][n] out: sum of exp(score - max)
 *
 * params->sinks is not looked at: a sink belongs to the whole, and is given to the merge. TQ_E_POSITION
 * too if query_end is 0 and a causal mask, a window or slopes ask where the queries stand. */
TQ_API tq_status tq_attention_partial(const tq_attention_params *params, const tq_segment *segments,
                                      size_t n_segments, const float *q, size_t n_q, float *acc,
                                      size_t n_acc, float *max, float *sum, size_t n_sum, void *workspace,
                                      size_t workspace_bytes);

/** Puts partial results together, in the order given.
 *
 * n_partials           how many, at least 1
 * n_heads, n_queries   H, n; head_dim E. What tq_attention_run() leaves open wants strides of [H][n] then
 * acc, max, sum        [n_partials] pointers to what tq_attention_partial() wrote
 * sinks                [H], finite, or NULL
 * out                  [H][n][E] out; may be acc[0]
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
