/* SPDX-License-Identifier: MIT
 * Attention on packed codes, on vectors of 16 lanes: a code's centroid goes from the lookup straight into
 * the products of all queries that share its head, and is never written anywhere. With many rows of
 * queries a tile is decoded once instead. */
#include <assert.h>

#include "kernels/attend/fetch_vec.h"
#include "kernels/dequantize/look_up_vec.h"
#include "kernels/kernels.h"

enum {
    CODES_KEYS = 8,    /* keys at once, at most: their codes lie in registers */
    CODES_ROWS = 8,    /* most rows: looking up again for every so many costs more than a tile */
    CODES_TILE = 4096, /* values of a tile: half of a first-level cache of 32 KiB */
    CODES_STEP = 16    /* rows that are gone over block by block: memory comes nearly in order */
};

V_INLINE vf next_centroids(const book_levels *l, const unsigned bits, block_in *b) {
    const vf c = look_up(l, bits, false, false, b);
    block_next(b, bits, false);
    return c;
}

/* A block of one key, and every query. */
V_INLINE void score_key(const book_levels *l, const unsigned bits, const unsigned q, const unsigned n,
                        unsigned group, size_t dim, const float *query, block_in b, vf *acc) {
    V_UNROLL_TWICE
    for (unsigned k = 0; k < group; k++, query += TQ_LANES) {
        const vf c = next_centroids(l, bits, &b);
        V_FOR (r, q)
            acc[r * n] = v_fma(v_load(query + r * dim), c, acc[r * n]);
    }
}
/* A block of every key, and a vector of one query after the other. */
V_INLINE void score_queries(const book_levels *l, const unsigned bits, const unsigned q, const unsigned n,
                            unsigned group, size_t dim, const float *query, block_in *b, vf *acc) {
    /* twice: 20 % with eight rows */
    V_UNROLL_TWICE
    for (unsigned k = 0; k < group; k++, query += TQ_LANES) {
        vf c[CODES_KEYS];
        V_FOR (t, n)
            c[t] = next_centroids(l, bits, &b[t]);
        V_FOR (r, q) {
            const vf x = v_load(query + r * dim);
            V_FOR (t, n)
                acc[r * n + t] = v_fma(x, c[t], acc[r * n + t]);
        }
    }
}

/* `q` queries times `n` rows of codes. Whatever there is less of stays in registers: with few queries one
 * key's codes at a time: attention of one query then takes 6 to 21 % less time with AVX2. */
V_INLINE void score_codes_block(const book_levels *l, const unsigned bits, const unsigned q,
                                const unsigned n, unsigned group, size_t dim, const float *queries,
                                tq_code_rows packed, float *scores, size_t n_stride) {
    vf acc[V_BLOCK];
    planes p[CODES_KEYS];
    V_FOR (i, V_BLOCK)
        acc[i] = v_set(0.0f);
    V_FOR (t, n)
        p[t] = planes_of(bits, false, group, dim, (uint8_t *)(uintptr_t)tq_row_at(packed, t));
    for (size_t vector = 0; vector < dim / TQ_LANES; vector += group) {
        const float *query = queries + vector * TQ_LANES;
        block_in b[CODES_KEYS];
        V_UNROLL_AROUND
        for (unsigned t = 0; t < n; t++) {
            b[t] = block_load(&p[t], bits, false, vector);
            fetch_ahead(packed, t, CODES_NEAR, vector * 2 * bits, 16 * bits);
            if (q < n) score_key(l, bits, q, n, group, dim, query, b[t], acc + t);
        }
        if (q >= n) score_queries(l, bits, q, n, group, dim, query, b, acc);
    }
    float sums[V_BLOCK];
    v_fold_block(acc, sums);
    V_FOR (r, q)
        V_FOR (t, n)
            scores[r * n_stride + t] = sums[r * n + t];
}

/* Where the block at t starts: the last of n keys, no fewer than a block, overlaps the one before. */
V_INLINE size_t block_start(size_t t, size_t block, size_t n) {
    return n - t < block ? n - block : t;
}

V_INLINE void score_codes_rows(const book_levels *l, const unsigned bits, const unsigned q,
                               unsigned group, size_t dim, const float *queries, size_t n,
                               tq_code_rows packed, float *scores, size_t n_stride) {
    const unsigned block = V_BLOCK / q < CODES_KEYS ? V_BLOCK / q : CODES_KEYS;
    for (size_t t = 0; t < n; t += block) {
        const size_t at = block_start(t, block, n);
        score_codes_block(l, bits, q, block, group, dim, queries, tq_rows_from(packed, at), scores + at,
                          n_stride);
    }
}

