/* SPDX-License-Identifier: MIT
 * Every error of tqkv/codec.h: status, record, and not a byte written. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { HEADS = 2, ROWS = 3 };

/* All arguments of tq_encode or tq_decode, in order until a test spoils one. */
typedef struct call {
    bool decoder;
    const tq_codec *codec;
    const tq_batch *batch;
    tq_domain domain;
    float *dense;
    size_t n_dense;
    uint16_t *centre;
    size_t n_centre;
    uint8_t *codes;
    size_t n_codes;
    void *norms;
    size_t n_norms;
} call;

typedef struct scene {
    tq_codec codec;
    tq_batch batch;
    call call;
    guard dense, centre, codes, norms;
} scene;

static void scene_open(scene *s, bool decoder, tq_format format, uint32_t dim) {
    size_t code_bytes, norm_bytes;
    rng r = {dim};
    memset(s, 0, sizeof *s);
    s->codec = (tq_codec){.format = format, .head_dim = dim, .scale_factor_d512 = 1.0f};
    s->batch = (tq_batch){.heads = HEADS, .rows = ROWS};
    assert_int_equal(tq_row_size(&s->codec, &code_bytes, &norm_bytes), TQ_OK);
    call *c = &s->call;
    c->decoder = decoder;
    c->codec = &s->codec;
    c->batch = &s->batch;
    c->n_dense = (size_t)HEADS * ROWS * dim;
    c->n_codes = HEADS * ROWS * code_bytes;
    c->n_norms = HEADS * ROWS * norm_bytes;
    c->n_centre = (size_t)HEADS * dim;
    s->dense = guard_new(c->n_dense * sizeof(float));
    s->centre = guard_new(c->n_centre * sizeof(uint16_t));
    s->codes = guard_new(c->n_codes);
    s->norms = guard_new(c->n_norms);
    c->dense = s->dense.data;
    c->centre = s->centre.data;
    c->codes = s->codes.data;
    c->norms = s->norms.data;
    rng_gauss_fill(&r, c->dense, c->n_dense);
    for (size_t i = 0; i < c->n_centre; i++)
        c->centre[i] = model_half(rng_gauss(&r));
    guard_save(&s->dense);
    guard_save(&s->centre);
}

static void scene_close(scene *s) {
    guard_free(&s->dense);
    guard_free(&s->centre);
    guard_free(&s->codes);
    guard_free(&s->norms);
}

static tq_status make(const call *c) {
    if (c->decoder) {
        return tq_decode(c->codec, c->batch, c->domain, c->codes, c->n_codes, c->norms, c->n_norms,
                         c->centre, c->n_centre, c->dense, c->n_dense);
    }
    return tq_encode(c->codec, c->batch, c->dense, c->n_dense, c->centre, c->n_centre, c->codes,
                     c->n_codes, c->norms, c->n_norms);
}

static void assert_record(tq_status got, tq_status want, const char *field) {
    const tq_error *e = tq_last_error();
    if (got != want || e->status != want || strcmp(e->field, field) != 0) {
        fail_msg("%s of %s wanted; got %s, record: %s of %s: %s", tq_status_name(want), field,
                 tq_status_name(got), tq_status_name(e->status), e->field, e->message);
    }
    assert_true(strlen(e->message) > 0 && strchr(e->message, '\n') == NULL);
}

static void refused(const scene *s, call c, tq_status want, const char *field) {
    assert_record(make(&c), want, field);
    guard_assert_untouched(&s->dense);
    guard_assert_untouched(&s->centre);
    guard_assert_untouched(&s->codes);
    guard_assert_untouched(&s->norms);
}

static void pointers(const scene *s) {
    const char *dense = s->call.decoder ? "dst" : "src";
    call c = s->call;
    c.codec = NULL;
    refused(s, c, TQ_E_NULL, "codec");
    c = s->call;
    c.batch = NULL;
    refused(s, c, TQ_E_NULL, "batch");
    c = s->call;
    c.dense = NULL;
    refused(s, c, TQ_E_NULL, dense);
    c = s->call;
    c.codes = NULL;
    refused(s, c, TQ_E_NULL, "codes");
    c = s->call;
    c.norms = NULL;
    refused(s, c, TQ_E_NULL, "norms");
}

