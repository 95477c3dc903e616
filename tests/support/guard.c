/* SPDX-License-Identifier: MIT
 * Buffers that tell what a call has written. */
#include "guard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cm.h"

enum { MARGIN = 64 };

void *test_alloc(size_t size) {
    void *p = malloc(size == 0 ? 1 : size);
    if (p == NULL) fail_msg("no memory for %zu bytes", size);
    return p;
}

guard guard_new(size_t size) {
    guard g = {0};
    size_t total = size + 2 * (size_t)MARGIN;
    g.base = test_alloc(total);
    g.saved = test_alloc(total);
    g.data = g.base + MARGIN;
    g.size = size;
    for (size_t i = 0; i < total; i++)
        g.base[i] = (uint8_t)(0x5b + 37 * i);
    guard_save(&g);
    return g;
}

void guard_free(guard *g) {
    free(g->base);
    free(g->saved);
    memset(g, 0, sizeof *g);
}

void guard_save(guard *g) {
    memcpy(g->saved, g->base, g->size + 2 * (size_t)MARGIN);
}

void guard_accept(guard *g, size_t offset, size_t length) {
    memcpy(g->saved + MARGIN + offset, g->base + MARGIN + offset, length);
}

static void assert_same_bytes(const guard *g, size_t from, size_t to) {
    if (memcmp(g->base + from, g->saved + from, to - from) == 0) return;
    size_t i = from;
    while (g->base[i] == g->saved[i])
        i++;
    fail_msg("byte %lld of a buffer of %zu was written", (long long)i - MARGIN, g->size);
}

void guard_assert_untouched(const guard *g) {
    assert_same_bytes(g, 0, g->size + 2 * (size_t)MARGIN);
}

void guard_assert_only(const guard *g, size_t offset, size_t length) {
    assert_same_bytes(g, 0, MARGIN + offset);
    assert_same_bytes(g, MARGIN + offset + length, g->size + 2 * (size_t)MARGIN);
}

void assert_same_floats(const float *got, const float *want, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof *got) == 0) continue;
        if (isnan(got[i]) && isnan(want[i])) continue;
        fail_msg("%s: value %zu is %a, the definition gives %a", what, i, (double)got[i],
                 (double)want[i]);
    }
}