/* The codes' vectors `skip` to `skip` + v of a block, for `q` rows of acc, over n rows of codes. */
V_INLINE void accumulate_codes_block(const book_levels *l, const unsigned bits, const unsigned q,
                                     const unsigned v, const unsigned group, size_t dim, size_t vector,
                                     unsigned skip, const float *weights, size_t n_stride, size_t n,
                                     tq_code_rows packed, float *acc, size_t acc_stride) {
    vf sum[V_BLOCK];
    float *const to = acc + (vector + skip) * TQ_LANES;
    V_FOR (r, q)
        V_FOR (i, v)
            sum[r * v + i] = v_load(to + r * acc_stride + i * TQ_LANES);
    /* twice: 8 % with two rows */
    V_UNROLL_TWICE
    for (size_t t = 0; t < n; t++) {
        const planes p = planes_of(bits, false, group, dim, (uint8_t *)(uintptr_t)tq_row_at(packed, t));
        block_in b = block_load(&p, bits, false, vector);
        if (skip == 0) fetch_ahead(packed, t, CODES_NEAR, vector * 2 * bits, 16 * bits);
        if (skip > 0) block_skip(&b, bits, skip);
        vf w[V_BLOCK];
        V_FOR (r, q)
            w[r] = v_set(weights[r * n_stride + t]);
        V_FOR (i, v) {
            const vf c = next_centroids(l, bits, &b);
            V_FOR (r, q)
                sum[r * v + i] = v_fma(w[r], c, sum[r * v + i]);
        }
    }
    V_FOR (r, q)
        V_FOR (i, v)
            v_store(to + r * acc_stride + i * TQ_LANES, sum[r * v + i]);
}

/* v divides the block. */
V_INLINE void accumulate_codes_rows(const book_levels *l, const unsigned bits, const unsigned q,
                                    const unsigned v, const unsigned group, size_t dim,
                                    const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                                    float *acc, size_t acc_stride) {
    for (size_t t = 0; t < n; t += CODES_STEP)
        for (size_t vector = 0; vector < dim / TQ_LANES; vector += group)
            for (unsigned skip = 0; skip < group; skip += v)
                accumulate_codes_block(l, bits, q, v, group, dim, vector, skip, weights + t, n_stride,
                                       n - t < CODES_STEP ? n - t : CODES_STEP, tq_rows_from(packed, t),
                                       acc, acc_stride);
}

#ifdef V_OCTETS
/* 8 bits, a byte a code, where 64 are looked up at once. Codes are put in order rather than queries:
 * lanes then sum what they sum with a tile, and a score does not depend on the number of rows. */
V_INLINE void score_octets_block(const v_octet_table *table, const unsigned q, const unsigned n,
                                 size_t dim, const float *queries, tq_code_rows packed, float *scores,
                                 size_t n_stride) {
    vf acc[V_BLOCK];
    V_FOR (i, V_BLOCK)
        acc[i] = v_set(0.0f);
    for (size_t i = 0; i < dim; i += V_OCTETS)
        V_FOR (t, n) {
            vf c[V_OCTETS / TQ_LANES];
            fetch_ahead(packed, t, CODES_NEAR, i, V_OCTETS);
            v_octets_look_up(table, false, v_octets_load_transposed(tq_row_at(packed, t) + i), c);
            V_FOR (k, V_OCTETS / TQ_LANES)
                V_FOR (r, q)
                    acc[r * n + t] =
                        v_fma(v_load(queries + r * dim + i + k * TQ_LANES), c[k], acc[r * n + t]);
        }
    float sums[V_BLOCK];
    v_fold_block(acc, sums);
    V_FOR (r, q)
        V_FOR (t, n)
            scores[r * n_stride + t] = sums[r * n + t];
}

V_INLINE void score_octets_rows(const v_octet_table *table, const unsigned q, size_t dim,
                                const float *queries, size_t n, tq_code_rows packed, float *scores,
                                size_t n_stride) {
    const unsigned block = 8 / q; /* beside a table of eight registers */
    for (size_t t = 0; t < n; t += block) {
        const size_t at = block_start(t, block, n);
        score_octets_block(table, q, block, dim, queries, tq_rows_from(packed, at), scores + at,
                           n_stride);
    }
}