static void sizes(const scene *s) {
    call c = s->call;
    c.n_dense--;
    refused(s, c, TQ_E_SIZE, s->call.decoder ? "dst" : "src");
    c = s->call;
    c.n_codes--;
    refused(s, c, TQ_E_SIZE, "codes");
    c.n_codes = 0;
    refused(s, c, TQ_E_SIZE, "codes");
    c = s->call;
    c.n_norms--;
    refused(s, c, TQ_E_SIZE, "norms");
    c = s->call;
    c.n_centre--;
    refused(s, c, TQ_E_SIZE, "centre");
    tq_batch more = s->batch;
    c = s->call;
    c.batch = &more;
    more.rows++;
    refused(s, c, TQ_E_SIZE, s->call.decoder ? "dst" : "src");
    more = s->batch;
    more.code_row_stride = s->call.n_codes;
    refused(s, c, TQ_E_SIZE, "codes");
    more = s->batch;
    more.norm_head_stride = s->call.n_norms;
    refused(s, c, TQ_E_SIZE, "norms");
    for (size_t stretch = 1; stretch < ROWS; stretch++) { /* two stretches or more, one centre */
        more = s->batch;
        more.centre_stretch = stretch;
        refused(s, c, TQ_E_SIZE, "centre");
    }
    more.centre_stretch = ROWS;
    more.centre_first = 1;
    refused(s, c, TQ_E_SIZE, "centre");
}

static const int no_formats[] = {0, 1, 9, 16, 0x100, 0x102, 0x103, 0x107, 0x109, 0x204, -1};
static const uint32_t v2_no_dims[] = {
    0, 1, 16, 31, 33, 40, 100, 1025, 1040, 2048, UINT32_C(256) << 16, UINT32_MAX};
static const uint32_t v1_no_dims[] = {0, 32, 64, 128, 240, 255, 257, 384, 576, 1024, UINT32_MAX};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void codecs(const scene *s) {
    tq_codec codec = s->codec;
    call c = s->call;
    c.codec = &codec;
    for (size_t i = 0; i < COUNT(no_formats); i++) {
        codec.format = (tq_format)no_formats[i];
        refused(s, c, TQ_E_FORMAT, "format");
    }
    codec = s->codec;
    bool v1 = TQ_IS_V1(codec.format);
    for (size_t i = 0; i < (v1 ? COUNT(v1_no_dims) : COUNT(v2_no_dims)); i++) {
        codec.head_dim = v1 ? v1_no_dims[i] : v2_no_dims[i];
        refused(s, c, TQ_E_HEAD_DIM, "head_dim");
    }
    codec = s->codec;
    static const float factors[] = {0.0f, -1.0f, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < COUNT(factors) && v1 && codec.head_dim == 512; i++) {
        codec.scale_factor_d512 = factors[i];
        refused(s, c, TQ_E_SCALE_FACTOR, "scale_factor_d512");
    }
    codec = s->codec;
    for (int rule = v1 ? TQ_NORM_MATCHED : TQ_NORM_UNBIASED + 1; rule < 7 && !c.decoder; rule++) {
        codec.norm_rule = (tq_norm_rule)(rule == 6 ? -1 : rule);
        refused(s, c, TQ_E_NORM_RULE, "norm_rule");
    }
    for (int domain = 2; domain < 5 && c.decoder; domain++) {
        c.codec = &s->codec;
        c.domain = (tq_domain)(domain == 4 ? -1 : domain);
        refused(s, c, TQ_E_DOMAIN, "domain");
    }
}

static void strides(const scene *s) {
    const char *dense = s->call.decoder ? "dst" : "src";
    size_t dim = s->codec.head_dim, code_bytes = s->call.n_codes / (HEADS * ROWS);
    size_t norms = s->call.n_norms / (HEADS * ROWS);
    tq_batch b = s->batch;
    call c = s->call;
    c.batch = &b;
    b.dense_row_stride = dim - 1;
    refused(s, c, TQ_E_STRIDE, dense);
    b = s->batch;
    b.dense_head_stride = dim - 1;
    refused(s, c, TQ_E_STRIDE, dense);
    b.dense_head_stride = dim + 1; /* a head's first row would lie across the other's rows 1 and 2 */
    refused(s, c, TQ_E_STRIDE, dense);
    b = s->batch;
    b.code_row_stride = code_bytes - 1;
    refused(s, c, TQ_E_STRIDE, "codes");
    b = s->batch;
    b.code_head_stride = code_bytes * ROWS - 1;
    refused(s, c, TQ_E_STRIDE, "codes");
    b = s->batch;
    b.norm_head_stride = norms * ROWS - 1;
    refused(s, c, TQ_E_STRIDE, "norms");
}

