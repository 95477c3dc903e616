/* SPDX-License-Identifier: MIT
 * Runs of several scenes of one kind, with results beside those of single calls. */
#ifndef TESTS_ATTENTION_BATCH_H
#define TESTS_ATTENTION_BATCH_H

#include "call.h"
#include "draw.h"

enum { MOST_SEQUENCES = 6 };

/* Scenes that differ in lengths, positions and numbers of queries alone. */
typedef struct batch {
    size_t n;
    scene scenes[MOST_SEQUENCES];
    tq_sequence sequences[MOST_SEQUENCES];
    tq_attention_config config; /* with limits that just fit */
    size_t tokens;
} batch;

/* Draws scenes of up to `length` positions. */
void batch_draw(batch *b, size_t length, rng *r);
void batch_close(batch *b);

/* Memory of a run, with strides as drawn; elements of q_type and out_type. */
typedef struct run {
    tq_attention_batch args;
    tq_attention_kind kind;
    size_t workspace_bytes; /* planned */
    edge workspace, q;
    guard out, lse, max, sum;
} run;

/* Puts the scenes' queries where the strides say. Open results if `open`. */
void run_open(run *u, const batch *b, bool open, rng *r);
void run_close(run *u);

/* Fails the test unless the run succeeds. */
void run_make(run *u);

/* Rows of scene i as single calls have them, [H][n][E] and [H][n]; out_type is float32. */
void run_rows(const run *u, const batch *b, size_t i, float *out, float *lse);

/* Fails unless the rows of the run are those of single calls, bit by bit, rounded to out_type. */
void assert_as_single(const run *u, const batch *b);

#endif
