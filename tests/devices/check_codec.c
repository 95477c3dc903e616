/* SPDX-License-Identifier: MIT
 * Every operation of tqkv/cuda.h against the CPU: codes, norms and decoded values must be the same bytes.
 */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

enum { HEADS = 3, PAGE = 16, MOST = 1024, FEW = 67, MANY = 1001, MOST_SLOTS = MANY + 6 * PAGE };

/* Few vectors and many have kernels of their own. */
static size_t tokens, slots_there, stretch;
static void set_tokens(size_t n) {
    tokens = n;
    slots_there = PAGE * (n / PAGE + 5);
    stretch = n == FEW ? 16 : 256; /* five of them are enough */
}

static void same(bool ok, const char *what, const tq_codec *c, size_t at) {
    expect(ok, "%s %s D %u rule %d at %zu", what, tq_format_name(c->format), c->head_dim,
           (int)c->norm_rule, at);
}

/* Ordinary rows and hostile ones. */
static void fill_row(float *x, unsigned dim, unsigned kind) {
    static const float sizes[14] = {1, 0, 1, 1e-19f, 1e-7f, 1e2f, 1, 1, 1, 1, 1e-39f, 1, 1, 1};
    const unsigned k = kind % 14;
    for (unsigned j = 0; j < dim; j++) {
        x[j] = normal() * sizes[k];
        if (k == 2) x[j] = j == kind / 14 % dim ? 3.0f : 0.0f;
        if (k == 6) x[j] = (float)((int)(next() % 3) - 1);
        if (k == 7) x[j] = 1.0f;
        if (k == 8) x[j] = j & 1 ? -0.0f : 1e-5f;
        if (k == 9 && j == 7) x[j] *= 1000.0f;
    }
}

/* n of them, side by side; after the first 203 they come again. */
static void fill_rows(float *x, unsigned dim, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (i < 203)
            fill_row(x + i * dim, dim, (unsigned)i);
        else
            memcpy(x + i * dim, x + i % 203 * dim, dim * sizeof *x);
}

static float x[HEADS * MANY * MOST], y[HEADS * MANY * MOST], z[HEADS * MANY * MOST];
static uint8_t codes[HEADS * MANY * MOST], norms[HEADS * MANY * 8];
static uint8_t paged[HEADS * MOST_SLOTS * MOST], paged_norms[HEADS * MOST_SLOTS * 8];
static uint16_t centre[5 * HEADS * MOST], halves[HEADS * MANY * MOST];