static void overflows(const scene *s) {
    const char *dense = s->call.decoder ? "dst" : "src";
    tq_batch b = s->batch;
    call c = s->call;
    c.batch = &b;
    b.rows = SIZE_MAX;
    refused(s, c, TQ_E_OVERFLOW, dense);
    b.rows = SIZE_MAX / s->codec.head_dim / 4 + 1;
    refused(s, c, TQ_E_OVERFLOW, dense);
    b = s->batch;
    b.heads = SIZE_MAX / 2;
    refused(s, c, TQ_E_OVERFLOW, dense);
    b = s->batch;
    b.dense_row_stride = SIZE_MAX;
    refused(s, c, TQ_E_OVERFLOW, dense);
    b = s->batch;
    b.dense_head_stride = SIZE_MAX / 4;
    refused(s, c, TQ_E_OVERFLOW, dense);
    b = s->batch;
    b.code_row_stride = SIZE_MAX / 2;
    refused(s, c, TQ_E_OVERFLOW, "codes");
    b = s->batch;
    b.norm_head_stride = SIZE_MAX / 2 + 1;
    b.norm_row_stride = SIZE_MAX / 4;
    refused(s, c, TQ_E_OVERFLOW, "norms");
    b = s->batch;
    b.centre_stretch = 1;
    b.centre_first = SIZE_MAX - ROWS + 2;
    refused(s, c, TQ_E_OVERFLOW, "centre_first");
    b.centre_first = SIZE_MAX - ROWS + 1; /* its last position is SIZE_MAX: centres beyond all memory */
    refused(s, c, TQ_E_OVERFLOW, "centre");
    b.centre_stretch = 2;
    refused(s, c, TQ_E_OVERFLOW, "centre");
}

/* Which of the two is blamed is not promised, only that one of them is. */
static void overlapping(const scene *s, call c, const guard *all) {
    assert_int_equal(make(&c), TQ_E_OVERLAP);
    assert_int_equal(tq_last_error()->status, TQ_E_OVERLAP);
    assert_true(strlen(tq_last_error()->field) > 0);
    guard_assert_untouched(all);
    guard_assert_untouched(&s->dense);
    guard_assert_untouched(&s->codes);
    guard_assert_untouched(&s->norms);
}

static uint16_t *halves_at(const guard *g, size_t byte) {
    return (uint16_t *)(void *)((uint8_t *)g->data + byte);
}

static float *floats_at(const guard *g, size_t byte) {
    return (float *)(void *)((uint8_t *)g->data + byte);
}

static void overlaps(const scene *s) {
    guard all = guard_new(s->dense.size + s->codes.size + s->norms.size + s->centre.size);
    memcpy(all.data, s->dense.data, s->dense.size);
    guard_save(&all);
    call c = s->call;
    c.dense = floats_at(&all, 0);
    c.codes = (uint8_t *)all.data + s->dense.size - 1;
    overlapping(s, c, &all);
    c.codes = all.data;
    overlapping(s, c, &all);
    c = s->call;
    c.dense = floats_at(&all, 0);
    c.norms = (uint8_t *)all.data + s->dense.size - 1;
    overlapping(s, c, &all);
    if (s->call.decoder) {
        c = s->call;
        c.dense = floats_at(&all, 0);
        c.centre = halves_at(&all, s->dense.size - 2);
        overlapping(s, c, &all);
        guard_free(&all);
        return;
    }
    c = s->call;
    c.codes = (uint8_t *)all.data + 1;
    c.norms = (uint8_t *)all.data + s->codes.size;
    overlapping(s, c, &all);
    c = s->call;
    c.codes = all.data;
    c.centre = halves_at(&all, s->codes.size / 2 * 2 - 2);
    overlapping(s, c, &all);
    c = s->call;
    c.norms = all.data;
    c.centre = halves_at(&all, s->norms.size - 2);
    overlapping(s, c, &all);
    guard_free(&all);
}

static void encode_and_decode(void **state) {
    (void)state;
    static const struct {
        tq_format format;
        uint32_t dim;
    } cases[] = {{TQ_TQ2, 32},  {TQ_TQ3, 80},     {TQ_TQ4, 128},   {TQ_TQ7, 1024},
                 {TQ_TQ8, 576}, {TQ_TQ4_V1, 256}, {TQ_TQ5_V1, 512}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int decoder = 0; decoder < 2; decoder++) {
            scene s;
            scene_open(&s, decoder == 1, cases[i].format, cases[i].dim);
            pointers(&s);
            sizes(&s);
            codecs(&s);
            strides(&s);
            overflows(&s);
            overlaps(&s);
            /* Unspoiled it has to succeed, or all the above would prove nothing. */
            assert_int_equal(make(&s.call), TQ_OK);
            scene_close(&s);
        }
    }
}

