/* SPDX-License-Identifier: MIT
 * tqkv decode: an encoded tensor into a plain one, oldest position first. */
#include <stdlib.h>

#include "base/encoding.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/outputs.h"
#include "base/progress.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { OUTPUT, ROTATED, DEVICE, N_OPTIONS };

typedef struct request {
    const char *input;
    tq_output *output;
    tq_domain domain;
    int device_number;
    cli_device *device; /* NULL: the CPU */
} request;

static tq_status decode(const request *want, const tq_encoded *encoded, float *decoded) {
    cli_progress_begin("decoding", encoded->n_positions);
    const tq_status status = cli_decode_all(want->device, encoded, want->domain, decoded);
    cli_progress_end();
    return status;
}

static int write_decoded(const request *want, const tq_encoded *encoded) {
    const size_t shape[3] = {encoded->n_kv_heads, encoded->n_positions, encoded->codec.head_dim};
    float *decoded = cli_new_floats(shape[0], shape[1], shape[2]);
    int rc = decoded ? cli_check(want->input, decode(want, encoded, decoded)) : cli_out_of_memory();
    if (rc == CLI_DONE) rc = cli_check(NULL, tq_output_npy(want->output, decoded, 3, shape));
    free(decoded);
    return rc;
}

static int decode_file(const request *want) {
    tq_encoded encoded;
    TRY(cli_check(NULL, tq_encoded_read(want->input, &encoded)));
    const int rc = write_decoded(want, &encoded);
    tq_encoded_free(&encoded);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [OUTPUT] = {"output", 'o', "OUT.npy", "where the result goes"},
    [ROTATED] = {"rotated", 0, NULL, "leave the vectors (and the centre) in the rotated domain"},
    [DEVICE] = CLI_DEVICE_SPEC,
};

static int run(const cli_args *args) {
    request want = {.input = args->operands[0]};
    tq_outputs *outputs = NULL;
    want.domain = args->options[ROTATED].given ? TQ_ROTATED : TQ_ORIGINAL;
    TRY(cli_take_device(&args->options[DEVICE], &want.device_number));
    int rc = cli_open_output(&outputs, args->options[OUTPUT].value, &want.output);
    if (rc == CLI_DONE) rc = cli_open_device(want.device_number, &want.device);
    if (rc == CLI_DONE) rc = decode_file(&want);
    cli_close_device(want.device);
    return cli_close_outputs(outputs, rc);
}

const cli_command cli_decode_command = {
    .name = "decode",
    .summary = "Decode to float32 [heads][positions][head_dim], oldest first",
    .synopsis = "IN.safetensors -o OUT.npy [OPTION...]",
    .examples = "  tqkv decode k.safetensors -o k-decoded.npy\n"
                "  tqkv decode k.safetensors -o k-rotated.npy --rotated\n"
                "  tqkv decode k.safetensors -o k-decoded.npy --device cuda\n",
    .min_operands = 1,
    .max_operands = 1,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << OUTPUT,
    .run = run,
};
