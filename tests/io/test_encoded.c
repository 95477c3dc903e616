/* SPDX-License-Identifier: MIT
 * Encoded .safetensors: round trips, and what a writer refuses. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"

static void write_and_read(const tq_encoded *e) {
    tq_encoded back;
    size_t size = 0;
    size_t size_again = 0;
    assert_int_equal(tq_encoded_write("e.safetensors", e), TQ_OK);
    assert_int_equal(tq_encoded_read("e.safetensors", &back), TQ_OK);
    assert_true(same_encoded(e, &back));
    assert_non_null(back.codes);
    assert_non_null(back.norms);
    assert_int_equal((uintptr_t)back.codes % 64, 0);

    assert_int_equal(tq_encoded_write("again.safetensors", &back), TQ_OK);
    uint8_t *bytes = get_file("e.safetensors", &size);
    uint8_t *again = get_file("again.safetensors", &size_again);
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, again, size);
    size_t header = bytes[0] + 256u * bytes[1];
    assert_int_equal(header % 8, 0);
    size_t data = e->n_codes + e->n_norms + 2 * e->n_centres * e->n_kv_heads * e->codec.head_dim;
    assert_int_equal(size, 8 + header + data);
    free(bytes);
    free(again);
    tq_encoded_free(&back);
    assert_null(back.codes);
}

static void every_format_survives(void **state) {
    (void)state;
    size_t n = 0;
    const tq_format *formats = tq_formats(&n);
    const uint32_t v2_dims[] = {32, 48, 576};
    const uint32_t v1_dims[] = {256, 512};
    for (size_t i = 0; i < n; i++) {
        bool v1 = TQ_IS_V1(formats[i]);
        for (size_t d = 0; d < (v1 ? 2 : 3); d++)
            for (int with_centre = 0; with_centre < (v1 ? 1 : 2); with_centre++) {
                tq_encoded e = make_encoded(formats[i], v1 ? v1_dims[d] : v2_dims[d], 2, 3, with_centre);
                e.codec.norm_rule = v1 ? TQ_NORM_PLAIN : (tq_norm_rule)(TQ_NORM_PLAIN + i % 3);
                write_and_read(&e);
                tq_encoded_free(&e);
            }
    }
}

/* Files name the rule itself, so that a later default does not change what they say. */
static void default_rule_is_written_by_name(void **state) {
    (void)state;
    const struct {
        tq_format format;
        tq_norm_rule rule;
    } cases[] = {{TQ_TQ4, TQ_NORM_MATCHED}, {TQ_TQ4_V1, TQ_NORM_PLAIN}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const tq_codec zero = {.format = cases[i].format, .head_dim = 256};
        tq_encoded e, back;
        assert_int_equal(tq_encoded_alloc(&e, &zero, 1, 1, 0, 0), TQ_OK);
        assert_int_equal(e.codec.norm_rule, cases[i].rule);
        e.codec.norm_rule = TQ_NORM_DEFAULT;
        assert_int_equal(tq_encoded_write("e.safetensors", &e), TQ_OK);
        assert_int_equal(tq_encoded_read("e.safetensors", &back), TQ_OK);
        assert_int_equal(back.codec.norm_rule, cases[i].rule);
        tq_encoded_free(&back);
        tq_encoded_free(&e);
    }
}

static void positions_and_rings_survive(void **state) {
    (void)state;
    tq_encoded e = make_encoded(TQ_TQ3, 80, 1, 5, 1);
    for (e.n_positions = 0; e.n_positions < 5; e.n_positions++)
        write_and_read(&e);
    for (e.ring_start = 0; e.ring_start < 5; e.ring_start++)
        write_and_read(&e);
    tq_encoded_free(&e);
}

