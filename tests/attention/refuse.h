/* SPDX-License-Identifier: MIT
 * One call of tq_attention() with all its arguments, to be spoiled one by one. */
#ifndef TESTS_ATTENTION_REFUSE_H
#define TESTS_ATTENTION_REFUSE_H

#include "call.h"
#include "tqkv/status.h"

typedef struct attempt {
    tq_attention_params params;
    tq_segment segments[MOST_SEGMENTS];
    size_t n_segments;
    const tq_attention_params *p; /* &params and segments, unless made NULL */
    const tq_segment *s;
    const float *q;
    float *out, *lse, *acc, *max, *sum;
    size_t n_q, n_out, n_lse; /* of acc, and of max and sum, too */
    void *workspace;
    size_t workspace_bytes;
    const char *spoiled; /* what a test has done to it, for messages */
} attempt;

typedef struct stage {
    scene scene;
    whole whole;
    partial partial;
    edge workspace;
} stage;

void stage_open(stage *st, const scene_plan *plan, rng *r);
void stage_close(stage *st);

/* Takes the outputs as they are now for those to compare with. */
void stage_save(stage *st);

/* All arguments as they should be. a must stay where it is. */
void attempt_make(attempt *a, const stage *st);

/* Which of the three calls have the argument that is at fault. */
enum { BY_WHOLE = 1, BY_PARTIAL = 2, BY_SIZE = 4, BY_BOTH = 3, BY_ALL = 7 };

/* Fail unless each of these calls gives `want`, with a record that names a field (that field, unless
 * NULL), and leaves all outputs alone. */
void assert_refused(const stage *st, const attempt *a, int by, tq_status want, const char *field);

/* Fails unless all three succeed: without that, refusals prove nothing. */
void assert_accepted(const attempt *a);

#endif