/* Success leaves the record of the last failure alone. */
static void success_keeps_the_record(void **state) {
    (void)state;
    size_t bytes = 0;
    tq_codec codec = {.format = TQ_TQ4, .head_dim = 33};
    assert_int_equal(tq_row_size(&codec, &bytes, NULL), TQ_E_HEAD_DIM);
    codec.head_dim = 64;
    assert_int_equal(tq_row_size(&codec, &bytes, NULL), TQ_OK);
    assert_int_equal(tq_last_error()->status, TQ_E_HEAD_DIM);
}

static void row_sizes(void **state) {
    (void)state;
    size_t bytes = 1234, norms = 5678;
    tq_codec codec = {.format = TQ_TQ4, .head_dim = 64};
    assert_record(tq_row_size(NULL, &bytes, &norms), TQ_E_NULL, "codec");
    for (size_t i = 0; i < COUNT(no_formats); i++) {
        codec.format = (tq_format)no_formats[i];
        assert_record(tq_row_size(&codec, &bytes, &norms), TQ_E_FORMAT, "format");
    }
    codec.format = TQ_TQ8;
    for (size_t i = 0; i < COUNT(v2_no_dims); i++) {
        codec.head_dim = v2_no_dims[i];
        assert_record(tq_row_size(&codec, &bytes, &norms), TQ_E_HEAD_DIM, "head_dim");
    }
    codec.format = TQ_TQ8_V1;
    for (size_t i = 0; i < COUNT(v1_no_dims); i++) {
        codec.head_dim = v1_no_dims[i];
        assert_record(tq_row_size(&codec, &bytes, &norms), TQ_E_HEAD_DIM, "head_dim");
    }
    assert_int_equal(bytes, 1234);
    assert_int_equal(norms, 5678);
}

static void rotations(void **state) {
    (void)state;
    guard dst = guard_new(4 * 64 * sizeof(float));
    float src[128] = {0}, *out = dst.data;
    tq_codec good = {.format = TQ_TQ4, .head_dim = 64}, bad = good;
    assert_record(tq_rotate(NULL, TQ_ROTATED, 1, src, out), TQ_E_NULL, "codec");
    assert_record(tq_rotate(&good, TQ_ROTATED, 1, NULL, out), TQ_E_NULL, "src");
    assert_record(tq_rotate(&good, TQ_ROTATED, 1, src, NULL), TQ_E_NULL, "dst");
    assert_record(tq_rotate(&good, (tq_domain)2, 1, src, out), TQ_E_DOMAIN, "domain");
    assert_record(tq_rotate(&good, TQ_ROTATED, SIZE_MAX / 64, src, out), TQ_E_OVERFLOW, "src");
    /* 2^63 bytes fit size_t, but no pointer difference. */
    assert_record(tq_rotate(&good, TQ_ROTATED, SIZE_MAX / 512 + 1, src, out), TQ_E_OVERFLOW, "src");
    assert_record(tq_rotate(&good, TQ_ROTATED, 2, out, out + 1), TQ_E_OVERLAP, "dst");
    assert_record(tq_rotate(&good, TQ_ROTATED, 2, out + 127, out), TQ_E_OVERLAP, "dst");
    bad.format = (tq_format)9;
    assert_record(tq_rotate(&bad, TQ_ROTATED, 1, src, out), TQ_E_FORMAT, "format");
    bad = good;
    bad.head_dim = 65;
    assert_record(tq_rotate(&bad, TQ_ROTATED, 1, src, out), TQ_E_HEAD_DIM, "head_dim");
    assert_int_equal(tq_rotate(&good, TQ_ROTATED, 0, src, out), TQ_OK);
    guard_assert_untouched(&dst);
    memset(out, 0, 256 * sizeof(float));
    assert_int_equal(tq_rotate(&good, TQ_ROTATED, 2, out + 128, out), TQ_OK);
    guard_free(&dst);
}

