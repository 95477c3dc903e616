/* SPDX-License-Identifier: MIT
 * Integer attention: what it adds to a format's own error, what decides on a row's bits, and norms that
 * no encoder writes. Levels, threads and poison are tested where float's are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "draw.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { D = 128, T = 1024, H = 16, VALUES = T * D, QUERIES = H * D };

typedef struct tensors {
    float q[QUERIES], k[VALUES], v[VALUES];
    double exact[QUERIES]; /* attention in float64 to what is not encoded */
    uint8_t k_codes[VALUES], v_codes[VALUES], k_norms[2 * T], v_norms[2 * T];
    float out[QUERIES];
} tensors;

static void fill_exact(tensors *x, double scale) {
    static double w[T];
    for (size_t h = 0; h < H; h++) {
        double top = -INFINITY, sum = 0;
        for (size_t t = 0; t < T; t++) {
            w[t] = 0;
            for (size_t d = 0; d < D; d++)
                w[t] += scale * (double)x->q[h * D + d] * (double)x->k[t * D + d];
            top = w[t] > top ? w[t] : top;
        }
        memset(x->exact + h * D, 0, D * sizeof *x->exact);
        for (size_t t = 0; t < T; t++) {
            w[t] = exp(w[t] - top);
            sum += w[t];
            for (size_t d = 0; d < D; d++)
                x->exact[h * D + d] += w[t] * (double)x->v[t * D + d];
        }
        for (size_t d = 0; d < D; d++)
            x->exact[h * D + d] /= sum;
    }
}

static tq_view view_of(tq_format format, const float *x, uint8_t *codes, uint8_t *norms) {
    const tq_codec codec = {.format = format, .head_dim = D};
    const tq_batch batch = {.heads = 1, .rows = T};
    size_t code_bytes, norm_bytes;
    tq_view view;
    assert_int_equal(tq_row_size(&codec, &code_bytes, &norm_bytes), TQ_OK);
    assert_int_equal(
        tq_encode(&codec, &batch, x, VALUES, NULL, 0, codes, T * code_bytes, norms, T * norm_bytes),
        TQ_OK);
    assert_int_equal(tq_view_codes(&view, &codec, 1, T, codes, T * code_bytes, norms, T * norm_bytes),
                     TQ_OK);
    return view;
}

/* Rows of queries from `first` on, of so many heads that read one KV head, n queries of each. */
static void attend_by(tensors *x, const tq_segment *segment, size_t first, size_t heads, size_t n,
                      float scale, tq_arithmetic arithmetic) {
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = (uint32_t)heads,
                                        .n_kv_heads = 1,
                                        .head_dim = D,
                                        .n_queries = n,
                                        .scale = scale,
                                        .bidirectional = 1,
                                        .arithmetic = arithmetic};
    const size_t values = heads * n * D;
    edge e = workspace_new(&params, segment, 1, 0);
    assert_int_equal(tq_attention(&params, segment, 1, x->q + first * D, values, x->out + first * D,
                                  values, NULL, 0, e.data, e.size),
                     TQ_OK);
    edge_free(&e);
}

/* The squared distance from what is exact. */
static double error_of(tensors *x, const tq_segment *segment, float scale, tq_arithmetic arithmetic) {
    double sum = 0;
    attend_by(x, segment, 0, H, 1, scale, arithmetic);
    for (size_t i = 0; i < QUERIES; i++)
        sum += ((double)x->out[i] - x->exact[i]) * ((double)x->out[i] - x->exact[i]);
    return sum;
}

static const tq_format formats[] = {TQ_TQ2, TQ_TQ3, TQ_TQ4, TQ_TQ5, TQ_TQ6, TQ_TQ7, TQ_TQ8};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

static void draw_tensors(tensors *x, uint64_t seed) {
    rng r = {seed};
    rng_gauss_fill(&r, x->q, QUERIES);
    rng_gauss_fill(&r, x->k, VALUES);
    rng_gauss_fill(&r, x->v, VALUES);
}