/* x is [token][head][D] for the device, [head][token][D] for the CPU by strides. */
static void check_encode(const tq_codec *c, int centred, int type) {
    size_t row, norm_row;
    succeed(tq_row_size(c, &row, &norm_row));
    const unsigned dim = c->head_dim;
    const size_t n = tokens * HEADS * dim;
    fill_rows(x, dim, tokens * HEADS);
    for (size_t i = 0; i < n && type == TQ_BF16; i++) {
        const uint32_t bits = (uint32_t)(halves[i] = to_bf16(x[i])) << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (size_t i = 0; i < sizeof centre / sizeof *centre; i++) {
        const float g = normal();
        succeed(tq_round_centre(&g, &centre[i], 1));
    }
    const tq_batch batch = {.heads = HEADS,
                            .rows = tokens,
                            .dense_row_stride = HEADS * dim,
                            .dense_head_stride = dim,
                            .centre_stretch = stretch};
    succeed(tq_encode(c, &batch, x, n, centred ? centre : NULL, 5 * HEADS * dim, codes, sizeof codes,
                      norms, sizeof norms));
    int64_t slots[MANY];
    for (size_t t = 0; t < tokens; t++)
        slots[t] = (int64_t)((t * 37 + 5) % slots_there);
    slots[11] = -1; /* padding */
    uint64_t none = UINT64_MAX;
    void *d_x = type == TQ_BF16 ? upload(halves, 2 * n) : upload(x, 4 * n),
         *d_centre = upload(centre, sizeof centre);
    void *d_codes = device(HEADS * slots_there * row), *d_norms = device(HEADS * slots_there * norm_row);
    void *d_slots = upload(slots, tokens * sizeof *slots), *d_fault = upload(&none, sizeof none);
    const tq_cuda_side side = {.codec = *c,
                               .src_type = (tq_type)type,
                               .src = d_x,
                               .codes = d_codes,
                               .n_codes = HEADS * slots_there * row,
                               .norms = d_norms,
                               .n_norms = HEADS * slots_there * norm_row,
                               .centre = centred ? d_centre : NULL,
                               .n_centres = 5,
                               .centre_stretch = stretch,
                               .fault = d_fault};
    const tq_cuda_encode_params p = {.size = sizeof p,
                                     .n_tokens = tokens,
                                     .n_kv_heads = HEADS,
                                     .v = &side,
                                     .page_rows = PAGE,
                                     .n_slots = slots_there,
                                     .slots = d_slots};
    succeed(tq_cuda_encode(cuda, &p, NULL));
    download(paged, d_codes, HEADS * slots_there * row);
    download(paged_norms, d_norms, HEADS * slots_there * norm_row);
    download(&none, d_fault, sizeof none);
    same(none == UINT64_MAX, "fault", c, (size_t)none);
    for (size_t t = 0; t < tokens; t++)
        for (size_t h = 0; h < HEADS && slots[t] >= 0; h++) {
            const size_t page = (size_t)slots[t] / PAGE, r = (size_t)slots[t] % PAGE;
            const size_t at = (page * HEADS + h) * PAGE + r;
            same(memcmp(paged + at * row, codes + (h * tokens + t) * row, row) == 0, "codes", c,
                 t * HEADS + h);
            same(memcmp(paged_norms + at * norm_row, norms + (h * tokens + t) * norm_row, norm_row) == 0,
                 "norms", c, t * HEADS + h);
        }
    same(paged[((11 * 37 + 5) % slots_there / PAGE * HEADS * PAGE + (11 * 37 + 5) % slots_there % PAGE) *
               row] == 0xA5,
         "padding", c, 11);
    device_reset();
}

/* What check_encode() left in codes and norms. */
static void check_decode(const tq_codec *c, tq_domain domain, int centred) {
    size_t row, norm_row;
    succeed(tq_row_size(c, &row, &norm_row));
    const unsigned dim = c->head_dim;
    const size_t n = tokens * HEADS * dim;
    const tq_batch batch = {.heads = HEADS, .rows = tokens, .centre_stretch = stretch, .centre_first = 5};
    succeed(tq_decode(c, &batch, domain, codes, sizeof codes, norms, sizeof norms,
                      centred ? centre : NULL, 5 * HEADS * dim, y, n));
    void *d_codes = upload(codes, HEADS * tokens * row),
         *d_norms = upload(norms, HEADS * tokens * norm_row);
    void *d_centre = upload(centre, sizeof centre), *d_y = device(4 * n);
    for (int type = TQ_F32; type <= TQ_BF16; type++) {
        succeed(tq_cuda_decode(cuda, c, &batch, domain, d_codes, HEADS * tokens * row, d_norms,
                               HEADS * tokens * norm_row, centred ? d_centre : NULL, 5 * HEADS * dim,
                               (tq_type)type, d_y, n, NULL));
        download(z, d_y, (type == TQ_F32 ? 4 : 2) * n);
        if (type == TQ_F32) {
            same(memcmp(y, z, 4 * n) == 0, "float32", c, (size_t)domain);
            continue;
        }
        const uint16_t *got = (const uint16_t *)z;
        size_t wrong = 0;
        for (size_t i = 0; i < n; i++)
            if (type == TQ_BF16)
                wrong += got[i] != to_bf16(y[i]);
            else if (fabsf(y[i]) <= 65504.0f) /* what float16 holds */
                wrong += got[i] != to_f16(y[i]);
        same(wrong == 0, type == TQ_F16 ? "float16" : "bfloat16", c, wrong);
    }
    device_reset();
}

static void check_rotate(const tq_codec *c) {
    const size_t rows = 37, n = rows * c->head_dim;
    for (size_t i = 0; i < rows; i++)
        fill_row(x + i * c->head_dim, c->head_dim, (unsigned)i);
    for (int to = 0; to < 2; to++) {
        const tq_domain domain = to == 0 ? TQ_ROTATED : TQ_ORIGINAL;
        succeed(tq_rotate(c, domain, rows, x, y));
        float *d_x = upload(x, 4 * n), *d_y = device(4 * n);
        succeed(tq_cuda_rotate(cuda, c, domain, rows, d_x, d_y, NULL));
        download(z, d_y, 4 * n);
        same(memcmp(y, z, 4 * n) == 0, "rotate", c, (size_t)to);
        succeed(tq_cuda_rotate(cuda, c, domain, rows, d_x, d_x, NULL));
        download(z, d_x, 4 * n);
        same(memcmp(y, z, 4 * n) == 0, "rotate in place", c, (size_t)to);
        device_reset();
    }
}

static void check_requantize(tq_format format) {
    const tq_codec c = {.format = format, .head_dim = 256};
    for (size_t n = 1; n < 3000; n = n * 3 + 1) {
        for (size_t i = 0; i < n; i++)
            x[i] = i % 7 == 0 ? 0.0f : i % 11 == 0 ? -0.0f : normal() * (i % 5 == 0 ? 10.0f : 1.0f);
        succeed(tq_requantize(format, x, y, n));
        float *d_x = upload(x, 4 * n);
        succeed(tq_cuda_requantize(cuda, format, d_x, d_x, n, NULL));
        download(z, d_x, 4 * n);
        same(memcmp(y, z, 4 * n) == 0, "requantize", &c, n);
        device_reset();
    }
}

/* Rows that begin anywhere: `gap` elements or bytes lie between any two, and `gap` before the first. Keys
 * and values of two formats in one launch, in a ring that wraps. */
static void check_layout(tq_format k, tq_format v, uint32_t dim, size_t gap, tq_type type) {
    const int v1 = TQ_IS_V1(k);
    const tq_codec codecs[2] = {{k, dim, v1 ? TQ_NORM_PLAIN : TQ_NORM_MATCHED, 1.0f},
                                {v, dim, v1 ? TQ_NORM_PLAIN : TQ_NORM_UNBIASED, 1.0f}};
    const size_t vectors = tokens * HEADS, element = type == TQ_F32 ? 4 : 2;
    const size_t src_row = dim + gap, src_bytes = (vectors * src_row + gap) * element;
    uint8_t *src = host(src_bytes);
    fill_rows(x, dim, vectors);
    for (size_t i = 0; i < vectors; i++)
        for (size_t j = 0; j < dim; j++) {
            const size_t at = gap + i * src_row + j;
            uint32_t bits;
            memcpy(&bits, &x[i * dim + j], sizeof bits);
            if (type == TQ_BF16) bits &= 0xffff0000u;
            memcpy(&x[i * dim + j], &bits, sizeof bits);
            memcpy(src + at * element, (const uint8_t *)&bits + 4 - element, element);
        }
    uint8_t *d_src = upload(src, src_bytes), *d_out[2];
    tq_cuda_side sides[2];
    size_t row[2], norm_row[2], step[2], n[2];
    for (int s = 0; s < 2; s++) {
        succeed(tq_row_size(&codecs[s], &row[s], &norm_row[s]));
        step[s] = row[s] + norm_row[s] + gap; /* norms lie behind their codes */
        n[s] = HEADS * slots_there * step[s];
        d_out[s] = device(n[s] + gap);
        sides[s] = (tq_cuda_side){.codec = codecs[s],
                                  .src_type = type,
                                  .src = d_src + gap * element,
                                  .src_token_stride = HEADS * src_row,
                                  .src_head_stride = src_row,
                                  .codes = d_out[s] + gap,
                                  .n_codes = n[s],
                                  .code_row_stride = step[s],
                                  .norms = d_out[s] + gap + row[s],
                                  .n_norms = n[s] - row[s],
                                  .norm_row_stride = step[s]};
    }
    const tq_cuda_encode_params p = {.size = sizeof p,
                                     .n_tokens = tokens,
                                     .n_kv_heads = HEADS,
                                     .k = &sides[0],
                                     .v = &sides[1],
                                     .n_slots = slots_there,
                                     .first_slot = slots_there - 20};
    succeed(tq_cuda_encode(cuda, &p, NULL));
    float *d_y = device(vectors * src_row * sizeof(float));
    for (int s = 0; s < 2; s++) {
        const tq_batch batch = {.heads = HEADS,
                                .rows = tokens,
                                .dense_row_stride = HEADS * (size_t)dim,
                                .dense_head_stride = dim};
        succeed(tq_encode(&codecs[s], &batch, x, vectors * dim, NULL, 0, codes, sizeof codes, norms,
                          sizeof norms));
        uint8_t *out = host(n[s] + gap);
        download(out, d_out[s], n[s] + gap);
        for (size_t i = 0; i < vectors; i++) {
            const size_t t = i / HEADS, h = i % HEADS, slot = (slots_there - 20 + t) % slots_there;
            const uint8_t *at = out + gap + (h * slots_there + slot) * step[s];
            same(memcmp(at, codes + (h * tokens + t) * row[s], row[s]) == 0, "odd codes", &codecs[s], i);
            same(memcmp(at + row[s], norms + (h * tokens + t) * norm_row[s], norm_row[s]) == 0,
                 "odd norms", &codecs[s], i);
            same(gap == 0 || at[step[s] - 1] == 0xA5, "a gap", &codecs[s], i);
        }
        const tq_batch device_batch = {.heads = HEADS,
                                       .rows = tokens - 20,
                                       .dense_row_stride = src_row,
                                       .code_row_stride = step[s],
                                       .code_head_stride = slots_there * step[s],
                                       .norm_row_stride = step[s],
                                       .norm_head_stride = slots_there * step[s]};
        const size_t dense = (size_t)HEADS * (tokens - 20) * src_row;
        succeed(tq_decode(&codecs[s], &device_batch, TQ_ORIGINAL, out + gap, n[s], out + gap + row[s],
                          n[s] - row[s], NULL, 0, y, dense));
        succeed(tq_cuda_decode(cuda, &codecs[s], &device_batch, TQ_ORIGINAL, d_out[s] + gap, n[s],
                               d_out[s] + gap + row[s], n[s] - row[s], NULL, 0, type, d_y, dense, NULL));
        download(z, d_y, dense * element);
        size_t wrong = 0;
        for (size_t i = 0; i < dense; i++) {
            const bool equal = type == TQ_BF16 ? ((const uint16_t *)z)[i] == to_bf16(y[i])
                                               : memcmp(&y[i], &z[i], 4) == 0;
            wrong += i % src_row < dim && !equal;
        }
        same(wrong == 0, "odd rows decoded", &codecs[s], wrong);
        free(out);
    }
    free(src);
    device_reset();
}

/* More vectors than a device has threads for at once. */
static void check_many(tq_format format, uint32_t dim) {
    const tq_codec c = {format, dim, TQ_NORM_MATCHED, 1.0f};
    const size_t n = 70001, values = n * dim;
    size_t row, norm_row;
    succeed(tq_row_size(&c, &row, &norm_row));
    float *src = host(values * sizeof *src), *dst = host(values * sizeof *dst);
    uint8_t *want = host(n * row), *got = host(n * row);
    uint8_t *want_norms = host(2 * n), *got_norms = host(2 * n);
    for (size_t i = 0; i < n; i++)
        if (i < 4096)
            fill_row(src + i * dim, dim, (unsigned)i);
        else
            for (size_t j = 0; j < dim; j++)
                src[i * dim + j] = src[(i % 4096) * dim + j] * (1.0f + (float)(i % 977) / 512.0f);
    const tq_batch batch = {.heads = 1, .rows = n};
    succeed(tq_encode(&c, &batch, src, values, NULL, 0, want, n * row, want_norms, 2 * n));
    float *d_src = upload(src, values * sizeof *src);
    uint8_t *d_codes = device(n * row), *d_norms = device(2 * n);
    const tq_cuda_side side = {.codec = c,
                               .src = d_src,
                               .codes = d_codes,
                               .n_codes = n * row,
                               .norms = d_norms,
                               .n_norms = 2 * n};
    const tq_cuda_encode_params p = {
        .size = sizeof p, .n_tokens = n, .n_kv_heads = 1, .k = &side, .n_slots = n};
    succeed(tq_cuda_encode(cuda, &p, NULL));
    download(got, d_codes, n * row);
    download(got_norms, d_norms, 2 * n);
    same(memcmp(got, want, n * row) == 0, "many codes", &c, n);
    same(memcmp(got_norms, want_norms, 2 * n) == 0, "many norms", &c, n);
    succeed(tq_decode(&c, &batch, TQ_ORIGINAL, want, n * row, want_norms, 2 * n, NULL, 0, dst, values));
    succeed(tq_cuda_decode(cuda, &c, &batch, TQ_ORIGINAL, d_codes, n * row, d_norms, 2 * n, NULL, 0,
                           TQ_F32, d_src, values, NULL));
    download(src, d_src, values * sizeof *src);
    same(memcmp(src, dst, values * sizeof *src) == 0, "many decoded", &c, n);
    free(src), free(dst), free(want), free(got), free(want_norms), free(got_norms);
    device_reset();
}

static void check_layouts(size_t n_tokens) {
    static const uint32_t dims[] = {48, 64, 80, 96, 112, 128, 192, 256, 512, 576};
    set_tokens(n_tokens);
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int f = 0; f < 7; f++)
            for (size_t gap = 0; gap < (n_tokens == FEW ? 5 : 2); gap++)
                check_layout((tq_format)(TQ_TQ2 + f), (tq_format)(TQ_TQ2 + (f + 3) % 7), dims[i],
                             gap == 3 ? 14 : gap, gap % 2 == 0 ? TQ_F32 : TQ_BF16);
    for (size_t gap = 0; gap < 5; gap++)
        check_layout(TQ_TQ4_V1, TQ_TQ6_V1, 512, gap, TQ_F32);
    if (n_tokens == MANY) return;
    for (int f = 0; f < 7; f++)
        check_many((tq_format)(TQ_TQ2 + f), 128);
    check_many(TQ_TQ4, 64);
    check_many(TQ_TQ3, 80);
    check_many(TQ_TQ4, 256);
}