/* As many centres as the stretches that positions lie in, and more; wherever they begin. */
static void stretches_survive(void **state) {
    (void)state;
    for (size_t n = 2; n <= 3; n++) {
        tq_encoded e = make_stretched(TQ_TQ3, 80, 2, 5, n, 3);
        for (e.n_positions = 0; e.n_positions < 5; e.n_positions++)
            write_and_read(&e);
        for (e.first_position = 0; e.first_position < 9; e.first_position++) {
            e.ring_start = (e.first_position + 2) % 5; /* a slot need not be a position's remainder */
            const bool fits = n == 3 || e.first_position % 3 != 2;
            if (fits)
                write_and_read(&e);
            else
                assert_fails(tq_encoded_write("f.safetensors", &e), TQ_E_FILE_SHAPE,
                             "fewer than the stretches that positions lie in");
        }
        tq_encoded_free(&e);
    }
    tq_encoded e = make_stretched(TQ_TQ8, 32, 1, 2, 1, SIZE_MAX);
    e.first_position = SIZE_MAX - 2;
    write_and_read(&e);
    tq_encoded_free(&e);
}

static void empty_tensors_survive(void **state) {
    (void)state;
    tq_encoded e = make_encoded(TQ_TQ4, 64, 3, 0, 1);
    write_and_read(&e);
    tq_encoded_free(&e);
    e = make_stretched(TQ_TQ4, 64, 3, 0, 1, 4);
    write_and_read(&e);
    tq_encoded_free(&e);
    e = make_stretched(TQ_TQ4, 64, 0, 7, 2, 4);
    write_and_read(&e);
    tq_encoded_free(&e);
    e = make_encoded(TQ_TQ8_V1, 512, 0, 7, 0);
    write_and_read(&e);
    tq_encoded_free(&e);
}

static void scale_factors_survive(void **state) {
    (void)state;
    const float factors[] = {1.0f, 0.1f, 1e-38f, 1e-45f, 3.4028235e38f, 16777217.0f, 0.333333343f};
    tq_encoded e = make_encoded(TQ_TQ4_V1, 512, 1, 1, 0);
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        e.codec.scale_factor_d512 = factors[i];
        write_and_read(&e);
    }
    tq_encoded_free(&e);
}

/* A program that runs in a locale with a decimal comma writes and reads the same files. */
static void decimal_comma_does_not_matter(void **state) {
    (void)state;
    const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8",
                                 "pt_BR.UTF-8"};
    size_t i = 0;
    while (i < 5 && setlocale(LC_ALL, names[i]) == NULL)
        i++;
    if (i == 5) skip();
    tq_encoded e = make_encoded(TQ_TQ8_V1, 512, 1, 1, 0);
    tq_encoded back;
    size_t size = 0;
    write_and_read(&e);
    uint8_t *bytes = get_file("e.safetensors", &size);
    bytes[size - 1] = '\0';
    assert_non_null(strstr((char *)bytes + 8, "\"tqkv.scale_factor_d512\":\"0.75\""));
    free(bytes);
    setlocale(LC_ALL, "C");
    assert_int_equal(tq_encoded_read("e.safetensors", &back), TQ_OK);
    assert_true(same_encoded(&e, &back));
    tq_encoded_free(&back);
    tq_encoded_free(&e);
}

/* At D = 256 the factor is never read, so a codec may leave it zero. */
static void unread_scale_factor_is_written_as_one(void **state) {
    (void)state;
    tq_encoded back;
    tq_encoded e = make_encoded(TQ_TQ5_V1, 256, 1, 1, 0);
    e.codec.scale_factor_d512 = 0;
    assert_int_equal(tq_encoded_write("e.safetensors", &e), TQ_OK);
    assert_int_equal(tq_encoded_read("e.safetensors", &back), TQ_OK);
    assert_true(back.codec.scale_factor_d512 == 1.0f);
    tq_encoded_free(&back);
    tq_encoded_free(&e);
}

