/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "tqkv/tqkv.h"

enum { MOST_DIM = 1024 };

typedef struct decoding {
    const decode_row *row;
    stage *s;
    tq_codec codec;
    tq_batch batch;
    size_t sets, row_bytes, n_codes, n_norms, n_values, value_bytes;
    const char *codes[MOST_SETS], *norms[MOST_SETS];
    char *values[MOST_SETS];
} decoding;

static int decoding_open(decoding *d, stage *s, const decode_row *row) {
    const size_t vectors = row->positions * row->kv_heads;
    *d = (decoding){.row = row,
                    .s = s,
                    .codec = {.format = row->format, .head_dim = row->dim},
                    .batch = {.heads = row->kv_heads, .rows = row->positions},
                    .n_norms = vectors * 2,
                    .n_values = vectors * row->dim,
                    .value_bytes = row->type == TQ_F32 ? 4 : 2};
    if (tq_row_size(&d->codec, &d->row_bytes, NULL) != TQ_OK) return 0;
    d->n_codes = vectors * d->row_bytes;
    const size_t stored = d->n_values * d->value_bytes;
    d->sets = stage_sets(s, stored, stored, &s->scratch);
    for (size_t i = 0; i < d->sets; i++) {
        d->codes[i] = take(&s->codes, d->n_codes);
        d->norms[i] = take(&s->norms, d->n_norms);
        d->values[i] = take(&s->scratch, d->n_values * d->value_bytes);
        if (d->codes[i] == NULL || d->norms[i] == NULL || d->values[i] == NULL) return 0;
    }
    return d->sets > 0;
}

static tq_status launch(void *work, size_t i, cudaStream_t stream) {
    const decoding *d = work;
    const size_t set = i % d->sets;
    return tq_cuda_decode(d->s->cuda, &d->codec, &d->batch, d->row->domain, d->codes[set], d->n_codes,
                          d->norms[set], d->n_norms, NULL, 0, d->row->type, d->values[set], d->n_values,
                          stream);
}

/* One vector: the CPU's bits, rounded. */
static int same(const decoding *d, size_t vector) {
    const size_t dim = d->row->dim, bytes = dim * d->value_bytes;
    const tq_batch one = {.heads = 1, .rows = 1};
    uint8_t codes[MOST_DIM];
    char norm[2], told[4 * MOST_DIM];
    float right[MOST_DIM];
    uint16_t rounded[MOST_DIM];
    download(codes, d->codes[0] + vector * d->row_bytes, d->row_bytes);
    download(norm, d->norms[0] + vector * 2, 2);
    download(told, d->values[0] + vector * bytes, bytes);
    if (tq_decode(&d->codec, &one, d->row->domain, codes, d->row_bytes, norm, 2, NULL, 0, right, dim) !=
        TQ_OK)
        return 0;
    if (d->row->type == TQ_F32) return memcmp(told, right, bytes) == 0;
    for (size_t i = 0; i < dim; i++)
        rounded[i] = to_bf16(right[i]);
    return memcmp(told, rounded, bytes) == 0;
}

static int check(decoding *d) {
    if (launch(d, 0, d->s->stream) != TQ_OK) {
        print_failed("tq_cuda_decode", tq_last_error()->message);
        return 0;
    }
    need(cudaStreamSynchronize(d->s->stream), "tq_cuda_decode");
    const size_t last = d->row->positions * d->row->kv_heads - 1;
    if (same(d, 0) && same(d, last / 3) && same(d, last)) return 1;
    print_failed("wrong result", "not the bits of the CPU");
    return 0;
}

static void time_decoding(decoding *d) {
    const size_t stored = d->n_values * d->value_bytes;
    timing t;
    if (!check(d)) return;
    if (stage_time(d->s, launch, d, stage_launches(d->sets, stored), &t) != TQ_OK) {
        print_failed("tq_cuda_decode, captured", tq_last_error()->message);
        return;
    }
    print_timing(&t);
    printf(", \"sets\": %zu, \"stored_bytes\": %zu, \"bytes\": %zu}\n", d->sets, stored,
           stored + d->n_codes + d->n_norms);
}

void decode_measure(stage *s, const decode_row *row, int there_is_time) {
    static decoding d;
    printf(
        "{\"kind\": \"decode\", \"positions\": %zu, \"kv_heads\": %u, \"dim\": %u, \"format\": \"%s\", "
        "\"type\": \"%s\", \"domain\": \"%s\", ",
        row->positions, row->kv_heads, row->dim, tq_format_name(row->format),
        row->type == TQ_F32 ? "f32" : "bf16", row->domain == TQ_ROTATED ? "rotated" : "original");
    if (!there_is_time) {
        print_failed("time", "none was left");
        return;
    }
    stage_reset(s, row->dim, TQ_F32);
    if (decoding_open(&d, s, row))
        time_decoding(&d);
    else
        print_failed("memory", "the row does not fit");
    fflush(stdout);
}