/* The lowest value that cannot be encoded is told, and its vector left alone. */
static void check_faults(void) {
    const tq_codec c = {.format = TQ_TQ4, .head_dim = 128};
    enum { D = 128, N = 40 };
    static const struct {
        float value;
        size_t index;
    } faults[] = {{NAN, 17 * D + 77}, {INFINITY, 3 * D}, {-1e18f, 39 * D + 127}, {60000.0f, 8 * D}};
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (size_t i = 0; i < N * D; i++)
            x[i] = normal();
        const size_t at = faults[f].index;
        for (size_t j = 0; j < D && f == 3; j++)
            x[at + j] = faults[f].value; /* a norm that float16 cannot hold */
        x[at] = faults[f].value;
        x[38 * D + 5] = f == 0 ? -INFINITY : x[38 * D + 5];
        uint64_t fault = UINT64_MAX;
        int64_t slots[N];
        for (int t = 0; t < N; t++)
            slots[t] = t;
        void *d_x = upload(x, 4 * N * D), *d_codes = device(N * 64), *d_norms = device(N * 2);
        void *d_fault = upload(&fault, sizeof fault), *d_slots = upload(slots, sizeof slots);
        const tq_cuda_side side = {.codec = c,
                                   .src = d_x,
                                   .codes = d_codes,
                                   .n_codes = N * 64,
                                   .norms = d_norms,
                                   .n_norms = N * 2,
                                   .fault = d_fault};
        const tq_cuda_encode_params p = {
            .size = sizeof p, .n_tokens = N, .n_kv_heads = 1, .k = &side, .n_slots = N, .slots = d_slots};
        succeed(tq_cuda_encode(cuda, &p, NULL));
        download(&fault, d_fault, sizeof fault);
        download(paged, d_codes, N * 64);
        download(paged_norms, d_norms, N * 2);
        same(fault == at, "the fault's index", &c, (size_t)fault);
        same(paged[at / D * 64] == 0xA5 && paged_norms[at / D * 2] == 0xA5, "the vector at fault", &c, f);
        for (size_t j = 0; j < D; j++) /* the others are as if it were not there */
            x[at / D * D + j] = x[38 * D + j] = 0.0f;
        const tq_batch batch = {.heads = 1, .rows = N};
        succeed(tq_encode(&c, &batch, x, N * D, NULL, 0, codes, sizeof codes, norms, sizeof norms));
        for (size_t i = 0; i < N; i++)
            if (i != at / D && i != 38)
                same(memcmp(paged + i * 64, codes + i * 64, 64) == 0 &&
                         memcmp(paged_norms + i * 2, norms + i * 2, 2) == 0,
                     "beside a fault", &c, i);
        device_reset();
    }
}

