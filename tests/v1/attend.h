/* SPDX-License-Identifier: MIT
 * Calls of v1's attention, and what they must give: float64 on the decoded cache. */
#ifndef TESTS_V1_ATTEND_H
#define TESTS_V1_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../attention/edge.h"
#include "support/guard.h"
#include "support/rng.h"
#include "tqkv/v1.h"

/* "Bits" of float32 vectors: tq_flash_attn_vec(), which knows no ring and no scale factor. */
enum { DENSE = 32, KINDS = 5 };
extern const unsigned attend_kinds[KINDS]; /* 4, 5, 6, 8, DENSE */

/* What is promised: a row's error over the norm of its absolute terms. */
#define ATTEND_BOUND 2e-6

/* Arguments of any of the three functions; bits says which. */
typedef struct attend_call {
    unsigned bits;
    bool null_params;
    tq_flash_attn_vec_tq_hb_params p;
    size_t n_queries;
    const float *q;
    size_t n_q;
    const void *k, *v;
    size_t n_k, n_v; /* bytes of codes, or floats */
    const float *k_norms, *v_norms;
    size_t n_k_norms, n_v_norms;
    float *dst;
    size_t n_dst;
    void *workspace;
    size_t workspace_bytes;
} attend_call;

tq_status attend(const attend_call *c);
tq_status attend_workspace(const attend_call *c, size_t *bytes);

/* Four query heads on two KV heads, nothing masked or capped, one stretch, a cache that is full. */
tq_flash_attn_vec_tq_hb_params attend_params(unsigned bits, uint32_t head_dim, uint32_t positions);

size_t attend_row_bytes(const attend_call *c);  /* of a vector of the cache */
size_t attend_row_norms(const attend_call *c);  /* 0 of a dense one */
size_t attend_cache_rows(const attend_call *c); /* G * C */
size_t attend_rows(const attend_call *c);       /* H * n */

/* A call with its memory. Inputs end at unreadable pages and cannot be written; slots that hold no
 * position are NaN. dst and workspace lie between canaries. */
typedef struct attend_case {
    attend_call call;
    edge q, k, v, k_norms, v_norms;
    guard dst, workspace;
    size_t workspace_at;        /* bytes into its guard, where it is aligned */
    float *k_values, *v_values; /* [G][T][D] as the definition decodes them */
} attend_case;

/* Draws a cache of random codes, or values, and queries. */
attend_case attend_case_new(unsigned bits, const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries,
                            rng *r);

/* The same around codes and norms, or values, that exist: copies of them. */
attend_case attend_case_of(const attend_call *made);
void attend_case_free(attend_case *c);

/* Calls, expects success, and that nothing beside dst and workspace was written. */
void attend_case_run(attend_case *c);

/* Largest error seen in units of the bound's terms, and how many rows saw nothing. */
typedef struct attend_worst {
    size_t rows, unseen;
    double error;
} attend_worst;

/* Fails unless all rows of dst keep the promise. */
void attend_assert(const attend_case *c, attend_worst *w);

/* A row of float64 attention: query i of head h over k and v [G][T][D], and the sums of weight * |v|.
 * Returns whether it sees anything. */
bool attend_model(const attend_call *c, const float *q, const float *k, const float *v, size_t row,
                  double *out, double *terms);

#endif