static double squares_between(const float *a, const float *b) {
    double sum = 0;
    for (size_t i = 0; i < QUERIES; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

/* Squared errors: of float and of integer attention, and what is between the two. */
typedef struct errors {
    double floats, integers, own;
} errors;

static void add_errors(tensors *x, tq_format format, float scale, errors *e) {
    static float by_float[QUERIES];
    const tq_segment segment = {.length = T,
                                .k = view_of(format, x->k, x->k_codes, x->k_norms),
                                .v = view_of(format, x->v, x->v_codes, x->v_norms)};
    e->floats += error_of(x, &segment, scale, TQ_ARITHMETIC_FLOAT);
    memcpy(by_float, x->out, sizeof by_float);
    e->integers += error_of(x, &segment, scale, TQ_ARITHMETIC_INTEGER);
    e->own += squares_between(x->out, by_float);
}

static void judge(tq_format format, int sharp, errors e) {
    enum { CHANCE = 2 };
    const double own = 100 * e.own / e.floats, added = 100 * (e.integers / e.floats - 1);
    print_message("%s, scores of %d: own %.2f %%, together %+.2f %%\n", tq_format_name(format), sharp,
                  own, added);
    if (!(own <= 1))
        fail_msg("%s, scores of %d: integers change %.2f %% of the squared error, 1 is allowed",
                 tq_format_name(format), sharp, own);
    if (!(added <= CHANCE))
        fail_msg("%s, scores of %d: integers add %.2f %% to the squared error, %d are allowed",
                 tq_format_name(format), sharp, added, CHANCE);
    assert_true(e.integers != e.floats); /* or the option does nothing */
}

/* Normally distributed keys and values, and scores of a few units and of more: what integers change,
 * beside what the format has changed, and what both are together, in which chance has a part: over 200
 * draws it comes to 0.97 % at most. */
static void adds_little_to_the_formats_error(void **state) {
    enum { DRAWS = 3 };
    (void)state;
    static tensors x;
    for (int sharp = 1; sharp <= 9; sharp *= 3) {
        const float scale = (float)sharp / sqrtf(D);
        errors e[N_FORMATS] = {{0}};
        for (unsigned draw = 0; draw < DRAWS; draw++) {
            draw_tensors(&x, 5 + draw);
            fill_exact(&x, (double)scale);
            for (size_t i = 0; i < N_FORMATS; i++)
                add_errors(&x, formats[i], scale, &e[i]);
        }
        for (size_t i = 0; i < N_FORMATS; i++)
            judge(formats[i], sharp, e[i]);
    }
}

typedef enum choice { ALL_FLOAT, KEYS_INTEGER, ALL_INTEGER } choice;

/* What the default does, by the bits it gives. */
static void expect_choice(tensors *x, tq_format k, tq_format v, size_t rows, choice expected) {
    static float out[3][QUERIES];
    const tq_segment segment = {.length = T,
                                .k = view_of(k, x->k, x->k_codes, x->k_norms),
                                .v = view_of(v, x->v, x->v_codes, x->v_norms)};
    const size_t bytes = rows * D * sizeof(float);
    for (int how = TQ_ARITHMETIC_DEFAULT; how <= TQ_ARITHMETIC_INTEGER; how++) {
        attend_by(x, &segment, 0, rows, 1, 1.0f / sqrtf(D), (tq_arithmetic)how);
        memcpy(out[how], x->out, bytes);
    }
    assert_memory_not_equal(out[TQ_ARITHMETIC_FLOAT], out[TQ_ARITHMETIC_INTEGER], bytes);
    const bool floats = memcmp(out[TQ_ARITHMETIC_DEFAULT], out[TQ_ARITHMETIC_FLOAT], bytes) == 0;
    const bool integers = memcmp(out[TQ_ARITHMETIC_DEFAULT], out[TQ_ARITHMETIC_INTEGER], bytes) == 0;
    assert_int_equal(floats ? ALL_FLOAT : integers ? ALL_INTEGER : KEYS_INTEGER, expected);
}

/* Where more than 8 heads share a KV head, integers are for keys of 2 to 6 bits and values of 2 to 4. */
static void the_default_goes_by_format_and_heads(void **state) {
    (void)state;
    static tensors x;
    draw_tensors(&x, 7);
    for (size_t i = 0; i < N_FORMATS; i++)
        for (size_t rows = 1; rows <= H; rows++) {
            const choice many = formats[i] <= TQ_TQ4   ? ALL_INTEGER
                                : formats[i] <= TQ_TQ6 ? KEYS_INTEGER
                                                       : ALL_FLOAT;
            expect_choice(&x, formats[i], formats[i], rows, rows <= 8 ? ALL_INTEGER : many);
        }
    expect_choice(&x, TQ_TQ6, TQ_TQ4, H, ALL_INTEGER);
}

/* The choice does not depend on how many queries are asked at once, so that as long as positions are not
 * split, as up to T of them, a query has the same bits alone. */
static void queries_give_the_same_bits_alone(void **state) {
    (void)state;
    static tensors x;
    static float together[QUERIES];
    draw_tensors(&x, 8);
    for (size_t i = 0; i < N_FORMATS; i++) {
        const tq_segment segment = {.length = T,
                                    .k = view_of(formats[i], x.k, x.k_codes, x.k_norms),
                                    .v = view_of(formats[i], x.v, x.v_codes, x.v_norms)};
        attend_by(&x, &segment, 0, 1, H, 1.0f / sqrtf(D), TQ_ARITHMETIC_DEFAULT);
        memcpy(together, x.out, sizeof together);
        for (size_t row = 0; row < H; row++)
            attend_by(&x, &segment, row, 1, 1, 1.0f / sqrtf(D), TQ_ARITHMETIC_DEFAULT);
        assert_memory_equal(x.out, together, sizeof together);
    }
}

/* A negative norm turns a value round. Float arithmetic knows that by itself. */
static void negative_norms(void **state) {
    (void)state;
    static tensors x;
    draw_tensors(&x, 6);
    const tq_segment segment = {.length = T,
                                .k = view_of(TQ_TQ4, x.k, x.k_codes, x.k_norms),
                                .v = view_of(TQ_TQ4, x.v, x.v_codes, x.v_norms)};
    for (size_t t = 0; t < T; t += 7)
        x.k_norms[2 * t + 1] ^= 0x80, x.v_norms[2 * t + 1] ^= 0x80;
    const float scale = 1.0f / sqrtf(D);
    error_of(&x, &segment, scale, TQ_ARITHMETIC_FLOAT);
    for (size_t i = 0; i < QUERIES; i++)
        x.exact[i] = (double)x.out[i];
    double square = 0;
    for (size_t i = 0; i < QUERIES; i++)
        square += x.exact[i] * x.exact[i];
    const double error = error_of(&x, &segment, scale, TQ_ARITHMETIC_INTEGER);
    if (!(error < 1e-3 * square)) fail_msg("%g of the square", error / square);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(adds_little_to_the_formats_error),
                                       cmocka_unit_test(the_default_goes_by_format_and_heads),
                                       cmocka_unit_test(queries_give_the_same_bits_alone),
                                       cmocka_unit_test(negative_norms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
