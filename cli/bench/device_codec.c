/* SPDX-License-Identifier: MIT
 * A row of a device's codec: many vectors, of which those at both ends are the CPU's to the bit. */
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "bench/device.h"

enum { CHECK_ROWS = 64 };

typedef struct codec_row {
    const cli_device_case *c;
    cli_heads heads;
    tq_encoded encoded;
    float *decoded; /* NULL: encode */
    size_t code_bytes, norm_bytes;
} codec_row;

static int differs(const codec_row *r) {
    return cli_fail("%s of %s at D = %u: other bits than the CPU's; nothing is told",
                    cli_bench_op_names[r->c->op], r->c->way.name, r->c->dim);
}

/* n vectors from number `first` of all heads' on. */
static int check_codes(const codec_row *r, size_t first, size_t n) {
    const size_t dim = r->c->dim;
    const uint8_t *codes = r->encoded.codes + first * r->code_bytes;
    const uint8_t *norms = (const uint8_t *)r->encoded.norms + first * r->norm_bytes;
    const tq_batch batch = {.heads = 1, .rows = n};
    uint8_t *again = calloc(n, r->code_bytes), *norms_again = calloc(n, r->norm_bytes);
    tq_status status = TQ_E_NO_MEMORY;
    if (again && norms_again)
        status = tq_encode(&r->encoded.codec, &batch, r->heads.data + first * dim, n * dim, NULL, 0,
                           again, n * r->code_bytes, norms_again, n * r->norm_bytes);
    const bool same = status == TQ_OK && memcmp(again, codes, n * r->code_bytes) == 0 &&
                      memcmp(norms_again, norms, n * r->norm_bytes) == 0;
    free(again);
    free(norms_again);
    TRY(cli_check(NULL, status));
    return same ? CLI_DONE : differs(r);
}

static int check_values(const codec_row *r, size_t first, size_t n) {
    const size_t dim = r->c->dim;
    const tq_batch batch = {.heads = 1, .rows = n};
    float *again = cli_new_floats(n, dim, 1);
    tq_status status = TQ_E_NO_MEMORY;
    if (again)
        status =
            tq_decode(&r->encoded.codec, &batch, r->c->domain, r->encoded.codes + first * r->code_bytes,
                      n * r->code_bytes, (const uint8_t *)r->encoded.norms + first * r->norm_bytes,
                      n * r->norm_bytes, NULL, 0, again, n * dim);
    const bool same =
        status == TQ_OK && memcmp(again, r->decoded + first * dim, n * dim * sizeof *again) == 0;
    free(again);
    TRY(cli_check(NULL, status));
    return same ? CLI_DONE : differs(r);
}

static int check_ends(const codec_row *r, int (*check)(const codec_row *r, size_t first, size_t n)) {
    const size_t all = r->heads.n_heads * r->heads.n_positions, n = all < CHECK_ROWS ? all : CHECK_ROWS;
    TRY(check(r, 0, n));
    return check(r, all - n, n);
}

static int run(cli_device *device, codec_row *r, cli_device_timing *timing) {
    const bool encode = r->c->op == CLI_BENCH_ENCODE;
    cli_device_time(device, encode ? timing : NULL);
    TRY(cli_check(NULL, cli_device_encode(device, &r->heads, 0, &r->encoded)));
    TRY(check_ends(r, check_codes));
    if (encode) return CLI_DONE;
    r->decoded = cli_new_floats(r->heads.n_heads, r->heads.n_positions, r->c->dim);
    if (!r->decoded) return cli_out_of_memory();
    cli_device_time(device, timing);
    TRY(cli_check(NULL, cli_device_decode(device, &r->encoded, r->c->domain, r->decoded)));
    return check_ends(r, check_values);
}

int cli_device_codec_run(cli_device *device, const cli_device_case *c, cli_device_result *result) {
    tq_codec codec = c->way.config.layer.k;
    float *data = cli_new_floats(c->kv_heads, c->positions, c->dim);
    codec_row r = {.c = c, .heads = {c->kv_heads, c->positions, c->dim, data}};
    const size_t vectors = c->kv_heads * c->positions;
    codec.head_dim = c->dim;
    int rc = data ? CLI_DONE : cli_out_of_memory();
    if (rc == CLI_DONE) measure_fill_gaussian(data, vectors * c->dim);
    if (rc == CLI_DONE) rc = cli_check(NULL, tq_row_size(&codec, &r.code_bytes, &r.norm_bytes));
    if (rc == CLI_DONE)
        rc = cli_check(NULL, tq_encoded_alloc(&r.encoded, &codec, c->kv_heads, c->positions, 0, 0));
    if (rc == CLI_DONE) rc = run(device, &r, &result->timing);
    cli_device_time(device, NULL);
    result->bytes = (double)vectors * (double)(c->dim * sizeof(float) + r.code_bytes + r.norm_bytes);
    tq_encoded_free(&r.encoded);
    free(r.decoded);
    free(data);
    return rc;
}
