/* SPDX-License-Identifier: MIT
 * tqkv encode: a plain tensor into an encoded one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/encoding.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/options.h"
#include "base/outputs.h"
#include "base/progress.h"
#include "base/report.h"
#include "measure/distance.h"
#include "measure/lloyd_max.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { OUTPUT, FORMAT, NORM, CENTER, CAPACITY, RING, SCALE_FACTOR, JSON, N_OPTIONS };

/* What the command line asks for, as far as it can be told without the input. */
typedef struct request {
    const char *input;
    const char *output_path;
    tq_output *output;
    const char *center; /* NULL, "mean" or a file */
    tq_codec codec;     /* head_dim comes from the input */
    size_t capacity;    /* 0: as many as there are positions */
    bool ring;
    bool scale_given;
    bool as_json;
} request;

static int take_capacity(request *want, const cli_option *options) {
    want->ring = options[RING].given;
    if (!options[CAPACITY].given) return want->ring ? cli_misuse("--ring needs --capacity C") : CLI_GO_ON;
    const int rc = cli_parse_count(&options[CAPACITY], &want->capacity);
    if (rc == CLI_GO_ON && want->capacity == 0)
        return cli_misuse("--capacity: a cache of 0 positions holds nothing; give 1 or more");
    return rc;
}

static int take_scale_factor(request *want, const cli_option *option) {
    want->codec.scale_factor_d512 = 1.0f;
    want->scale_given = option->given;
    if (!option->given) return CLI_GO_ON;
    if (!TQ_IS_V1(want->codec.format)) return cli_misuse("--scale-factor-d512 belongs to the v1 formats");
    return cli_parse_float(option, &want->codec.scale_factor_d512);
}

static int take_options(request *want, const cli_option *options) {
    if (!options[OUTPUT].given) return cli_misuse("-o OUT.safetensors is missing");
    if (!options[FORMAT].given) return cli_misuse("--format is missing; 'tqkv formats' lists them");
    if (tq_format_from_name(options[FORMAT].value, &want->codec.format) != TQ_OK)
        return cli_misuse("--format: '%s' is none; 'tqkv formats' lists them", options[FORMAT].value);
    if (options[NORM].given &&
        tq_norm_rule_from_name(options[NORM].value, &want->codec.norm_rule) != TQ_OK)
        return cli_misuse("--norm: %s", tq_last_error()->message);
    if (options[CENTER].given && TQ_IS_V1(want->codec.format))
        return cli_misuse("--center: v1 formats have no centre");
    want->output_path = options[OUTPUT].value;
    want->center = options[CENTER].value;
    want->as_json = options[JSON].given;
    const int rc = take_capacity(want, options);
    return rc == CLI_GO_ON ? take_scale_factor(want, &options[SCALE_FACTOR]) : rc;
}

/* What depends on the input's shape. */
static int take_shape(request *want, const cli_heads *heads) {
    want->codec.head_dim = (uint32_t)heads->head_dim;
    if (want->scale_given && heads->head_dim != 512) {
        return cli_misuse("--scale-factor-d512: the head dimension of %s is %zu, not 512", want->input,
                          heads->head_dim);
    }
    if (want->capacity == 0) want->capacity = heads->n_positions;
    if (want->capacity < heads->n_positions && !want->ring) {
        return cli_fail("%s: %zu positions do not fit into --capacity %zu; --ring keeps the last ones",
                        want->input, heads->n_positions, want->capacity);
    }
    return CLI_DONE;
}

static int read_centre(const char *path, const cli_heads *heads, float *centre) {
    tq_tensor tensor;
    char shape[256];
    const tq_status status = tq_npy_read(path, &tensor);
    if (status != TQ_OK) return cli_check(NULL, status);
    const size_t n = heads->n_heads * heads->head_dim;
    int rc = CLI_DONE;
    if (tensor.n_dims == 0 || tensor.shape[tensor.n_dims - 1] != heads->head_dim ||
        tensor.n_values != n) {
        cli_shape_text(&tensor, shape, sizeof shape);
        rc = cli_fail("%s: shape %s; the centre of this input is [%zu][%zu]", path, shape, heads->n_heads,
                      heads->head_dim);
    } else {
        rc = cli_check_values(path, &tensor, TQ_MAX_ABS);
    }
    if (rc == CLI_DONE) memcpy(centre, tensor.data, n * sizeof *centre);
    tq_tensor_free(&tensor);
    return rc;
}

static int fill(const request *want, const cli_heads *heads, tq_encoded *encoded) {
    const size_t first = cli_first_kept(heads->n_positions, want->capacity);
    int rc = CLI_DONE;

    if (want->center && strcmp(want->center, "mean") == 0)
        cli_mean_centre(heads, first, encoded->centre);
    else if (want->center)
        rc = read_centre(want->center, heads, encoded->centre);
    if (rc != CLI_DONE) return rc;
    cli_progress_begin("encoding", heads->n_positions - first);
    const tq_status status = cli_encode_heads(heads, encoded);
    cli_progress_end();
    return status == TQ_OK ? CLI_DONE : cli_check(want->input, status);
}

