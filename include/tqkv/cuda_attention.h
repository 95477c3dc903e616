/* SPDX-License-Identifier: MIT
 * Attention on NVIDIA GPUs over codes in device memory: a decode step, a verification step or a chunk of
 * prefill of a batch of sequences, on the caller's stream. What tqkv/attention.h is on the CPU; of
 * libtqkv_cuda.
 *
 * An engine plans once for a kind of layer (tq_cuda_attention_plan()), which finds the kernels or has
 * them compiled, and runs for every layer and step: a run neither allocates nor synchronises, reads
 * lengths and tables on the device, and may be captured in a CUDA graph and replayed while they change.
 *
 * Letters as in attention.h: H query heads, G KV heads, D head dimension of keys, E of values, B
 * sequences, n queries of each (1: a decode step; more: verification, or a chunk of prefill), T
 * positions. Pointers are device pointers unless it says host; structs are host memory and read before
 * the call returns.
 *
 * Where a sequence's positions lie, oldest first:
 *
 * - sinks: the first S positions, in float16
 * - codes: those up to its coded length, in pages of a pool or in a ring or array of its own
 * - recent: the rest, in float16 rings; none without `recent_k`
 *
 * Feeding it: a new token's keys and values go to the recent ring as they are in float16 (the caller's
 * copy); what ages out of it is encoded from there by tq_cuda_encode(). With a ring [B][capacity][G][D]
 * all of its rows are tokens whose slots are -1 but for those that age: one captured call then serves
 * every step. A sequence's coded length is max(sinks, length - recent). Centres of stretches are learned
 * on the host (tq_learn_centre()) from the first keys of a stretch, as they are in float16, before its
 * first position is encoded. Encoding chooses them by positions[t] / L % n_centres alone: positions[t] =
 * number * L takes the centre of any number. Codes are then those of tq_cache.
 *
 * Many rows: a plan whose sequences may have many queries (max_queries over max_sequences, times H / G,
 * is 17 or more) has two kernels where it is fast, D and E are up to 256 and a block may have 163 KiB of
 * shared memory (8.0, 9.0 and later). One takes calls of few rows a KV head, eight at a time; the other
 * those of 17 rows and more, for which it decodes a tile of positions once. Everything else is by the
 * first, exact plans among it.
 *
 * Built in, for compute capability 9.0 and later: D = E of 64, 128 and 256, fast: tq4, tq8, and keys of
 * tq6 with values of tq4, these with float16 beside them too, and of many rows where these have kernels;
 * and tq4 exact, of up to four rows a KV head. Other layers are compiled when they are planned for, in
 * one to three seconds, by NVRTC (libnvrtc.so of CUDA 12 or 13, or the file that $TQKV_NVRTC names), and
 * kept in a folder.
 *
 * Accuracy, against float64 on the decoded cache: TQ_CUDA_EXACT meets the bound of attention.h. For
 * TQ_CUDA_FAST centroids, queries and weights are rounded to float16 and everything else is float32, or
 * two float16, which have its digits:
 *
 *     |out - exact| <= (2^-9 + 2^-9 S) sum over t of weight(t) |v(t)|
 *     |lse - exact| <= 2^-9 S + 2^-20 + 2^-22 |lse|
 *
 * with S as in attention.h; on normally distributed vectors it is nearer to 1e-4 of that sum. Rows
 * that see what is not finite are NaN, as there, and touch no other row. The same bits from run to run on
 * one kind of card; another number of multiprocessors, or another batch around a sequence, cuts the work
 * elsewhere and may change the last bits. */
#ifndef TQKV_CUDA_ATTENTION_H
#define TQKV_CUDA_ATTENTION_H

#include "tqkv/attention.h"
#include "tqkv/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tq_cuda_accuracy { TQ_CUDA_FAST = 0, TQ_CUDA_EXACT = 1 } tq_cuda_accuracy;

