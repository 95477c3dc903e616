/* SPDX-License-Identifier: MIT
 * tqkv requantize: each value of a plain tensor replaced by its nearest centroid. */
#include <float.h>

#include "base/command.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/options.h"
#include "base/outputs.h"
#include "base/progress.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { OUTPUT, BITS, CODEBOOK, N_OPTIONS };
enum { PIECE_VALUES = 1 << 18 };

static tq_status requantize_values(tq_tensor *tensor, tq_format format) {
    tq_status status = TQ_OK;
    cli_progress_begin("requantizing", tensor->n_values);
    for (size_t i = 0, n; status == TQ_OK && i < tensor->n_values; i += n) {
        n = tensor->n_values - i < PIECE_VALUES ? tensor->n_values - i : PIECE_VALUES;
        status = tq_requantize(format, tensor->data + i, tensor->data + i, n);
        cli_progress_add(n);
    }
    cli_progress_end();
    return status;
}

static int requantize_file(const char *input, tq_output *output, tq_format format) {
    tq_tensor tensor;
    tq_status status = tq_npy_read(input, &tensor);
    if (status != TQ_OK) return cli_check(NULL, status);
    int rc = cli_check_values(input, &tensor, FLT_MAX);
    if (rc == CLI_DONE) {
        status = requantize_values(&tensor, format);
        rc = status == TQ_OK ? CLI_DONE : cli_check(input, status);
    }
    if (rc == CLI_DONE) rc = cli_written(tq_output_npy(output, tensor.data, tensor.n_dims, tensor.shape));
    tq_tensor_free(&tensor);
    return rc;
}

static int requantize_to(const char *path, const char *input, tq_format format) {
    tq_outputs *outputs = NULL;
    tq_output *output = NULL;
    int rc = cli_open_output(&outputs, path, &output);
    if (rc == CLI_DONE) rc = requantize_file(input, output, format);
    return cli_close_outputs(outputs, rc);
}

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {
        [OUTPUT] = {.name = "output",
                    .letter = 'o',
                    .value_name = "OUT.npy",
                    .help = "where the result goes"},
        [BITS] = {.name = "bits",
                  .value_name = "N",
                  .help = "size of the codebook: v2 2 to 8, v1 4, 5, 6, 8"},
        [CODEBOOK] = {.name = "codebook", .value_name = "v1|v2", .help = "which codebooks (default v2)"},
    };
    cli_args args;
    tq_format format = TQ_TQ4;
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON && !options[OUTPUT].given) rc = cli_misuse("-o OUT.npy is missing");
    if (rc == CLI_GO_ON) rc = cli_parse_codebook(&options[BITS], &options[CODEBOOK], &format);
    if (rc == CLI_GO_ON) rc = requantize_to(options[OUTPUT].value, args.operands[0], format);
    cli_args_free(&args);
    return rc;
}

const cli_command cli_requantize_command = {
    .name = "requantize",
    .summary = "Replace each value of a tensor by its nearest centroid",
    .synopsis = "IN.npy -o OUT.npy --bits N [--codebook v1|v2]",
    .examples = "  tqkv requantize rotated.npy -o snapped.npy --bits 5\n"
                "  tqkv requantize rotated.npy -o snapped.npy --bits 6 --codebook v1\n",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
