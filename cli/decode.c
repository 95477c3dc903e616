/* SPDX-License-Identifier: MIT
 * tqkv decode: an encoded tensor into a plain one, oldest position first. */
#include <stdlib.h>

#include "base/command.h"
#include "base/encoding.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/options.h"
#include "base/outputs.h"
#include "base/progress.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { OUTPUT, ROTATED, N_OPTIONS };

static int write_decoded(const char *input, tq_output *output, tq_domain domain, tq_encoded *encoded) {
    const size_t shape[3] = {encoded->n_kv_heads, encoded->n_positions, encoded->codec.head_dim};
    float *decoded = cli_new_floats(shape[0], shape[1], shape[2]);
    if (!decoded) return cli_out_of_memory();
    tq_status status = TQ_OK;
    if (domain == TQ_ROTATED && encoded->centre)
        status = tq_rotate(&encoded->codec, TQ_ROTATED, shape[0], encoded->centre, encoded->centre);
    if (status == TQ_OK) {
        cli_progress_begin("decoding", encoded->n_positions);
        status = cli_decode_all(encoded, domain, decoded);
        cli_progress_end();
    }
    int rc = status == TQ_OK ? CLI_DONE : cli_check(input, status);
    if (rc == CLI_DONE) rc = cli_written(tq_output_npy(output, decoded, 3, shape));
    free(decoded);
    return rc;
}

static int decode_file(const char *input, tq_output *output, tq_domain domain) {
    tq_encoded encoded;
    const tq_status status = tq_encoded_read(input, &encoded);
    if (status != TQ_OK) return cli_check(NULL, status);
    const int rc = write_decoded(input, output, domain, &encoded);
    tq_encoded_free(&encoded);
    return rc;
}

static int decode_to(const char *path, const char *input, tq_domain domain) {
    tq_outputs *outputs = NULL;
    tq_output *output = NULL;
    int rc = cli_open_output(&outputs, path, &output);
    if (rc == CLI_DONE) rc = decode_file(input, output, domain);
    return cli_close_outputs(outputs, rc);
}

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {
        [OUTPUT] = {.name = "output",
                    .letter = 'o',
                    .value_name = "OUT.npy",
                    .help = "where the result goes"},
        [ROTATED] = {.name = "rotated",
                     .help = "leave the vectors (and the centre) in the rotated domain"},
    };
    cli_args args;
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON && !options[OUTPUT].given) rc = cli_misuse("-o OUT.npy is missing");
    if (rc == CLI_GO_ON) {
        rc = decode_to(options[OUTPUT].value, args.operands[0],
                       options[ROTATED].given ? TQ_ROTATED : TQ_ORIGINAL);
    }
    cli_args_free(&args);
    return rc;
}

const cli_command cli_decode_command = {
    .name = "decode",
    .summary = "Decode to float32 [heads][positions][head_dim], oldest first",
    .synopsis = "IN.safetensors -o OUT.npy [--rotated]",
    .examples = "  tqkv decode k.safetensors -o k-decoded.npy\n"
                "  tqkv decode k.safetensors -o k-rotated.npy --rotated\n",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