/** What is planned for. Zero-initialise, set `size` and what is wanted. */
typedef struct tq_cuda_attention_config {
    size_t size;               /**< sizeof(tq_cuda_attention_config) (TQ_E_SIZE) */
    tq_attention_config layer; /**< the layer, with its `size`; both formats are codes. max_sequences B
                                    and max_queries B n bound a run (0: 1, and one a sequence);
                                    max_positions T bounds a length; max_segments is not looked at */
    tq_cuda_accuracy accuracy;
    int dense;             /**< not 0: there may be sinks or recent positions in float16 */
    size_t centre_stretch; /**< L, if keys have centres of stretches; 0: one centre, or none */
    int any_layout;        /**< 0: rows of codes begin on multiples of 16 bytes, norms of a head lie
                                side by side from a multiple of 16 bytes on, and page_rows (or the
                                capacity) is a multiple of 16: the fast kernels. Not 0: any strides,
                                addresses and pages, slower */
    const char *cache_dir; /**< host: folder for kernels that are compiled at run time; NULL:
                                $TQKV_CUDA_CACHE, else $XDG_CACHE_HOME/tqkv, else ~/.cache/tqkv; "":
                                none, compile anew */
} tq_cuda_attention_config;

/** A planned kind of layer on a device. Used by several threads, each with a workspace of its own. */
typedef struct tq_cuda_attention tq_cuda_attention;

/** Where a plan's kernel came from. */
typedef enum tq_cuda_origin {
    TQ_CUDA_BUILT_IN = 0, /**< compiled with the library */
    TQ_CUDA_CACHED = 1,   /**< of the cache folder */
    TQ_CUDA_COMPILED = 2  /**< by NVRTC, just now */
} tq_cuda_origin;

/** A block of a kernel; one an SM. */
typedef struct tq_cuda_kernel_info {
    unsigned registers, shared_bytes, warps;
} tq_cuda_kernel_info;

typedef struct tq_cuda_attention_info {
    tq_cuda_origin origin;         /**< of that which took longest */
    double seconds;                /**< that finding or compiling took */
    size_t workspace_bytes;        /**< that any run within the plan's limits wants, a multiple of 256 */
    tq_cuda_kernel_info few, many; /**< kernels: of a decode step, and of many rows a KV head (0: none) */
    size_t many_from; /**< rows a KV head (n H / G) from which runs use the latter; 0: none do */
} tq_cuda_attention_info;

/** Checks a kind of layer and makes its kernels ready. May compile for seconds: not for a hot path.
 *
 * attention   host, out; NULL on failure. For tq_cuda_attention_free()
 * info        host, out; NULL: not wanted
 *
 * Errors of tq_attention_plan(); TQ_E_FORMAT if a side is not coded or the accuracy is none; TQ_E_DEVICE
 * (what the driver or the compiler says; no NVRTC where it is needed; a card with too little shared
 * memory); TQ_E_NO_MEMORY. A cache folder that cannot be written to is no error: the kernel is compiled
 * again next time. */
TQ_API tq_status tq_cuda_attention_plan(tq_cuda *cuda, const tq_cuda_attention_config *config,
                                        tq_cuda_attention **attention, tq_cuda_attention_info *info);

/** Nothing may be under way that uses it. NULL: nothing to do. */
TQ_API void tq_cuda_attention_free(tq_cuda_attention *attention);

/** Float16 vectors of some sequences, [rows][G][capacity][D]: the capacity is n_sinks of sinks, and
 * recent_capacity of recent ones. Strides in elements, multiples of 8, 0: side by side; data on a
 * multiple of 16 bytes. */
typedef struct tq_cuda_dense {
    const uint16_t *data; /**< NULL: none */
    size_t n;             /**< elements there */
    size_t row_stride;    /**< from a position to the next */
    size_t head_stride, sequence_stride;
} tq_cuda_dense;