static void allocation_checks_its_arguments(void **state) {
    (void)state;
    tq_codec codec = {.format = TQ_TQ4, .head_dim = 64};
    tq_encoded e = {.n_codes = 99};
    assert_fails(tq_encoded_alloc(NULL, &codec, 1, 1, 0, 0), TQ_E_NULL, "NULL");
    assert_fails(tq_encoded_alloc(&e, NULL, 1, 1, 0, 0), TQ_E_NULL, "NULL");
    assert_fails(tq_encoded_alloc(&e, &codec, SIZE_MAX / 16, 1, 0, 0), TQ_E_OVERFLOW, "heads of");
    assert_fails(tq_encoded_alloc(&e, &codec, 0, SIZE_MAX, 1, 0), TQ_E_OVERFLOW, "heads of");
    assert_fails(tq_encoded_alloc(&e, &codec, 1, 1, SIZE_MAX / 64, 1), TQ_E_OVERFLOW, "heads of");
    codec.head_dim = 33;
    assert_int_equal(tq_encoded_alloc(&e, &codec, 1, 1, 0, 0), TQ_E_HEAD_DIM);
    codec.format = (tq_format)9;
    assert_int_equal(tq_encoded_alloc(&e, &codec, 1, 1, 0, 0), TQ_E_FORMAT);
    assert_int_equal(e.n_codes, 99);
    tq_encoded_free(NULL);
}

/* Spoils one thing at a time; nothing may be written. */
static void writer_refuses_contradictions(void **state) {
    (void)state;
    const char *path = "e.safetensors";
    tq_encoded good = make_encoded(TQ_TQ4, 32, 2, 3, 1);
    tq_encoded e = good;
    assert_fails(tq_encoded_write(NULL, &e), TQ_E_NULL, "NULL");
    assert_fails(tq_encoded_write(path, NULL), TQ_E_NULL, "NULL");
    e.codes = NULL;
    assert_fails(tq_encoded_write(path, &e), TQ_E_NULL, "a tensor is NULL");
    e = good, e.norms = NULL;
    assert_fails(tq_encoded_write(path, &e), TQ_E_NULL, "a tensor is NULL");
    e = good, e.centre = NULL;
    assert_fails(tq_encoded_write(path, &e), TQ_E_NULL, "a tensor is NULL");
    e = good, e.n_centres = 0;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "0, but there is a centre");
    e = good, e.n_centres = 2;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "one centre serves all");
    e = good, e.first_position = 1;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "only stretches are counted from it");
    e = good, e.n_codes--;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE,
                 "95 bytes of codes; format, heads and capacity make it 96");
    e = good, e.n_norms++;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE,
                 "13 bytes of norms; format, heads and capacity make it 12");
    e = good, e.n_positions = 4;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "more positions than the capacity");
    e = good, e.ring_start = 3;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "outside the ring");
    e = good, e.n_positions = 2, e.ring_start = 1;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "0 until the ring is full");
    e = good, e.capacity = SIZE_MAX / 2;
    assert_fails(tq_encoded_write(path, &e), TQ_E_OVERFLOW, "heads of");
    e = good, e.codec.norm_rule = (tq_norm_rule)4;
    assert_fails(tq_encoded_write(path, &e), TQ_E_NORM_RULE, "no such norm rule");
    e = good, e.codec.head_dim = 40;
    assert_int_equal(tq_encoded_write(path, &e), TQ_E_HEAD_DIM);
    e = good;
    uint16_t *norms = e.norms;
    norms[5] = HALF_NAN;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_FIELD, "norms: value 5 is");
    assert_int_equal(tq_last_error()->index, 5);
    norms[5] = HALF_ONE | HALF_SIGN;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_FIELD, "norms: value 5 is -1");
    norms[5] = HALF_INFINITY;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_FIELD, "norms: value 5 is inf");
    norms[5] = 0, e.centre[63] = HALF_INFINITY | HALF_SIGN;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_FIELD, "centre: value 63 is -inf");
    tq_encoded_free(&good);
    good = make_stretched(TQ_TQ4, 32, 2, 3, 2, 2);
    e = good, e.n_centres = 3;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "more than the capacity needs");
    e = good, e.n_centres = 1;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "fewer than the stretches");
    e = good, e.n_centres = 0, e.centre = NULL;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "there is none");
    e = good, e.first_position = SIZE_MAX - 2;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "beyond 2^64");
    tq_encoded_free(&good);

    e = make_encoded(TQ_TQ4_V1, 512, 1, 1, 0);
    float *v1_norms = e.norms;
    v1_norms[1] = -0.5f;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_FIELD, "norms: value 1 is -0.5");
    v1_norms[1] = NAN;
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_FIELD, "norms: value 1 is");
    v1_norms[1] = 0.0f;
    e.codec.norm_rule = TQ_NORM_MATCHED;
    assert_fails(tq_encoded_write(path, &e), TQ_E_NORM_RULE, "plain alone");
    e.codec.norm_rule = TQ_NORM_PLAIN;
    const float factors[] = {0, -1, INFINITY, NAN};
    for (size_t i = 0; i < 4; i++) {
        e.codec.scale_factor_d512 = factors[i];
        assert_fails(tq_encoded_write(path, &e), TQ_E_SCALE_FACTOR, "positive and finite");
    }
    tq_encoded_free(&e);
    e = make_encoded(TQ_TQ4_V1, 256, 1, 1, 1);
    assert_fails(tq_encoded_write(path, &e), TQ_E_FILE_SHAPE, "v1 formats have no centre");
    tq_encoded_free(&e);
    assert_int_equal(count_entries("."), 0);
}