static void refuse(tq_status status, tq_status wanted, const char *field) {
    const tq_codec c = {.format = TQ_TQ4, .head_dim = 128};
    same(status == wanted && strcmp(tq_last_error()->field, field) == 0, field, &c, (size_t)status);
}

static void check_arguments(void) {
    const tq_codec c = {.format = TQ_TQ4, .head_dim = 128};
    tq_cuda *none;
    float *d = device(4096);
    const tq_batch b = {.heads = 1, .rows = 2};
    refuse(tq_cuda_open(99, &none), TQ_E_DEVICE, "device");
    refuse(tq_cuda_open(-1, &none), TQ_E_DEVICE, "device");
    refuse(tq_cuda_rotate(NULL, &c, TQ_ROTATED, 1, d, d, NULL), TQ_E_NULL, "cuda");
    refuse(tq_cuda_rotate(cuda, &c, TQ_ROTATED, 1, d, NULL, NULL), TQ_E_NULL, "dst");
    refuse(tq_cuda_rotate(cuda, &c, TQ_ROTATED, 2, d, d + 128, NULL), TQ_E_OVERLAP, "dst");
    refuse(tq_cuda_rotate(cuda, &c, TQ_ROTATED, SIZE_MAX, d, d, NULL), TQ_E_OVERFLOW, "src");
    refuse(
        tq_cuda_decode(cuda, &c, &b, TQ_ROTATED, d, 127, d + 512, 4, NULL, 0, TQ_F32, d + 256, 256, NULL),
        TQ_E_SIZE, "codes");
    refuse(tq_cuda_decode(cuda, &c, &b, TQ_ROTATED, d, 128, d + 512, 4, NULL, 0, (tq_type)9, d + 256, 256,
                          NULL),
           TQ_E_FORMAT, "type");
    tq_cuda_side side = {
        .codec = c, .src = d, .codes = d + 512, .n_codes = 128, .norms = d + 600, .n_norms = 4};
    tq_cuda_encode_params p = {
        .size = sizeof p, .n_tokens = 3, .n_kv_heads = 1, .k = &side, .n_slots = 2};
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_POSITION, "n_tokens");
    p.n_tokens = 2, p.n_slots = 3;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_SIZE, "codes");
    p.n_slots = 2, side.n_norms = 3;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_SIZE, "norms");
    side.n_norms = 4, side.code_row_stride = 32;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_STRIDE, "codes");
    side.code_row_stride = 0, p.page_rows = 1, side.code_page_stride = 32;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_STRIDE, "codes");
    p.page_rows = 0, side.code_page_stride = 0, side.norms = d + 513;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_OVERLAP, "codes");
    side.norms = d + 600, side.centre = (const uint16_t *)(const void *)d, side.n_centres = 2;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_POSITION, "centre_stretch");
    side.centre = NULL, p.size = 0;
    refuse(tq_cuda_encode(cuda, &p, NULL), TQ_E_SIZE, "size");
    device_reset();
}