static void requantisations(void **state) {
    (void)state;
    guard dst = guard_new(200 * sizeof(float));
    float src[100] = {0}, *out = dst.data;
    for (size_t i = 0; i < COUNT(no_formats); i++)
        assert_record(tq_requantize((tq_format)no_formats[i], src, out, 100), TQ_E_FORMAT, "format");
    assert_record(tq_requantize(TQ_TQ3, NULL, out, 100), TQ_E_NULL, "src");
    assert_record(tq_requantize(TQ_TQ3, src, NULL, 100), TQ_E_NULL, "dst");
    assert_record(tq_requantize(TQ_TQ3, src, out, SIZE_MAX / 4 + 1), TQ_E_OVERFLOW, "src");
    assert_record(tq_requantize(TQ_TQ3, src, out, SIZE_MAX / 8 + 1), TQ_E_OVERFLOW, "src");
    assert_record(tq_requantize(TQ_TQ3, out, out + 99, 100), TQ_E_OVERLAP, "dst");
    assert_record(tq_requantize(TQ_TQ3, out + 1, out, 100), TQ_E_OVERLAP, "dst");
    for (size_t i = 0; i < 100; i += 7) {
        src[i] = i % 2 ? NAN : -INFINITY;
        assert_record(tq_requantize(TQ_TQ3, src, out, 100), TQ_E_NOT_FINITE, "src");
        assert_int_equal(tq_last_error()->index, i);
        src[i] = 0.0f;
    }
    guard_assert_untouched(&dst);
    guard_free(&dst);
}

static void packings(void **state) {
    (void)state;
    enum { BYTES = 2 * 64 * 3 / 8 };
    guard both = guard_new(400);
    uint8_t codes[2 * 64] = {0}, packed[BYTES] = {0}, *out = both.data;
    tq_codec good = {.format = TQ_TQ3, .head_dim = 64}, bad = good;
    bad.format = (tq_format)0x103;
    for (int unpack = 0; unpack < 2; unpack++) {
        tq_status (*f)(const tq_codec *, size_t, const uint8_t *, uint8_t *) =
            unpack ? tq_unpack : tq_pack;
        const uint8_t *in = unpack ? packed : codes;
        const char *from = unpack ? "packed" : "codes", *to = unpack ? "codes" : "packed";
        assert_record(f(NULL, 2, in, out), TQ_E_NULL, "codec");
        assert_record(f(&good, 2, NULL, out), TQ_E_NULL, from);
        assert_record(f(&good, 2, in, NULL), TQ_E_NULL, to);
        assert_record(f(&bad, 2, in, out), TQ_E_FORMAT, "format");
        tq_codec odd = {.format = TQ_TQ3, .head_dim = 72};
        assert_record(f(&odd, 2, in, out), TQ_E_HEAD_DIM, "head_dim");
        assert_int_equal(f(&good, SIZE_MAX / 8, in, out), TQ_E_OVERFLOW);
        assert_int_equal(f(&good, 2, out, out), TQ_E_OVERLAP);
        assert_int_equal(f(&good, 2, out, out + (unpack ? BYTES : 128) - 1), TQ_E_OVERLAP);
        assert_int_equal(f(&good, 2, out + (unpack ? 128 : BYTES) - 1, out), TQ_E_OVERLAP);
        assert_int_equal(f(&good, 0, in, out), TQ_OK);
        guard_assert_untouched(&both);
    }
    assert_int_equal(tq_unpack(&good, 2, packed, out), TQ_OK);
    guard_free(&both);
}

static void codebooks_and_names(void **state) {
    (void)state;
    float c[256] = {7.0f}, b[255] = {7.0f};
    tq_format format = TQ_TQ6;
    for (size_t i = 0; i < COUNT(no_formats); i++)
        assert_record(tq_codebook((tq_format)no_formats[i], c, b), TQ_E_FORMAT, "format");
    assert_true(c[0] == 7.0f && c[1] == 0.0f && b[0] == 7.0f && b[1] == 0.0f);
    assert_record(tq_format_from_name(NULL, &format), TQ_E_NULL, "name");
    assert_record(tq_format_from_name("tq4", NULL), TQ_E_NULL, "format");
    assert_int_equal(tq_format_from_name("tq4-v3", &format), TQ_E_FORMAT);
    assert_int_equal(format, TQ_TQ6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_and_decode),   cmocka_unit_test(success_keeps_the_record),
        cmocka_unit_test(row_sizes),           cmocka_unit_test(rotations),
        cmocka_unit_test(requantisations),     cmocka_unit_test(packings),
        cmocka_unit_test(codebooks_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