/* Positions put in pieces lie in their slots as single ones do, and come out oldest first; with
 * stretches each lacks the centre of its own. */
enum { G = 2, C = 5, D = 32, ALL = 13 };

/* Centre number s: not the same in any two stretches, nor for the heads. */
static void fill_centre(uint16_t *centre, size_t s) {
    for (size_t d = 0; d < G * D; d++)
        centre[d] = (uint16_t)(HALF_ONE + 16 * s + d / D);
}

static void check_position(const tq_encoded *e, size_t p, const float *x, const float *got) {
    const tq_codec codec = e->codec;
    const size_t t = ALL - C + p, bytes = e->n_codes / (G * C);
    float want[G * D], one[G * D];
    tq_encoded alone;
    assert_int_equal(tq_encoded_alloc(&alone, &codec, G, 1, 1, 0), TQ_OK);
    fill_centre(alone.centre, e->centre_stretch == 0 ? 0 : t / e->centre_stretch);
    assert_int_equal(tq_encoded_put(&alone, 1, x + t * D, (G * ALL - t) * D, ALL * D), TQ_OK);
    assert_int_equal(tq_encoded_get(&alone, 0, 1, TQ_ORIGINAL, want, G * D, 0), TQ_OK);
    assert_int_equal(tq_encoded_get(e, p, 1, TQ_ORIGINAL, one, G * D, 0), TQ_OK);
    assert_memory_equal(one, want, sizeof want);
    for (size_t g = 0; g < G; g++) {
        assert_memory_equal(e->codes + (g * C + t % C) * bytes, alone.codes + g * bytes, bytes);
        assert_memory_equal((uint16_t *)e->norms + g * C + t % C, (uint16_t *)alone.norms + g, 2);
        assert_memory_equal(got + (g * C + p) * D, want + g * D, D * sizeof *want);
        assert_true(fabsf(want[g * D] - x[(g * ALL + t) * D]) < 0.5f);
    }
    tq_encoded_free(&alone);
}

/* Puts all of x piece by piece, each stretch's centre before its first position. */
static void put_pieces(tq_encoded *e, const float *x, size_t piece) {
    const size_t stretch = e->centre_stretch;
    for (size_t t = 0, n; t < ALL; t += n) {
        n = ALL - t < piece ? ALL - t : piece;
        for (size_t p = t; p < t + n; p++)
            if (stretch != 0 && p % stretch == 0)
                fill_centre(e->centre + p / stretch % e->n_centres * G * D, p / stretch);
        assert_int_equal(tq_encoded_put(e, n, x + t * D, (G * ALL - t) * D, ALL * D), TQ_OK);
        assert_int_equal(e->n_positions, t + n < C ? t + n : C);
        assert_int_equal(e->ring_start, t + n < C ? 0 : (t + n) % C);
        assert_int_equal(e->first_position, t + n < C || stretch == 0 ? 0 : t + n - C);
    }
}

static void check_view(const tq_encoded *e) {
    const tq_view view = tq_encoded_view(e);
    assert_ptr_equal(view.data, e->codes);
    assert_int_equal(view.data_bytes, e->n_codes);
    assert_ptr_equal(view.norms, e->norms);
    assert_int_equal(view.n_norms, e->n_norms);
    assert_int_equal(view.ring_start, ALL % C);
    assert_int_equal(view.capacity, C);
    assert_null(view.centre);
    assert_int_equal(view.n_centres, e->n_centres);
    assert_int_equal(view.centre_stretch, e->centre_stretch);
}