/* The reference's blocks, at positions of their own. */
static void check_reference(uint32_t dim, uint32_t bits) {
    enum { CAPACITY = 9 };
    const tq_codec c = {
        .format = (tq_format)(TQ_TQ4_V1 - 4 + bits), .head_dim = dim, .scale_factor_d512 = 1.0f};
    size_t row, norm_row;
    succeed(tq_row_size(&c, &row, &norm_row));
    const size_t n_codes = HEADS * CAPACITY * row, n_norms = HEADS * CAPACITY * norm_row / 4;
    for (size_t i = 0; i < n_codes; i++)
        codes[i] = (uint8_t)next();
    for (size_t i = 0; i < n_norms; i++) {
        const float g = fabsf(normal());
        memcpy(norms + 4 * i, &g, 4);
    }
    uint8_t *d_codes = upload(codes, n_codes);
    float *d_norms = upload(norms, 4 * n_norms), *d_y = device(4 * HEADS * dim);
    for (uint32_t pos = 0; pos < CAPACITY; pos++) {
        const tq_dequantize_hb_kv_params p = {dim, HEADS, pos, CAPACITY, dim / 256, 1.0f, bits};
        const tq_dequantize_kv_params q = {dim, HEADS, pos, CAPACITY, dim / 256, 1.0f};
        const float *host_norms = (const float *)(const void *)norms;
        if (bits == 4) {
            succeed(tq_dequantize_kv(&q, codes, n_codes, host_norms, n_norms, y, HEADS * dim));
            succeed(tq_cuda_dequantize_kv(cuda, &q, d_codes, n_codes, d_norms, n_norms, d_y, HEADS * dim,
                                          NULL));
        } else {
            succeed(tq_dequantize_hb_kv(&p, codes, n_codes, host_norms, n_norms, y, HEADS * dim));
            succeed(tq_cuda_dequantize_hb_kv(cuda, &p, d_codes, n_codes, d_norms, n_norms, d_y,
                                             HEADS * dim, NULL));
        }
        download(z, d_y, 4 * HEADS * dim);
        same(memcmp(y, z, 4 * HEADS * dim) == 0, "reference", &c, pos);
    }
    device_reset();
}

