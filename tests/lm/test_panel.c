/* SPDX-License-Identifier: MIT
 * Products for processors with AVX2 sum in the order that lm/panel.h says, to the byte. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm/half.h"
#include "lm/panel.h"
#include "support/cm.h"
#include "support/rng.h"

enum { MOST_IN = 2100, MOST_ROWS = 15, MOST_OUT = 150 };

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

static void sums_are_in_order(void **state) {
    (void)state;
    if (!lm_panels_serve()) skip();
    static float x[MOST_ROWS * MOST_IN], y[MOST_ROWS * MOST_OUT], wide[MOST_OUT * MOST_IN];
    static uint16_t narrow[MOST_OUT * MOST_IN];
    const size_t ins[] = {1, 7, 64, 320, 321, 576, 1023, 1024, 1100, MOST_IN};
    const size_t outs[] = {1, 15, 16, 64, 65, MOST_OUT}, rows[] = {1, 2, 3, 6, 8, MOST_ROWS};
    rng r = {1};
    rng_gauss_fill(&r, x, MOST_ROWS * MOST_IN);
    rng_gauss_fill(&r, wide, MOST_OUT * MOST_IN);
    for (size_t i = 0; i < MOST_OUT * MOST_IN; i++) {
        narrow[i] = lm_half(wide[i]);
        wide[i] = lm_from_half(narrow[i]);
    }
    for (size_t i = 0; i < sizeof ins / sizeof ins[0]; i++) {
        const size_t in = ins[i], out = outs[i % 6], n = rows[(i + i / 6) % 6];
        const lm_matrix w = {i % 2 == 0 ? (const void *)narrow : wide, i % 2 == 0 ? LM_F16 : LM_F32, out,
                             in};
        memset(y, 0x7f, sizeof y);
        for (size_t first = 0; first < out; first += LM_PANEL_TILE)
            lm_panels_multiply(&w, first, out - first < LM_PANEL_TILE ? out - first : LM_PANEL_TILE, n, x,
                               y);
        for (size_t k = 0; k < n * out; k++) {
            const float want = sum_of(wide + k % out * in, x + k / out * in, in);
            if (memcmp(&y[k], &want, sizeof want) != 0)
                fail_msg("[%zu][%zu], row %zu, output %zu: %a, not %a", out, in, k / out, k % out,
                         (double)y[k], (double)want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_each_other),
        cmocka_unit_test(sums_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
