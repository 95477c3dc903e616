/* SPDX-License-Identifier: MIT
 * Calls of tq_attention() and its parts with outputs and workspace that tell what was written. */
#ifndef TESTS_ATTENTION_CALL_H
#define TESTS_ATTENTION_CALL_H

#include "scene.h"
#include "support/guard.h"

/* Outputs of a call; those of tq_attention() are out and lse, those of a partial acc, max and sum. */
typedef struct whole {
    guard out, lse;
} whole;

typedef struct partial {
    guard acc, max, sum;
} partial;

whole whole_new(const scene *s);
void whole_free(whole *w);
partial partial_new(const scene *s);
void partial_free(partial *p);

/* As many bytes as the call asks for, full of `fill`, aligned to 64. */
edge workspace_new(const tq_attention_params *params, const tq_segment *segments, size_t n_segments,
                   int fill);

/* Both fail the test unless the call succeeds and keeps within its outputs. */
void attend(const scene *s, whole *w);
void attend_partly(const scene *s, const tq_segment *segments, size_t n_segments, partial *p);

#endif