static void positions_go_in_and_come_out(void **state) {
    (void)state;
    const tq_codec codec = {.format = TQ_TQ5, .head_dim = D};
    const struct { size_t n_centres, stretch; } cases[] = {{1, 0}, {3, 3}, {6, 1}, {2, 7}};
    float x[G * ALL * D], got[G * C * D], rotated[G * C * D];
    for (size_t i = 0; i < G * ALL * D; i++)
        x[i] = (float)((int)(i * 7919 % 2003) - 1001) / 500.0f;
    for (size_t i = 0; i < 4 * C; i++) {
        const size_t piece = i % C + 1, n = cases[i / C].n_centres;
        tq_encoded e;
        if (i / C == 1 && piece == C) continue; /* a piece may reach into a fourth stretch */
        assert_int_equal(tq_encoded_alloc(&e, &codec, G, C, n, cases[i / C].stretch), TQ_OK);
        fill_centre(e.centre, 0);
        put_pieces(&e, x, piece);
        assert_int_equal(tq_encoded_get(&e, 0, C, TQ_ORIGINAL, got, G * C * D, 0), TQ_OK);
        assert_int_equal(tq_encoded_get(&e, 0, C, TQ_ROTATED, rotated, G * C * D, 0), TQ_OK);
        assert_int_equal(tq_rotate(&codec, TQ_ORIGINAL, G * C, rotated, rotated), TQ_OK);
        for (size_t v = 0; v < G * C * D; v++)
            assert_true(fabsf(rotated[v] - got[v]) < 1e-5f);
        for (size_t p = 0; p < C; p++)
            check_position(&e, p, x, got);
        check_view(&e);
        tq_encoded_free(&e);
    }
}

static void too_many_stretches_are_refused(void **state) {
    (void)state;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    float x[C * D] = {1.0f};
    tq_encoded e;
    assert_int_equal(tq_encoded_alloc(&e, &codec, 1, C, 2, 2), TQ_OK);
    assert_fails(tq_encoded_put(&e, C, x, C * D, 0), TQ_E_POSITION, "3 stretches; there are 2 centres");
    assert_int_equal(tq_encoded_put(&e, 4, x, C * D, 0), TQ_OK);
    assert_fails(tq_encoded_put(&e, 1, x, C * D, 0), TQ_E_POSITION, "3 stretches; there are 2 centres");
    assert_int_equal(e.n_positions, 4);
    e.first_position = 1; /* then three */
    assert_int_equal(tq_encoded_get(&e, 0, 1, TQ_ORIGINAL, x, C * D, 0), TQ_E_FILE_SHAPE);
    e.first_position = SIZE_MAX - C;
    e.n_positions = 0;
    assert_fails(tq_encoded_put(&e, 1, x, C * D, 0), TQ_E_OVERFLOW, "positions from");
    tq_encoded_free(&e);
    assert_int_equal(tq_encoded_alloc(&e, &codec, 1, C, 2, 0), TQ_OK);
    assert_int_equal(tq_encoded_put(&e, 1, x, C * D, 0), TQ_E_FILE_SHAPE);
    e.n_centres = 0;
    assert_int_equal(tq_encoded_put(&e, 1, x, C * D, 0), TQ_OK);
    tq_encoded_free(&e);
}