/* 64 coordinates, from `at` on, of `q` rows of acc, over n rows of codes. */
V_INLINE void accumulate_octets_block(const v_octet_table *table, const unsigned q, const float *weights,
                                      size_t n_stride, size_t n, tq_code_rows packed, size_t at,
                                      float *acc, size_t acc_stride) {
    enum { VECTORS = V_OCTETS / TQ_LANES };
    vf sum[4 * VECTORS];
    V_FOR (r, q) {
        V_FOR (k, VECTORS)
            sum[r * VECTORS + k] = v_load(acc + r * acc_stride + k * TQ_LANES);
        v_octets_order(sum + r * VECTORS);
    }
    for (size_t t = 0; t < n; t++) {
        vf c[VECTORS];
        fetch_ahead(packed, t, CODES_NEAR, at, V_OCTETS);
        v_octets_look_up(table, false, v_octets_load(tq_row_at(packed, t) + at), c);
        V_FOR (r, q) {
            const vf w = v_set(weights[r * n_stride + t]);
            V_FOR (k, VECTORS)
                sum[r * VECTORS + k] = v_fma(w, c[k], sum[r * VECTORS + k]);
        }
    }
    V_FOR (r, q) {
        v_octets_order(sum + r * VECTORS);
        V_FOR (k, VECTORS)
            v_store(acc + r * acc_stride + k * TQ_LANES, sum[r * VECTORS + k]);
    }
}

V_INLINE void accumulate_octets_rows(const v_octet_table *table, const unsigned q, size_t dim,
                                     const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                                     float *acc, size_t acc_stride) {
    for (size_t t = 0; t < n; t += CODES_STEP)
        for (size_t j = 0; j < dim; j += V_OCTETS)
            accumulate_octets_block(table, q, weights + t, n_stride,
                                    n - t < CODES_STEP ? n - t : CODES_STEP, tq_rows_from(packed, t), j,
                                    acc + j, acc_stride);
}
#endif

/* Rows of queries in the largest blocks that registers hold, 8 or 4. Three are one block too: as two and
 * one they would be looked up for twice. */
#define CODES_BY_ROWS(most, RUN)                                                                         \
    do {                                                                                                 \
        size_t r = 0;                                                                                    \
        for (; (most) == 8 && rows - r >= 8; r += 8) {                                                   \
            RUN(8);                                                                                      \
        }                                                                                                \
        for (; rows - r >= 4; r += 4) {                                                                  \
            RUN(4);                                                                                      \
        }                                                                                                \
        if (rows - r == 3) {                                                                             \
            RUN(3);                                                                                      \
        } else if (rows - r == 2) {                                                                      \
            RUN(2);                                                                                      \
        } else if (rows - r == 1) {                                                                      \
            RUN(1);                                                                                      \
        }                                                                                                \
    } while (0)

V_INLINE void score_planes(const tq_codebook_tables *book, const unsigned bits, size_t dim, size_t rows,
                           const float *queries, size_t n, tq_code_rows packed, float *scores,
                           size_t n_stride) {
    const book_levels l = load_levels(book, bits, false);
    const unsigned group = tq_plane_group(bits, dim);
#define RUN(q)                                                                                           \
    score_codes_rows(&l, bits, q, group, dim, queries + r * dim, n, packed, scores + r * n_stride,       \
                     n_stride)
    CODES_BY_ROWS(V_BLOCK / 2 < 8 ? 4 : 8, RUN);
#undef RUN
}

/* The group is four or eight vectors, and whole numbers of what is worked on at once. */
V_INLINE void accumulate_planes(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                                size_t rows, const float *weights, size_t n_stride, size_t n,
                                tq_code_rows packed, float *acc, size_t acc_stride) {
    const book_levels l = load_levels(book, bits, false);
    const unsigned group = tq_plane_group(bits, dim);
#define RUN_VECTORS(q, v, group)                                                                         \
    accumulate_codes_rows(&l, bits, q, v, group, dim, weights + r * n_stride, n_stride, n, packed,       \
                          acc + r * acc_stride, acc_stride)
#define VECTORS(q) (V_BLOCK / ((q) == 3 ? 4 : (q)))
#define RUN(q)                                                                                           \
    if (group < 8)                                                                                       \
        RUN_VECTORS(q, VECTORS(q) < 4 ? VECTORS(q) : 4, 4);                                              \
    else                                                                                                 \
        RUN_VECTORS(q, VECTORS(q) < 8 ? VECTORS(q) : 8, 8)
    CODES_BY_ROWS(V_BLOCK / 2 < 8 ? 4 : 8, RUN);
#undef RUN
#undef VECTORS
#undef RUN_VECTORS
}

/* A scale for each row of a tile of the smallest dim. */
static const float codes_ones[CODES_TILE / TQ_LANES] = {
#define ONES16 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
    ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16,
    ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16
#undef ONES16
};

/* How many of n rows lie evenly, one behind the other, and their stride. */
static size_t even_rows(const uintptr_t *offsets, size_t n, size_t *stride) {
    size_t run = 1;
    *stride = n > 1 ? offsets[1] - offsets[0] : 0;
    while (run < n && *stride <= PTRDIFF_MAX && offsets[run] - offsets[run - 1] == *stride)
        run++;
    if (run == 1) *stride = 0; /* to lower addresses there is none */
    return run;
}

