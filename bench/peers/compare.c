/* SPDX-License-Identifier: MIT
 * All sides of the comparison of attention on one scene: checked, then timed in turn. */
#include "compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ggml.h"
#include "measure/timing.h"

enum { LEAST_SAMPLES = 7, MOST_SAMPLES = 31 };
static const double sample_s = 0.5e-3;
static const double scene_s = 3.0;
/* Rounding to 4 bits costs a tenth; what is farther off computes something else. */
static const double most_error = 0.5;

const peer_attend peer_sides[N_PEER_SIDES] = {
    {.name = "float16 bytes, read once", .code = &peer_code_read},
    {.name = "tqkv tq4", .code = &peer_code_ours, .k = TQ_TQ4, .v = TQ_TQ4},
    {.name = "tqkv K tq8, V tq4", .code = &peer_code_ours, .k = TQ_TQ8, .v = TQ_TQ4},
    {.name = "tqkv tq8", .code = &peer_code_ours, .k = TQ_TQ8, .v = TQ_TQ8},
    {.name = "llama.cpp f16", .code = &peer_code_ggml, .ggml_type = GGML_TYPE_F16},
    {.name = "llama.cpp q8_0", .code = &peer_code_ggml, .ggml_type = GGML_TYPE_Q8_0},
    {.name = "llama.cpp q4_0", .code = &peer_code_ggml, .ggml_type = GGML_TYPE_Q4_0},
    {.name = "the same per head, f16",
     .code = &peer_code_ggml,
     .ggml_type = GGML_TYPE_F16,
     .per_head = 1},
    {.name = "the same per head, q8_0",
     .code = &peer_code_ggml,
     .ggml_type = GGML_TYPE_Q8_0,
     .per_head = 1},
    {.name = "the same per head, q4_0",
     .code = &peer_code_ggml,
     .ggml_type = GGML_TYPE_Q4_0,
     .per_head = 1},
    {.name = "PyTorch float32", .code = &peer_code_sdpa, .dtype = "float32"},
    {.name = "PyTorch bfloat16", .code = &peer_code_sdpa, .dtype = "bfloat16"},
};

/* What a side needs beside what it is. */
typedef struct subject {
    peer_attend side;
    size_t passes;
    double *seconds; /* [samples] of one pass */
} subject;

static int complain(const subject *s, const char *what) {
    fprintf(stderr, "peers: %s: %s\n", s->side.name, what);
    return -1;
}

/* The threads of the side before wait in a loop for a while, each library's its own way: let them stop.
 */
static void let_others_rest(const peer_scene *scene) {
    const struct timespec pause = {0, 3000000};
    if (scene->threads > 1) (void)nanosleep(&pause, NULL);
}

static int check(subject *s, const peer_scene *scene, peer_time *time) {
    time->error = -1.0;
    if (!s->side.code->result) return 0;
    float *out = calloc(scene->heads * scene->dim, sizeof *out);
    int rc = out ? s->side.code->result(&s->side, out) : -1;
    if (rc == 0) {
        time->error = peer_scene_error(scene, out);
        rc = time->error <= most_error ? 0 : complain(s, "the result is wrong; nothing is timed");
    }
    free(out);
    return rc;
}

/* Cold, then warm; how many passes fill a sample. Adds what a sample takes to *round_s. */
static int warm_up(subject *s, const peer_scene *scene, peer_time *time, double *round_s) {
    double seconds = 0.0;
    int rc = s->side.code->begin(&s->side, scene);
    if (rc != 0) return complain(s, "it cannot begin");
    for (int i = 0; rc == 0 && i < 2; i++) {
        let_others_rest(scene);
        rc = s->side.code->run(&s->side, 1, &seconds);
    }
    if (rc == 0) rc = check(s, scene, time);
    s->passes = seconds > 0.0 && seconds < sample_s ? (size_t)(sample_s / seconds) + 1 : 1;
    *round_s += seconds * (double)s->passes;
    return rc;
}

static int take_samples(subject *subjects, size_t n, const peer_scene *scene, size_t samples) {
    int rc = 0;
    for (size_t i = 0; i < samples; i++) {
        for (size_t k = 0; rc == 0 && k < n; k++) {
            subject *s = &subjects[(i + k) % n]; /* nobody always comes first */
            let_others_rest(scene);
            rc = s->side.code->run(&s->side, s->passes, &s->seconds[i]);
            s->seconds[i] /= (double)s->passes;
        }
    }
    return rc;
}

/* ratios: [samples] */
static void summarise(const subject *subjects, size_t n, size_t samples, double *ratios,
                      peer_time *times) {
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < samples; i++)
            ratios[i] = subjects[k].seconds[i] / subjects[PEER_TQ4].seconds[i];
        const measure_summary summary = measure_summarise(ratios, samples);
        times[k].times = summary.median;
        times[k].spread = summary.spread;
    }
    for (size_t k = 0; k < n; k++)
        times[k].us = 1e6 * measure_summarise(subjects[k].seconds, samples).median;
}

static int time_all(subject *subjects, size_t n, const peer_scene *scene, size_t samples,
                    peer_time *times) {
    double *seconds = calloc(n + 1, samples * sizeof *seconds);
    if (!seconds) return -1;
    for (size_t k = 0; k < n; k++)
        subjects[k].seconds = seconds + k * samples;
    const int rc = take_samples(subjects, n, scene, samples);
    if (rc == 0) summarise(subjects, n, samples, seconds + n * samples, times);
    free(seconds);
    return rc;
}

int peer_compare(const peer_scene *scene, size_t n_sides, size_t samples, peer_time *times,
                 size_t *taken) {
    subject subjects[N_PEER_SIDES] = {0};
    double round_s = 0.0;
    size_t begun = 0;
    int rc = 0;
    for (; rc == 0 && begun < n_sides; begun++) {
        subjects[begun].side = peer_sides[begun];
        rc = warm_up(&subjects[begun], scene, &times[begun], &round_s);
    }
    if (samples == 0) {
        const double fit = scene_s / (round_s + 1e-9);
        samples = fit > MOST_SAMPLES ? MOST_SAMPLES : fit < LEAST_SAMPLES ? LEAST_SAMPLES : (size_t)fit;
    }
    if (rc == 0) rc = time_all(subjects, n_sides, scene, samples, times);
    *taken = samples;
    for (size_t k = 0; k < begun; k++)
        subjects[k].side.code->end(&subjects[k].side);
    return rc;
}
