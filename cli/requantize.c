/* SPDX-License-Identifier: MIT
 * tqkv requantize: each value of a plain tensor replaced by its nearest centroid. */
#include <float.h>

#include "base/heads.h"
#include "base/message.h"
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

static int requantize_tensor(const char *input, tq_output *output, tq_format format, tq_tensor *tensor) {
    TRY(cli_check_values(input, tensor, FLT_MAX));
    TRY(cli_check(input, requantize_values(tensor, format)));
    return cli_check(NULL, tq_output_npy(output, tensor->data, tensor->n_dims, tensor->shape));
}

static int requantize_file(const char *input, tq_output *output, tq_format format) {
    tq_tensor tensor;
    TRY(cli_check(NULL, tq_npy_read(input, &tensor)));
    const int rc = requantize_tensor(input, output, format, &tensor);
    tq_tensor_free(&tensor);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [OUTPUT] = {"output", 'o', "OUT.npy", "where the result goes"},
    [BITS] = {"bits", 0, "N", "size of the codebook: v2 2 to 8, v1 4, 5, 6, 8"},
    [CODEBOOK] = {"codebook", 0, "v1|v2", "which codebooks (default v2)"},
};

static int run(const cli_args *args) {
    tq_format format = TQ_TQ4;
    tq_outputs *outputs = NULL;
    tq_output *output = NULL;
    TRY(cli_take_codebook(&args->options[BITS], &args->options[CODEBOOK], &format));
    int rc = cli_open_output(&outputs, args->options[OUTPUT].value, &output);
    if (rc == CLI_DONE) rc = requantize_file(args->operands[0], output, format);
    return cli_close_outputs(outputs, rc);
}

const cli_command cli_requantize_command = {
    .name = "requantize",
    .summary = "Replace each value of a tensor by its nearest centroid",
    .synopsis = "IN.npy -o OUT.npy --bits N [--codebook v1|v2]",
    .examples = "  tqkv requantize rotated.npy -o snapped.npy --bits 5\n"
                "  tqkv requantize rotated.npy -o snapped.npy --bits 6 --codebook v1\n",
    .min_operands = 1,
    .max_operands = 1,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << OUTPUT | 1u << BITS,
    .run = run,
};
