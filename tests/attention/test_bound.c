/* SPDX-License-Identifier: MIT
 * The error that tqkv/attention.h promises, where rounding errors add up most: many equal terms, large
 * scores of which several weigh, tops that rise all the way. In the first two they must reach some share
 * of it, or the promise is no more than a large number. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "draw.h"
#include "model.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static double check(const scene *s, const char *name) {
    whole got = whole_new(s);
    worst w = {0};
    attend(s, &got);
    assert_attends(s, got.out.data, got.lse.data, &w);
    worst_print(name, &w);
    whole_free(&got);
    return w.out_share;
}

static void set(side *to, size_t i, float x) {
    ((float *)(void *)to->data.data)[i] = x;
    to->values[i] = (double)x;
}

/* Every term of every sum rounds the same way. */
static void equal_terms(void **state) {
    (void)state;
    static const struct {
        uint32_t heads, kv_heads;
        size_t length;
    } cases[] = {{1, 1, 500},   {33, 1, 500},   {1, 1, 4096},
                 {33, 1, 4096}, {33, 1, 20000}, {64, 64, 500}}; /* so many heads are not split */
    double most = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        rng r = {1};
        scene_plan p = plain_plan(cases[i].heads, cases[i].kv_heads, 32, 1, cases[i].length);
        scene s;
        char name[64];
        scene_open(&s, &p, &r);
        for (size_t j = 0; j < cases[i].kv_heads * cases[i].length * 32; j++) {
            set(&s.k[0], j, 0.0f);
            set(&s.v[0], j, 1.0f / 3.0f + (float)(j % 32) / 50.0f);
        }
        snprintf(name, sizeof name, "%zu equal terms, %u rows on %u", cases[i].length, cases[i].heads,
                 cases[i].kv_heads);
        most = fmax(most, check(&s, name));
        scene_close(&s);
    }
    assert_true(most > 0.05);
}

/* Keys and queries of equal coordinates: scores are as large as lengths allow, and all their rounding
 * errors go one way; every other key has a score that rounds to nothing, and weighs as much. */
static void large_scores(void **state) {
    (void)state;
    static const float reaches[] = {1, 10, 100, 1000, 10000};
    enum { DIM = 1024, LENGTH = 40 };
    double most = 0;
    for (size_t i = 0; i < COUNT(reaches); i++)
        for (float b = 1.01f; b < 2.0f; b += 0.09f) {
            rng r = {1};
            scene_plan p = plain_plan(1, 1, DIM, 1, LENGTH);
            scene s;
            char name[64];
            scene_open(&s, &p, &r);
            for (size_t j = 0; j < DIM; j++)
                ((float *)(void *)s.q_memory.data)[j] = 1;
            for (size_t j = 0; j < LENGTH * DIM; j++) {
                set(&s.k[0], j, j / DIM % 2 == 0 ? b : nearbyintf(b * 512) / 512);
                set(&s.v[0], j, j / DIM % 2 == 0 ? 1.0f : -1.0f);
            }
            s.params.scale = reaches[i] / DIM;
            snprintf(name, sizeof name, "reach %g, keys of %.2f", (double)(reaches[i] * b), (double)b);
            most = fmax(most, check(&s, name));
            scene_close(&s);
        }
    assert_true(most > 0.02);
}

/* Each chunk has a higher top than those before: everything is brought down again and again; here
 * rounding errors cancel, and nothing near the bound was found. */
static void rising_tops(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        rng r = {3};
        scene_plan p = plain_plan(1, 1, 32, 1, 12000);
        scene s;
        char name[64];
        const float step = ldexpf(1, -10 - 2 * i);
        scene_open(&s, &p, &r);
        float *q = (float *)(void *)s.q_memory.data;
        memset(q, 0, 32 * sizeof *q);
        q[0] = 1;
        s.params.scale = 1;
        for (size_t t = 0; t < 12000; t++)
            for (size_t j = 0; j < 32; j++) {
                set(&s.k[0], t * 32 + j, j == 0 ? (float)t * step : 0.0f);
                set(&s.v[0], t * 32 + j, 1.0f / 3.0f);
            }
        snprintf(name, sizeof name, "steps of %g", (double)step);
        (void)check(&s, name);
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_terms),
        cmocka_unit_test(large_scores),
        cmocka_unit_test(rising_tops),
    };
    worst_print(NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
