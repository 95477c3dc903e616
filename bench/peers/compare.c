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

/* OpenVINO's own 4-bit TurboQuant takes no cache from outside: a pass over all positions fills it. */
enum { OPENVINO_POSITIONS = 4096 };

#define OURS(text, k_format, v_format, how)                                                              \
    { .name = (text), .code = &peer_code_ours, .k = (k_format), .v = (v_format), .arithmetic = (how) }
#define GGML(text, type, heads)                                                                          \
    { .name = (text), .code = &peer_code_ggml, .ggml_type = (type), .per_head = (heads) }
#define SERVED(text, by, what, most)                                                                     \
    {                                                                                                    \
        .name = (text), .code = &peer_code_server, .server = (by), .kind = (what),                       \
        .most_positions = (most)                                                                         \
    }

const peer_attend peer_sides[N_PEER_SIDES] = {
    {.name = "float16 bytes, read once", .code = &peer_code_read},
    OURS("tqkv K tq6, V tq4", TQ_TQ6, TQ_TQ4, TQ_ARITHMETIC_DEFAULT),
    OURS("the same, float32", TQ_TQ6, TQ_TQ4, TQ_ARITHMETIC_FLOAT),
    OURS("tqkv tq4", TQ_TQ4, TQ_TQ4, TQ_ARITHMETIC_DEFAULT),
    OURS("tqkv tq4, float32", TQ_TQ4, TQ_TQ4, TQ_ARITHMETIC_FLOAT),
    OURS("tqkv tq8", TQ_TQ8, TQ_TQ8, TQ_ARITHMETIC_DEFAULT),
    OURS("tqkv tq8, float32", TQ_TQ8, TQ_TQ8, TQ_ARITHMETIC_FLOAT),
    GGML("llama.cpp f16", GGML_TYPE_F16, 0),
    GGML("llama.cpp q8_0", GGML_TYPE_Q8_0, 0),
    GGML("llama.cpp q4_0", GGML_TYPE_Q4_0, 0),
    GGML("the same per head, f16", GGML_TYPE_F16, 1),
    GGML("the same per head, q8_0", GGML_TYPE_Q8_0, 1),
    GGML("the same per head, q4_0", GGML_TYPE_Q4_0, 1),
    SERVED("PyTorch float32", PEER_PYTORCH, "float32", 0),
    SERVED("PyTorch bfloat16", PEER_PYTORCH, "bfloat16", 0),
    SERVED("OpenVINO u8", PEER_OPENVINO, "u8", OPENVINO_POSITIONS),
    SERVED("OpenVINO u4", PEER_OPENVINO, "u4", OPENVINO_POSITIONS),
    SERVED("OpenVINO u4, TurboQuant", PEER_OPENVINO, "turbo", OPENVINO_POSITIONS),
    SERVED("ONNX Runtime, 8 bits", PEER_ONNXRUNTIME, "8", 0),
    SERVED("ONNX Runtime, 4 bits", PEER_ONNXRUNTIME, "4", 0),
};

bool peer_is_there(const peer_attend *side) {
    return side->code != &peer_code_server || peer_server_version(side->server) != NULL;
}

/* What a side needs beside what it is. */
typedef struct subject {
    peer_attend side;
    size_t row; /* of the tables */
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
            ratios[i] = subjects[k].seconds[i] / subjects[PEER_DEFAULT].seconds[i];
        const measure_summary summary = measure_summarise(ratios, samples);
        times[subjects[k].row].times = summary.median;
        times[subjects[k].row].spread = summary.spread;
    }
    for (size_t k = 0; k < n; k++)
        times[subjects[k].row].us = 1e6 * measure_summarise(subjects[k].seconds, samples).median;
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

/* Of those that are there the ones that this scene is for. The first two always are. */
static size_t choose(subject *subjects, const peer_scene *scene) {
    size_t n = 0;
    for (size_t k = 0; k < N_PEER_SIDES; k++) {
        const peer_attend *side = &peer_sides[k];
        const bool fits = side->most_positions == 0 || scene->positions <= side->most_positions;
        if (fits && peer_is_there(side)) subjects[n++] = (subject){.side = *side, .row = k};
    }
    return n;
}

int peer_compare(const peer_scene *scene, size_t samples, peer_time *times, size_t *taken) {
    subject subjects[N_PEER_SIDES] = {0};
    const size_t n = choose(subjects, scene);
    double round_s = 0.0;
    size_t begun = 0;
    int rc = 0;
    for (size_t k = 0; k < N_PEER_SIDES; k++)
        times[k] = (peer_time){.error = -1.0};
    for (; rc == 0 && begun < n; begun++)
        rc = warm_up(&subjects[begun], scene, &times[subjects[begun].row], &round_s);
    if (samples == 0) {
        const double fit = scene_s / (round_s + 1e-9);
        samples = fit > MOST_SAMPLES ? MOST_SAMPLES : fit < LEAST_SAMPLES ? LEAST_SAMPLES : (size_t)fit;
    }
    if (rc == 0) rc = time_all(subjects, n, scene, samples, times);
    *taken = samples;
    for (size_t k = 0; k < begun; k++)
        subjects[k].side.code->end(&subjects[k].side);
    return rc;
}