static void decode_rows(const tq_codebook_tables *book, size_t dim, size_t n, tq_code_rows packed,
                        float *tile) {
    for (size_t t = 0, run, stride; t < n; t += run) {
        run = even_rows(packed.offsets + t, n - t, &stride);
        V_NAME(dequantize)
        (book, dim, run, tq_row_at(packed, t), stride, codes_ones, tile + t * dim, dim, 0);
    }
}

static void score_tiles(const tq_codebook_tables *book, size_t dim, size_t rows, const float *queries,
                        size_t n, tq_code_rows packed, float *scores, size_t n_stride) {
    _Alignas(64) float tile[CODES_TILE];
    const size_t most = CODES_TILE / dim;
    for (size_t t = 0; t < n; t += most) {
        const size_t here = n - t < most ? n - t : most;
        decode_rows(book, dim, here, tq_rows_from(packed, t), tile);
        V_NAME(score)(dim, rows, queries, here, tile, scores + t, n_stride);
    }
}

static void accumulate_tiles(const tq_codebook_tables *book, size_t dim, size_t rows,
                             const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                             float *acc, size_t acc_stride) {
    _Alignas(64) float tile[CODES_TILE];
    const size_t most = CODES_TILE / dim;
    for (size_t t = 0; t < n; t += most) {
        const size_t here = n - t < most ? n - t : most;
        decode_rows(book, dim, here, tq_rows_from(packed, t), tile);
        V_NAME(accumulate)(dim, rows, weights + t, n_stride, here, tile, acc, acc_stride);
    }
}

#ifdef V_OCTETS
V_INLINE bool octets_serve(const tq_codebook_tables *book, size_t dim) {
    return book->bits == 8 && dim % V_OCTETS == 0;
}

static void score_octets(const tq_codebook_tables *book, size_t dim, size_t rows, const float *queries,
                         size_t n, tq_code_rows packed, float *scores, size_t n_stride) {
    const v_octet_table table = v_octet_table_load(book->octets);
#define RUN(q)                                                                                           \
    score_octets_rows(&table, q, dim, queries + r * dim, n, packed, scores + r * n_stride, n_stride)
    CODES_BY_ROWS(8, RUN);
#undef RUN
}

static void accumulate_octets(const tq_codebook_tables *book, size_t dim, size_t rows,
                              const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                              float *acc, size_t acc_stride) {
    const v_octet_table table = v_octet_table_load(book->octets);
#define RUN(q)                                                                                           \
    accumulate_octets_rows(&table, q, dim, weights + r * n_stride, n_stride, n, packed,                  \
                           acc + r * acc_stride, acc_stride)
    CODES_BY_ROWS(4, RUN);
#undef RUN
}
#endif

/* Calls RUN(bits) with a constant for the book at hand. */
#define CODES_SWITCH(RUN)                                                                                \
    switch (book->bits) {                                                                                \
        V_CASES_2_TO_6(RUN)                                                                              \
    default:                                                                                             \
        RUN(7);                                                                                          \
        break;                                                                                           \
    }

void V_NAME(score_codes)(const tq_codebook_tables *book, size_t dim, size_t rows, const float *queries,
                         size_t n, tq_code_rows packed, float *scores, size_t n_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
#ifdef V_OCTETS
    if (rows <= CODES_ROWS && n >= CODES_KEYS && !book->ranked && octets_serve(book, dim)) {
        score_octets(book, dim, rows, queries, n, packed, scores, n_stride);
        return;
    }
#endif
    if (rows > CODES_ROWS || n < CODES_KEYS || book->ranked || book->bits == 8) {
        score_tiles(book, dim, rows, queries, n, packed, scores, n_stride);
        return;
    }
#define RUN(bits) score_planes(book, bits, dim, rows, queries, n, packed, scores, n_stride)
    CODES_SWITCH(RUN);
#undef RUN
}

void V_NAME(accumulate_codes)(const tq_codebook_tables *book, size_t dim, size_t rows,
                              const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                              float *acc, size_t acc_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
#ifdef V_OCTETS
    if (rows <= CODES_ROWS && !book->ranked && octets_serve(book, dim)) {
        accumulate_octets(book, dim, rows, weights, n_stride, n, packed, acc, acc_stride);
        return;
    }
#endif
    if (rows > CODES_ROWS || book->ranked || book->bits == 8 || tq_plane_group(book->bits, dim) < 4) {
        accumulate_tiles(book, dim, rows, weights, n_stride, n, packed, acc, acc_stride);
        return;
    }
#define RUN(bits) accumulate_planes(book, bits, dim, rows, weights, n_stride, n, packed, acc, acc_stride)
    CODES_SWITCH(RUN);
#undef RUN
}
