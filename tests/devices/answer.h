/* SPDX-License-Identifier: MIT
 * A scene on the device, what came out of it, and how far that is from the model. */
#ifndef TESTS_DEVICES_ANSWER_H
#define TESTS_DEVICES_ANSWER_H

#include "model.h"

/* A scene's arrays in device memory. */
typedef struct staged {
    tq_cuda_attention_batch batch;
    tq_view k, v;
    void *workspace;
    size_t workspace_bytes, out_bytes, stats_bytes;
    uint8_t *out, *stats; /* with their guards */
    int32_t *lengths;
} staged;

/* What a run wrote, with what lies around it. */
typedef struct answer {
    uint8_t *out, *first; /* where out_lead begins */
    float *stats;         /* guard, lse or max, guard, sum, guard */
    size_t out_bytes, stats_bytes;
    int poison;
} answer;

enum { OUT_GUARD = 256, STATS_GUARD = 64 }; /* bytes, floats */

/* Into device memory; device_reset() takes it away. */
void stage(const scene *s, const tq_cuda_attention *plan, staged *on);

/* Poisons outputs and workspace, runs, and fetches. */
void run(const staged *on, const tq_cuda_attention *plan, int poison, void *stream, answer *a);
void poison_outputs(const staged *on, int poison, void *stream);
void fetch(const staged *on, int poison, answer *a);
void answer_free(answer *a);

/* How many rows are not what is promised; counted by expect() unless `quiet`. The promise for fast
 * kernels is loose where scores are large: of scenes that are `ordinary` rows must also be within
 * 2^-11 (1.5 + S / sqrt(D)) of the sum of weight |v|, some twice what rounding to float16 comes to. */
size_t compare(const scene *s, const answer *a, bool quiet);

/* All of it: built, run twice, compared, given back. */
void check_scene(scene *s, const tq_cuda_attention *plan, const tq_cuda_attention_info *info);

/* The plan of a kind, or the end. */
tq_cuda_attention *plan_of(const tq_cuda_attention_config *config, tq_cuda_attention_info *info);

/* Largest errors by what scenes have. */
void print_report(void);

#endif
