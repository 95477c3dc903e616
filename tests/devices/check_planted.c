/* SPDX-License-Identifier: MIT
 * The check checked: with a fault in the model, as a kernel could have it, it must fail. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "check.h"
#include "usual.h"

/* docs/format.md: bit j of the stream flips coordinate j. */
static bool flipped(size_t j) {
    uint64_t state = 0x74716B7600000001u, word = 0;
    for (size_t i = 0; i <= j / 64; i++) {
        state += 0x9E3779B97F4A7C15u;
        uint64_t z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        word = z ^ z >> 31;
    }
    return (word >> j % 64 & 1) != 0;
}

static float *vector_at(const scene *s, const side *x, size_t b, size_t g, size_t t) {
    return x->values[b] + (g * s->room[b] + t) * x->dim;
}

static void scale_one(scene *s, const side *x, float by) {
    for (size_t d = 0; d < x->dim; d++)
        vector_at(s, x, 2, 1, 1)[d] *= by;
}

/* One norm of a value, or of a key, by a hundredth. */
static void plant_norm(scene *s) {
    scale_one(s, &s->v, 1.01f);
}

static void plant_key(scene *s) {
    scale_one(s, &s->k, 1.05f);
}

/* The table of signs dropped. */
static void plant_signs(scene *s) {
    for (size_t t = 0; t < s->room[1]; t++)
        for (size_t d = 0; d < s->v.dim; d++)
            if (flipped(d)) vector_at(s, &s->v, 1, 0, t)[d] *= -1;
}

/* The newest position not seen, the oldest not, two positions exchanged. */
static void plant_length(scene *s) {
    s->lengths[3]--;
}

static void plant_window(scene *s) {
    s->config.layer.window = s->lengths[4] - 1;
}

static void plant_order(scene *s) {
    float *x = vector_at(s, &s->v, 2, 0, 1), *y = vector_at(s, &s->v, 2, 0, 2);
    for (size_t d = 0; d < s->v.dim; d++) {
        const float kept = x[d];
        x[d] = y[d], y[d] = kept;
    }
}

/* The centre of another stretch. */
static void plant_centre(scene *s) {
    for (size_t t = 16; t < s->room[4]; t++)
        for (size_t d = 0; d < s->k.dim; d++)
            vector_at(s, &s->k, 4, 0, t)[d] +=
                from_f16(s->centres[d]) - from_f16(s->centres[s->k.dim + d]);
}

static void plant_softcap(scene *s) {
    s->config.layer.softcap = 3.0f;
}

static const struct {
    const char *name;
    void (*plant)(scene *s);
} faults[] = {{"a norm of a value off by a hundredth", plant_norm},
              {"a key off by a twentieth", plant_key},
              {"signs dropped", plant_signs},
              {"the newest position forgotten", plant_length},
              {"the oldest position forgotten", plant_window},
              {"two positions exchanged", plant_order},
              {"the centre of another stretch", plant_centre},
              {"a softcap that is none", plant_softcap}};

/* Few positions, so that each has a share in its row. */
static void check_fault(const planned *p, size_t fault) {
    scene s = plain("planted", &p->config, 1);
    const size_t lengths[] = {1, 3, 4, 5, 20};
    staged on;
    answer a;
    memcpy(s.lengths, lengths, sizeof lengths);
    s.centre = true, s.stretch = 16;
    scene_build(&s);
    stage(&s, p->plan, &on);
    run(&on, p->plan, 0xA5, NULL, &a);
    expect(compare(&s, &a, true) == 0, "planted faults: the scene without one");
    faults[fault].plant(&s);
    expect(compare(&s, &a, true) > 0, "%s, accuracy %d: not found", faults[fault].name,
           (int)p->config.accuracy);
    answer_free(&a);
    device_reset();
    scene_free(&s);
}

void check_planted(void) {
    seed(8);
    for (int accuracy = TQ_CUDA_FAST; accuracy <= TQ_CUDA_EXACT; accuracy++) {
        tq_cuda_attention_config config = usual((tq_cuda_accuracy)accuracy);
        config.centre_stretch = 16;
        const planned p = plan_for(&config);
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
            check_fault(&p, i);
        tq_cuda_attention_free(p.plan);
    }
}
