/* SPDX-License-Identifier: MIT
 * Products for processors with AVX2 sum in the order that lm/panel.h says, to the byte, and touch nothing
 * beyond their arrays. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lm/half.h"
#include "lm/panel.h"
#include "support/cm.h"
#include "support/rng.h"

enum { MOST_IN = 2100 };

static float sum_of(const float *w, const float *x, size_t in) {
    float sum = 0.0f;
    for (size_t at = 0, end; at < in; at = end) {
        float apart[2] = {0.0f, 0.0f};
        end = lm_panels_part_end(at, in);
        for (size_t i = at; i < end; i++)
            apart[(i - at) % 2] = fmaf(x[i], w[i], apart[(i - at) % 2]);
        sum += apart[0] + apart[1];
    }
    return sum;
}

/* Every input is in one part, and no part is longer than what there is room for. */
static void parts_follow_each_other(void **state) {
    (void)state;
    for (size_t in = 1; in <= MOST_IN; in++) {
        size_t at = 0;
        while (at < in) {
            const size_t end = lm_panels_part_end(at, in);
            assert_true(end > at && end - at <= 320);
            at = end;
        }
        assert_int_equal(at, in);
    }
}

/* An array that ends where memory does: the panels' own loads and stores are not watched by sanitizers.
 */
typedef struct edge {
    uint8_t *pages;
    size_t size;
    void *array;
} edge;

static edge edge_new(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
    edge e = {.size = whole + page};
    e.pages = mmap(NULL, e.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(e.pages != MAP_FAILED);
    assert_int_equal(mprotect(e.pages + whole, page, PROT_NONE), 0);
    e.array = e.pages + whole - bytes;
    return e;
}

static void edge_free(edge *e) {
    munmap(e->pages, e->size);
}

/* Weights as the file has them, and the same in float32. */
static void fill_weights(rng *r, lm_type type, size_t n, void *values, float *wide) {
    rng_gauss_fill(r, wide, n);
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = lm_half(wide[i]);
        if (type == LM_F16) wide[i] = lm_from_half(half);
        if (type == LM_F16)
            ((uint16_t *)values)[i] = half;
        else
            ((float *)values)[i] = wide[i];
    }
}

static void multiply(const lm_matrix *w, size_t rows, const float *x, float *y) {
    for (size_t first = 0, n; first < w->out; first += n) {
        n = w->out - first < LM_PANEL_TILE ? w->out - first : LM_PANEL_TILE;
        lm_panels_multiply(w, first, n, rows, x, y);
    }
}

static void check_product(rng *r, lm_type type, size_t in, size_t out, size_t rows) {
    edge weights = edge_new(in * out * lm_type_size(type)), x = edge_new(rows * in * sizeof(float));
    edge y = edge_new(rows * out * sizeof(float));
    const lm_matrix w = {weights.array, type, out, in};
    float *wide = malloc(in * out * sizeof *wide);
    assert_non_null(wide);
    fill_weights(r, type, in * out, weights.array, wide);
    rng_gauss_fill(r, x.array, rows * in);
    multiply(&w, rows, x.array, y.array);
    for (size_t k = 0; k < rows * out; k++) {
        const float want = sum_of(wide + k % out * in, (float *)x.array + k / out * in, in);
        const float got = ((float *)y.array)[k];
        if (memcmp(&got, &want, sizeof want) != 0)
            fail_msg("[%zu][%zu], row %zu, output %zu: %a, not %a", out, in, k / out, k % out,
                     (double)got, (double)want);
    }
    free(wide);
    edge_free(&weights);
    edge_free(&x);
    edge_free(&y);
}

static void sums_are_in_order(void **state) {
    (void)state;
    if (!lm_panels_serve()) skip();
    const size_t ins[] = {1, 7, 64, 320, 321, 576, 1023, 1024, 1100, MOST_IN};
    const size_t outs[] = {1, 15, 16, 64, 65, 150}, rows[] = {1, 2, 3, 6, 8, 11, 15};
    rng r = {1};
    for (size_t i = 0; i < sizeof ins / sizeof ins[0]; i++)
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
            check_product(&r, (i + k) % 2 == 0 ? LM_F16 : LM_F32, ins[i], outs[(i + k) % 6], rows[k]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_each_other),
        cmocka_unit_test(sums_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
