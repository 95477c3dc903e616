/* SPDX-License-Identifier: MIT
 * What the host hands to the kernels of attention: plain numbers and device pointers, checked before. C,
 * CUDA, and part of the text that NVRTC compiles. */
#ifndef TQ_CUDA_ATTEND_H
#define TQ_CUDA_ATTEND_H

#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
#else
#include <stdint.h>
#endif

/* Columns of a product: query rows of a KV head that are worked on together, and positions of a tile. */
enum { TQ_ATTEND_COLUMNS = 8, TQ_ATTEND_TILE = 16 };

/* Calls of so many rows a KV head and more go to the kernels of attend/prefill.cuh; planned for more than
 * two warps' rows, to those whose warps share tiles. A warp's rows are as many as leave registers for the
 * sums of their values. */
#ifndef TQ_PREFILL_FROM
#define TQ_PREFILL_FROM 17
#endif
enum { TQ_PREFILL_WARPS = 8, TQ_PREFILL_MOST_DIM = 256, TQ_PREFILL_KIB = 163 };
#define TQ_PREFILL_WARP_ROWS(k_dim, v_dim) ((k_dim) > 128 || (v_dim) > 128 ? 16 : 32)

/* How queries, centroids and weights are rounded. The exact ones have two float16 a number: of up to four
 * rows in the columns that are free, of more by a second product. */
enum { TQ_ATTEND_FAST, TQ_ATTEND_EXACT_FEW, TQ_ATTEND_EXACT };

/* Layers whose kernel is tq_attend_beside(), on cards of 227 KiB: a block's threads by head dimension,
 * and as many registers for each as leave some of a multiprocessor's for the kernels before, beside and
 * after it. 0: none. Not those that would spill many: from 65 to 128 dimensions keys or values of 7 bits,
 * and exact ones of more than 4; nor those of more dimensions, which gain nothing. */
#define TQ_ATTEND_BESIDE_THREADS(k_dim, v_dim) ((k_dim) > 64 || (v_dim) > 64 ? 384 : 512)
#define TQ_ATTEND_BESIDE_REGISTERS(k_dim, v_dim, k_format, v_format, accuracy, kib)                      \
    ((kib) != 227 || (k_dim) > 128 || (v_dim) > 128                                          ? 0         \
     : (k_dim) <= 64 && (v_dim) <= 64                                                        ? 112       \
     : (accuracy) == TQ_ATTEND_FAST && ((k_format)&0xff) != 7 && ((v_format)&0xff) != 7      ? 144       \
     : (accuracy) == TQ_ATTEND_EXACT_FEW && ((k_format)&0xff) <= 4 && ((v_format)&0xff) <= 4 ? 152       \
                                                                                             : 0)

/* Stretches of a piece whose products with centres lie in shared memory. */
enum { TQ_ATTEND_BIAS_ROWS = 512 };

/* Codes of keys or of values: bytes and byte strides. */
typedef struct tq_attend_codes {
    const uint8_t *data, *norms;
    uint32_t row, head, page;
    uint32_t norm_row, norm_head, norm_page;
    const uint32_t *table; /* 256 entries of four words: fast, fast, exact, exact */
    uint32_t unit;         /* bytes that rows of any layout are copied by: 16, 4 or 1 */
} tq_attend_codes;

/* Float16 vectors of sequences: strides in elements. */
typedef struct tq_attend_dense {
    const uint16_t *k, *v; /* NULL: there are none */
    uint64_t k_row, k_head, k_sequence;
    uint64_t v_row, v_head, v_sequence;
} tq_attend_dense;

/* What is to be done of a sequence. Tiles of codes are numbered from slot 0; of those that are seen
 * number j is tile j + base, of the first `head` ones, and tile j + skip of the others. Position j of
 * those in float16 is j of the sinks, then recent_from on. */
typedef struct tq_attend_sequence {
    uint32_t codes, head, base, skip; /* tiles */
    uint32_t dense, sinks;            /* positions in float16, and those of sinks among them */
    uint32_t length;                  /* positions */
    uint32_t codes_from, codes_to;    /* positions that are codes, and are there */
    uint32_t recent_from;             /* positions from here on are recent */
    uint32_t seen_from; /* of tiles behind the first `head`, the first position that is seen */
} tq_attend_sequence;

/* Partial results of an item's float16, at most. */
enum { TQ_ATTEND_DENSE_PARTS = 4 };

/* The work is a line: for each sequence, KV head and block of rows, an item, its tiles. Where sequence b
 * begins is starts[b]; [sequences] is the end. It is cut evenly, or, where items are few and alike, each
 * of them for itself into `split` parts; the first `rest` parts have one more than `each`. */
typedef struct tq_attend_cut {
    uint32_t blocks; /* that work */
    uint32_t each, rest;
    uint32_t split; /* 0: the whole line */
} tq_attend_cut;

typedef struct tq_attend_args {
    tq_attend_codes k, v;
    const int32_t *tables; /* NULL: sequence b lies in page b */
    uint32_t table_stride, page_rows;
    int32_t page_shift;  /* of tiles in a page; negative: not a power of two */
    uint32_t code_first; /* position of slot 0 */
    tq_attend_dense sink, recent;
    const int32_t *dense_rows;
    uint32_t n_sinks, recent_capacity;

    const int32_t *lengths, *coded_lengths;
    uint32_t max_length;
    uint32_t sequences, kv_heads, group, queries; /* group: query heads of a KV head */
    uint32_t rows, row_blocks;                    /* group times queries; blocks of columns */
    uint32_t columns; /* rows that lie together in operands, bias and partial results; no less than 8 */
    uint32_t dense_columns, dense_blocks; /* rows of a block of float16, and such blocks */

    float softcap;                           /* 0: none; then scores come without log2(e) */
    const float *slopes;                     /* times log2(e) is taken inside */
    uint32_t causal, window, sink_positions; /* window 0: none */
    const uint64_t *tree;
    uint32_t n_tree, tree_words;

    const float *bias; /* [items][stretches][columns]: products with centres; NULL: none */
    uint32_t stretches, stretch;
    int32_t stretch_shift; /* negative: not a power of two */
    uint32_t stretch_factor,
        stretch_by; /* p / stretch is the product's upper half shifted: of 2 and more */

    /* workspace */
    const tq_attend_cut *cut; /* with starts and plan: of more sequences than a warp has lanes */
    const uint32_t *starts;
    const tq_attend_sequence *plan;
    const uint32_t *operands; /* [items] products' operands, then columns floats of scale */
    uint32_t operand_words;   /* of an item */
    /* Partial results: [columns][E] sums, [columns] references of the weights, [columns] their sums.
     * Of codes item i and block b have number i + b; of float16 each item of its own, of
     * TQ_ATTEND_COLUMNS, has TQ_ATTEND_DENSE_PARTS. */
    float *partial, *dense_partial;
    float value_scale; /* of sums of codes */
} tq_attend_args;

#endif