/* Whatever parts a call falls into, a value at fault is named by its index in src. */
static void values_are_named_by_their_place(void **state) {
    (void)state;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    tq_encoded e;
    for (size_t t = 0; t < C; t++) {
        float x[G * C * D] = {0.0f};
        const size_t row = (C + t) * D; /* of the second head */
        assert_int_equal(tq_encoded_alloc(&e, &codec, G, C, 3, 2), TQ_OK);
        e.ring_start = 4;
        x[row + 7] = NAN;
        assert_fails(tq_encoded_put(&e, C, x, G * C * D, 0), TQ_E_NOT_FINITE, "src[");
        assert_int_equal(tq_last_error()->index, row + 7);
        x[row + 7] = 1e6f;
        assert_fails(tq_encoded_put(&e, C, x, G * C * D, 0), TQ_E_RANGE, "norm");
        assert_int_equal(tq_last_error()->index, row);
        tq_encoded_free(&e);
    }
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    float x[2 * C * D] = {1.0f};
    const size_t n = sizeof x / sizeof x[0];
    tq_encoded e;
    assert_int_equal(tq_encoded_alloc(&e, &codec, 2, 2, 0, 0), TQ_OK);
    assert_int_equal(tq_encoded_put(NULL, 1, x, n, 0), TQ_E_NULL);
    assert_int_equal(tq_encoded_put(&e, 1, NULL, n, 0), TQ_E_NULL);
    assert_int_equal(tq_encoded_put(&e, 3, x, n, 0), TQ_E_POSITION);
    assert_int_equal(tq_encoded_put(&e, 1, x, 2 * D - 1, 0), TQ_E_SIZE);
    x[D + 8] = NAN;
    assert_int_equal(tq_encoded_put(&e, 2, x, n, 0), TQ_E_NOT_FINITE);
    assert_int_equal(e.n_positions, 0);
    x[D + 8] = 0.0f;
    assert_int_equal(tq_encoded_put(&e, 1, x, 2 * D, 0), TQ_OK);
    assert_int_equal(tq_encoded_put(&e, 2, x, D - 1, 0), TQ_E_SIZE); /* too few for the ring's end */
    assert_int_equal(tq_encoded_put(&e, 2, x, 4 * D, 0), TQ_OK);
    assert_int_equal(e.ring_start, 1);
    assert_int_equal(tq_encoded_get(&e, 0, 2, TQ_ORIGINAL, x, 4 * D - 1, 0), TQ_E_SIZE);
    assert_int_equal(tq_encoded_get(&e, 0, 2, TQ_ORIGINAL, x, D - 1, 0), TQ_E_SIZE);
    assert_int_equal(tq_encoded_get(&e, 1, 2, TQ_ORIGINAL, x, n, 0), TQ_E_POSITION);
    assert_int_equal(tq_encoded_get(&e, 3, 0, TQ_ORIGINAL, x, n, 0), TQ_OK);
    assert_int_equal(tq_encoded_get(&e, 0, 2, (tq_domain)7, x, n, 0), TQ_E_DOMAIN);
    assert_int_equal(tq_encoded_get(&e, 0, 2, TQ_ORIGINAL, x, n, 2 * D - 1), TQ_E_STRIDE);
    assert_int_equal(tq_encoded_put(&e, 2, x, n, 2 * D - 1), TQ_E_STRIDE);
    assert_int_equal(tq_encoded_put(&e, SIZE_MAX / D, x, n, 0), TQ_E_OVERFLOW);
    uint8_t *codes = e.codes;
    e.codes = NULL;
    assert_int_equal(tq_encoded_get(&e, 0, 1, TQ_ORIGINAL, x, n, 0), TQ_E_NULL);
    e.codes = codes;
    e.ring_start = 2;
    assert_int_equal(tq_encoded_get(&e, 0, 1, TQ_ORIGINAL, x, n, 0), TQ_E_FILE_SHAPE);
    e.ring_start = 0;
    e.n_norms--;
    assert_int_equal(tq_encoded_put(&e, 1, x, n, 0), TQ_E_FILE_SHAPE);
    tq_encoded_free(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_format_survives, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(default_rule_is_written_by_name, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(positions_and_rings_survive, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(stretches_survive, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(empty_tensors_survive, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(scale_factors_survive, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(decimal_comma_does_not_matter, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(unread_scale_factor_is_written_as_one, enter_folder,
                                        leave_folder),
        cmocka_unit_test(allocation_checks_its_arguments),
        cmocka_unit_test(positions_go_in_and_come_out),
        cmocka_unit_test(too_many_stretches_are_refused),
        cmocka_unit_test(values_are_named_by_their_place),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test_setup_teardown(writer_refuses_contradictions, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