/** A step of B sequences. Zero-initialise, set `size` and what is wanted. */
typedef struct tq_cuda_attention_batch {
    size_t size;        /**< sizeof(tq_cuda_attention_batch) (TQ_E_SIZE) */
    size_t n_sequences; /**< B; 0: nothing to do */
    size_t n_queries;   /**< n of each; 0: 1. Query i stands at position length - n + i; before position 0
                             it sees nothing. Sequences with fewer have theirs last */

    const tq_view *k, *v; /**< host: codes in device memory, with page_rows (positions of a page; 0:
                               capacity), strides and pool_pages; ring_start, pages and blocks are
                               not looked at. k->centre, n_centres, centre_stretch as there: one
                               centre serves all, those of stretches go through centre_tables */
    const int32_t *block_tables; /**< [B] rows of table_stride page numbers. NULL: sequence b lies in page
                                      b, a ring once it is longer than page_rows */
    size_t table_stride;         /**< entries of a row, enough for each length, which is not checked */
    uint64_t code_first;         /**< position of slot 0. What lies below it is sinks, or is not there: a
                                      later part of a sequence has no sinks and begins here; an earlier one
                                      ends by `lengths`, and then wants n = 1 and neither window nor
                                      slopes, since queries stand at the end of what is given */
    const int32_t *lengths;      /**< [B] positions, newest query included; 0: rows see nothing. Not more
                                      than max_positions: longer ones are cut to it */
    const int32_t *coded_lengths; /**< [B] positions from here on lie in `recent`, whose capacity must be
                                       enough for them, which is not checked. NULL: none do (TQ_E_NULL
                                     with recent_k) */
    const int32_t *centre_tables; /**< [B] rows of centre_table_stride numbers of centres, one
                                     for each stretch of positions from 0 on, enough for each coded
                                     length, which is not checked */
    size_t centre_table_stride;

    size_t n_sinks;                                   /**< S positions of each in sink_k and sink_v */
    size_t recent_capacity;                           /**< position p lies at row p % recent_capacity */
    tq_cuda_dense sink_k, sink_v, recent_k, recent_v; /**< in the layer's domain, no centre taken off */
    const int32_t *dense_rows;                        /**< [B]: sequence b's in these arrays; NULL: b */
    size_t n_dense_rows;                              /**< sequences that they hold; 0: B */

    const void *q; /**< [B][n][H][D] of q_type; strides in elements, 0: side by side */
    size_t n_q, q_token_stride, q_head_stride;
    void *out; /**< [B][n][H][E] of out_type; with `sum` float32, left open, as in attention.h */
    size_t n_out, out_token_stride, out_head_stride;
    float *lse;       /**< [B][n][H]; NULL: not wanted */
    float *max, *sum; /**< [B][n][H]; both or neither. `max` is what `sum` and `out` are relative to,
                           a logarithm near the largest score, -infinity where nothing is seen */
    size_t n_lse;     /**< elements of lse, max and sum each */
    int base2;        /**< not 0: lse and max are logarithms to base 2, as FlashInfer has them */
    const float *sinks, *slopes; /**< [H], device: extra logits; ALiBi */
    const uint64_t *tree; /**< [B][n][(n_tree + 63) / 64], device: as in attention.h, of the last n_tree
                               positions of each sequence; NULL: none */
    size_t n_tree;
} tq_cuda_attention_batch;

/** Bytes of workspace that this batch wants: what the plan says, or less. */
TQ_API tq_status tq_cuda_attention_workspace(const tq_cuda_attention *attention,
                                             const tq_cuda_attention_batch *batch, size_t *bytes);

/** Enqueues a step.
 *
 * workspace   device, aligned to 256, workspace_bytes of it (TQ_E_SIZE); nothing stays in it
 *
 * TQ_E_NULL, TQ_E_SIZE (batch, arrays, limits of the plan), TQ_E_FORMAT, TQ_E_HEAD_DIM (views),
 * TQ_E_STRIDE (also: a layout that the plan's kernel does not read; plan with any_layout),
 * TQ_E_POSITION (centres, capacities), TQ_E_MASK, TQ_E_OVERFLOW; TQ_E_DEVICE with the driver's words. On
 * failure nothing is enqueued. What lies on the device is not checked: page and centre numbers outside
 * the pool are the caller's to avoid. */
TQ_API tq_status tq_cuda_attention_run(const tq_cuda_attention *attention,
                                       const tq_cuda_attention_batch *batch, void *workspace,
                                       size_t workspace_bytes, void *stream);

/** Puts partial results together, as tq_attention_merge() does: arrays of pointers are host memory, at
 * most 64 (TQ_E_SIZE), what they point to is on the device: acc [rows][E] float32, max and sum [rows],
 * natural or, with base2, of base 2; row r is of head r % n_heads. sinks [n_heads]; out of `out_type`. */
TQ_API tq_status tq_cuda_attention_merge(tq_cuda *cuda, size_t n_partials, size_t n_rows, size_t n_heads,
                                         size_t head_dim, const float *const *acc,
                                         const float *const *max, const float *const *sum,
                                         const float *sinks, int base2, tq_type out_type, void *out,
                                         float *lse, void *stream);

#ifdef __cplusplus
}
#endif
#endif