/* Captured, and run twice. */
static void check_codec_graph(void) {
    const tq_codec c = {.format = TQ_TQ6, .head_dim = 256};
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t run;
    const size_t n = 5 * 256;
    for (size_t i = 0; i < n; i++)
        x[i] = normal();
    float *d_x = upload(x, 4 * n), *d_y = device(4 * n);
    need(cudaStreamCreate(&stream), "stream");
    need(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    succeed(tq_cuda_rotate(cuda, &c, TQ_ROTATED, 5, d_x, d_y, stream));
    succeed(tq_cuda_rotate(cuda, &c, TQ_ORIGINAL, 5, d_y, d_y, stream));
    need(cudaStreamEndCapture(stream, &graph), "capture");
    need(cudaGraphInstantiate(&run, graph, 0), "graph");
    for (int i = 0; i < 2; i++)
        need(cudaGraphLaunch(run, stream), "graph");
    need(cudaStreamSynchronize(stream), "graph");
    succeed(tq_rotate(&c, TQ_ROTATED, 5, x, y));
    succeed(tq_rotate(&c, TQ_ORIGINAL, 5, y, y));
    download(z, d_y, 4 * n);
    same(memcmp(y, z, 4 * n) == 0, "graph", &c, 0);
    cudaGraphExecDestroy(run), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
    device_reset();
}

/* Dimensions, norms and domains; those without kernels of their own with few vectors alone. */
static void check_format(tq_format format, size_t f, size_t n) {
    const int v1 = TQ_IS_V1(format);
    set_tokens(n);
    for (uint32_t dim = v1 ? 256 : 32; dim <= (v1 ? 512 : 1024); dim += v1 ? 256 : 16)
        for (int rule = TQ_NORM_PLAIN; rule <= (v1 ? TQ_NORM_PLAIN : TQ_NORM_UNBIASED); rule++) {
            const tq_codec c = {format, dim, (tq_norm_rule)rule, 1.0f};
            if (rule != (int)(1 + dim / 16 % 3) && !v1 && dim % 64 != 0) continue;
            if (n == MANY &&
                !(dim >= 64 && (dim <= 128 || dim == 192 || dim == 256 || dim == 512 || dim == 576)))
                continue;
            check_encode(&c, (dim / 16 + f) % 2 == 0, rule == TQ_NORM_UNBIASED ? TQ_BF16 : TQ_F32);
            check_decode(&c, TQ_ROTATED, (dim / 16 + f) % 2 == 1);
            check_decode(&c, TQ_ORIGINAL, (dim / 16 + f) % 2 == 0);
            if (n == FEW && (f == 0 || v1)) check_rotate(&c);
        }
}

void check_codec(void) {
    size_t n_formats;
    const tq_format *formats = tq_formats(&n_formats);
    for (size_t f = 0; f < n_formats; f++) {
        check_requantize(formats[f]);
        check_format(formats[f], f, FEW);
        check_format(formats[f], f, MANY);
    }
    static const uint32_t reference_bits[] = {4, 5, 6, 8};
    for (size_t i = 0; i < 8; i++)
        check_reference(i % 2 == 0 ? 256 : 512, reference_bits[i / 2]);
    check_layouts(FEW);
    check_layouts(MANY);
    check_faults();
    check_arguments();
    check_codec_graph();
}