static int measure(const request *want, const cli_heads *heads, const tq_encoded *encoded,
                   double *relative_error) {
    measure_distance distance;
    tq_status status = measure_distance_begin(&distance, encoded->n_kv_heads * encoded->n_positions);
    if (status != TQ_OK) return cli_check(want->input, status);
    cli_progress_begin("measuring", encoded->n_positions);
    status = cli_measure(encoded, heads, &distance);
    cli_progress_end();
    *relative_error = measure_relative_error(&distance);
    measure_distance_free(&distance);
    return status == TQ_OK ? CLI_DONE : cli_check(want->input, status);
}

static int print_result(const request *want, const tq_encoded *encoded, double relative_error) {
    cli_report report;
    cli_report_begin(&report, want->as_json);
    cli_report_text(&report, "format", "format", tq_format_name(encoded->codec.format));
    cli_report_count(&report, "head_dim", "head dimension", encoded->codec.head_dim);
    cli_report_count(&report, "n_kv_heads", "KV heads", encoded->n_kv_heads);
    cli_report_count(&report, "n_positions", "positions", encoded->n_positions);
    cli_report_count(&report, "capacity", "capacity", encoded->capacity);
    cli_report_count(&report, "ring_start", "ring start", encoded->ring_start);
    cli_report_text(&report, "norm_rule", "norm rule", tq_norm_rule_name(encoded->codec.norm_rule));
    cli_report_flag(&report, "centre", "centre", encoded->centre != NULL);
    cli_report_count(&report, "bytes", "bytes", cli_encoded_bytes(encoded));
    cli_report_real(&report, "bits_per_value", "bits per value", cli_bits_per_value(encoded));
    cli_report_real(&report, "rel_mse", "relative squared error", relative_error);
    cli_report_real(&report, "theory_rel_mse", "Lloyd-Max optimum",
                    measure_optimal_distortion(tq_format_bits(encoded->codec.format)));
    return cli_report_end(&report);
}

/* The result is printed once the file is written, which comes into place last of all. */
static int encode_heads(const request *want, const cli_heads *heads) {
    tq_encoded encoded;
    double relative_error = 0.0;
    const tq_status status =
        tq_encoded_alloc(&encoded, &want->codec, heads->n_heads, want->capacity, want->center != NULL);
    if (status != TQ_OK) return cli_check(want->input, status);
    int rc = fill(want, heads, &encoded);
    if (rc == CLI_DONE) rc = measure(want, heads, &encoded, &relative_error);
    if (rc == CLI_DONE) rc = cli_written(tq_output_encoded(want->output, &encoded));
    if (rc == CLI_DONE) rc = print_result(want, &encoded, relative_error);
    tq_encoded_free(&encoded);
    return rc;
}

static int encode_file(request *want) {
    tq_tensor tensor;
    cli_heads heads;
    int rc = cli_read_heads(want->input, &tensor, &heads);
    if (rc != CLI_DONE) return rc;
    rc = take_shape(want, &heads);
    if (rc == CLI_DONE && !want->as_json) cli_tell_heads(want->input, &heads, "");
    if (rc == CLI_DONE) rc = encode_heads(want, &heads);
    tq_tensor_free(&tensor);
    return rc;
}

static int encode_to_output(request *want) {
    tq_outputs *outputs = NULL;
    int rc = cli_open_output(&outputs, want->output_path, &want->output);
    if (rc == CLI_DONE) rc = encode_file(want);
    return cli_close_outputs(outputs, rc);
}

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {
        [OUTPUT] = {.name = "output",
                    .letter = 'o',
                    .value_name = "OUT.safetensors",
                    .help = "where the result goes"},
        [FORMAT] = {.name = "format", .value_name = "FORMAT", .help = "tq2 ... tq8, tq4-v1 ... tq8-v1"},
        [NORM] = {.name = "norm", .value_name = "RULE", .help = "plain, matched (v2's) or unbiased"},
        [CENTER] = {.name = "center",
                    .value_name = "mean|FILE.npy",
                    .help = "subtract a vector per head: its mean, or [G][D] of a file"},
        [CAPACITY] = {.name = "capacity",
                      .value_name = "C",
                      .help = "slots per head (default: as many as positions)"},
        [RING] = {.name = "ring", .help = "keep the last C positions, t in slot t mod C"},
        [SCALE_FACTOR] = {.name = "scale-factor-d512",
                          .value_name = "X",
                          .help = "v1 at head dimension 512: its scale (default 1)"},
        [JSON] = {.name = "json", .help = "print one JSON object"},
    };
    cli_args args;
    request want = {0};
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON) {
        want.input = args.operands[0];
        rc = take_options(&want, options);
    }
    if (rc == CLI_GO_ON) rc = encode_to_output(&want);
    cli_args_free(&args);
    return rc;
}

const cli_command cli_encode_command = {
    .name = "encode",
    .summary = "Encode a tensor [..][positions][head_dim] and tell the error",
    .synopsis = "IN.npy -o OUT.safetensors --format FORMAT [OPTION...]",
    .examples = "  tqkv encode k.npy -o k.safetensors --format tq4\n"
                "  tqkv encode k.npy -o k.safetensors --format tq4 --center mean\n"
                "  tqkv encode k.npy -o k.safetensors --format tq6-v1 --capacity 1024 --ring\n",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
