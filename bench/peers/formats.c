/* SPDX-License-Identifier: MIT
 * The formats that are compared: ggml's row functions and ours behind one face. */
#include "formats.h"

#include <stdio.h>

#include "ggml-cpu.h"
#include "ggml.h"

const peer_format peer_formats[N_PEER_FORMATS] = {
    {"f16", GGML_TYPE_F16, TQ_TQ4},
    {"q8_0", GGML_TYPE_Q8_0, TQ_TQ4},
    {"q4_0", GGML_TYPE_Q4_0, TQ_TQ4},
    {"iq4_nl", GGML_TYPE_IQ4_NL, TQ_TQ4},
    {"tq4", -1, TQ_TQ4},
    {"tq5", -1, TQ_TQ5},
    {"tq6", -1, TQ_TQ6},
    {"tq8", -1, TQ_TQ8},
    {"tq4-v1", -1, TQ_TQ4_V1},
};

void peer_begin(void) {
    ggml_cpu_init(); /* its tables of float16 */
}

static tq_codec codec_of(const peer_format *format, size_t dim) {
    return (tq_codec){.format = format->ours, .head_dim = (uint32_t)dim, .scale_factor_d512 = 1.0f};
}

size_t peer_row_bytes(const peer_format *format, size_t dim) {
    if (format->ggml_type >= 0) return ggml_row_size((enum ggml_type)format->ggml_type, (int64_t)dim);
    const tq_codec codec = codec_of(format, dim);
    size_t code_bytes, norm_bytes;
    return tq_row_size(&codec, &code_bytes, &norm_bytes) == TQ_OK ? code_bytes + norm_bytes : 0;
}

/* All codes come first. */
typedef struct places {
    size_t n_codes, n_norms;
    uint8_t *codes, *norms;
} places;

static places places_in(const tq_codec *codec, size_t rows, uint8_t *encoded) {
    places p = {0};
    size_t code_bytes = 0, norm_bytes = 0;
    (void)tq_row_size(codec, &code_bytes, &norm_bytes); /* asked before, for the size of `encoded` */
    p.n_codes = rows * code_bytes;
    p.n_norms = rows * norm_bytes;
    p.codes = encoded;
    p.norms = encoded + p.n_codes;
    return p;
}

static int finish(tq_status status) {
    if (status == TQ_OK) return 0;
    fprintf(stderr, "peers: %s\n", tq_last_error()->message);
    return -1;
}

int peer_encode(const peer_format *format, size_t rows, size_t dim, const float *src, uint8_t *codes) {
    if (format->ggml_type >= 0) {
        /* What ggml-cpu itself calls: its fastest path on this machine. */
        const struct ggml_type_traits_cpu *traits =
            ggml_get_type_traits_cpu((enum ggml_type)format->ggml_type);
        traits->from_float(src, codes, (int64_t)(rows * dim));
        return 0;
    }
    const tq_codec codec = codec_of(format, dim);
    const tq_batch batch = {.heads = 1, .rows = rows};
    const places p = places_in(&codec, rows, codes);
    return finish(
        tq_encode(&codec, &batch, src, rows * dim, NULL, 0, p.codes, p.n_codes, p.norms, p.n_norms));
}

int peer_decode(const peer_format *format, size_t rows, size_t dim, const uint8_t *codes,
                tq_domain domain, float *dst) {
    if (format->ggml_type == GGML_TYPE_F16) {
        ggml_cpu_fp16_to_fp32((const ggml_fp16_t *)(const void *)codes, dst, (int64_t)(rows * dim));
        return 0;
    }
    if (format->ggml_type >= 0) {
        ggml_get_type_traits((enum ggml_type)format->ggml_type)
            ->to_float(codes, dst, (int64_t)(rows * dim));
        return 0;
    }
    const tq_codec codec = codec_of(format, dim);
    const tq_batch batch = {.heads = 1, .rows = rows};
    const places p = places_in(&codec, rows, (uint8_t *)(uintptr_t)codes);
    return finish(tq_decode(&codec, &batch, domain, p.codes, p.n_codes, p.norms, p.n_norms, NULL, 0, dst,
                            rows * dim));
}
