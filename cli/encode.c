/* SPDX-License-Identifier: MIT
 * tqkv encode: a plain tensor into an encoded one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cache.h"
#include "base/encoding.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/outputs.h"
#include "base/progress.h"
#include "base/report.h"
#include "base/tensor.h"
#include "base/threads.h"
#include "measure/distance.h"
#include "measure/lloyd_max.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { OUTPUT, FORMAT, NORM, CENTER, STRETCH, CAPACITY, RING, SCALE_FACTOR, DEVICE, JSON, N_OPTIONS };

/* What the command line asks for, as far as it can be told without the input. */
typedef struct request {
    const char *input;
    tq_output *output;
    cli_centre centre;
    tq_codec codec;  /* head_dim comes from the input */
    size_t capacity; /* 0: as many as there are positions */
    int device_number;
    cli_device *device; /* NULL: the CPU */
    tq_parallel threads;
    bool ring;
    bool scale_given;
    bool as_json;
} request;

static int take_capacity(request *want, const cli_option *options) {
    want->ring = options[RING].given;
    if (want->ring && !options[CAPACITY].given) return cli_misuse("--ring needs --capacity C");
    TRY(cli_take_count(&options[CAPACITY], 0, SIZE_MAX, &want->capacity));
    if (options[CAPACITY].given && want->capacity == 0)
        return cli_misuse("--capacity: a cache of 0 positions holds nothing; give 1 or more");
    return CLI_DONE;
}

static int take_scale_factor(request *want, const cli_option *option) {
    want->codec.scale_factor_d512 = 1.0f;
    want->scale_given = option->given;
    if (option->given && !TQ_IS_V1(want->codec.format))
        return cli_misuse("--scale-factor-d512 belongs to the v1 formats");
    return cli_take_float(option, &want->codec.scale_factor_d512);
}

/* A file holds codes of one format, their norms and centres. */
static int check_way(const cli_way *way, const cli_option *options) {
    const tq_cache_config *c = &way->config;
    if (c->layer.k.format != c->layer.v.format)
        return cli_misuse(
            "--format: '%s' keeps keys and values in two formats, and a file holds one: encode "
            "keys with --format %s%s and values with --format %s",
            way->name, tq_format_name(c->layer.k.format), c->learn_centre ? "+centre" : "",
            tq_format_name(c->layer.v.format));
    if (c->recent > 0 || c->sinks > 0)
        return cli_misuse(
            "--format: '%s': a file holds codes alone: leave +recent and +sinks away; a cache "
            "has them: 'tqkv attend --format' and 'tqkv ablate'",
            way->name);
    if (c->learn_centre > 0 && options[CENTER].given)
        return cli_misuse("--center: '%s' has a centre of its own; give one of them", way->name);
    if (c->layer.k.norm_rule != TQ_NORM_DEFAULT && options[NORM].given)
        return cli_misuse("--norm: '%s' has a norm rule of its own; give one of them", way->name);
    return CLI_DONE;
}

/* A format, or one with what a file can keep of a cache: the centre, the norm rule. */
static int take_format(request *want, const cli_option *options) {
    const cli_option *option = &options[FORMAT];
    cli_way way;
    if (!option->given) return cli_misuse("--format is missing; 'tqkv formats' lists them");
    if (!strpbrk(option->value, "+/") && strcmp(option->value, "default") != 0)
        return cli_take_format(option, &want->codec.format);
    TRY(cli_take_way(option->value, &way));
    TRY(check_way(&way, options));
    want->codec = way.config.layer.k;
    if (way.config.learn_centre > 0) {
        want->centre.kind = CLI_CENTRE_LEARN;
        want->centre.stretch = way.config.centre_stretch;
    }
    return CLI_DONE;
}

static int take_options(request *want, const cli_option *options) {
    TRY(cli_take_centre(&want->centre, &options[CENTER], &options[STRETCH], true));
    TRY(take_format(want, options));
    if (options[NORM].given &&
        tq_norm_rule_from_name(options[NORM].value, &want->codec.norm_rule) != TQ_OK)
        return cli_misuse("--norm: %s", tq_last_error()->message);
    if (options[CENTER].given && TQ_IS_V1(want->codec.format))
        return cli_misuse("--center: v1 formats have no centre");
    want->as_json = options[JSON].given;
    TRY(cli_take_device(&options[DEVICE], &want->device_number));
    TRY(take_capacity(want, options));
    return take_scale_factor(want, &options[SCALE_FACTOR]);
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

static int copy_centre(const char *path, const tq_tensor *tensor, const cli_heads *heads,
                       uint16_t *centre) {
    const size_t n = heads->n_heads * heads->head_dim;
    if (tensor->n_dims == 0 || tensor->shape[tensor->n_dims - 1] != heads->head_dim ||
        tensor->n_values != n) {
        char shape[256];
        cli_shape_text(tensor, shape, sizeof shape);
        return cli_fail("%s: shape %s; the centre of this input is [%zu][%zu]", path, shape,
                        heads->n_heads, heads->head_dim);
    }
    TRY(cli_check_values(path, tensor, TQ_MAX_NORM));
    return cli_check(path, tq_round_centre(tensor->data, centre, n));
}

static int read_centre(const char *path, const cli_heads *heads, uint16_t *centre) {
    tq_tensor tensor;
    TRY(cli_read_tensor(path, &tensor));
    const int rc = copy_centre(path, &tensor, heads, centre);
    tq_tensor_free(&tensor);
    return rc;
}

static int fill(const request *want, const cli_heads *heads, tq_encoded *encoded) {
    const size_t first = cli_first_kept(heads->n_positions, want->capacity);
    if (want->centre.kind == CLI_CENTRE_FILE)
        TRY(read_centre(want->centre.path, heads, encoded->centre));
    else if (want->centre.kind != CLI_CENTRE_NONE)
        TRY(cli_check(want->input, cli_make_centres(&want->centre, heads, first, encoded->centre)));
    cli_progress_begin("encoding", heads->n_heads * (heads->n_positions - first));
    const tq_status status = cli_encode_heads(want->device, &want->threads, heads, encoded);
    cli_progress_end();
    return cli_check(want->input, status);
}

static int measure(const request *want, const cli_heads *heads, const tq_encoded *encoded,
                   double *relative_error) {
    measure_distance distance;
    TRY(cli_check(NULL, measure_distance_begin(&distance, encoded->n_kv_heads * encoded->n_positions)));
    cli_progress_begin("measuring", encoded->n_kv_heads * encoded->n_positions);
    const tq_status status = cli_measure(&want->threads, encoded, heads, &distance);
    cli_progress_end();
    *relative_error = measure_relative_error(&distance);
    measure_distance_free(&distance);
    return cli_check(want->input, status);
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
    cli_report_centre(&report, encoded);
    cli_report_count(&report, "bytes", "bytes", cli_encoded_bytes(encoded));
    cli_report_real(&report, "bits_per_value", "bits per value", cli_bits_per_value(encoded));
    cli_report_real(&report, "rel_mse", "relative squared error", relative_error);
    cli_report_real(&report, "theory_rel_mse", "Lloyd-Max optimum",
                    measure_optimal_distortion(tq_format_bits(encoded->codec.format)));
    return cli_report_end(&report);
}

/* The result is printed once the file is written, which comes into place last of all. */
static int encode_into(const request *want, const cli_heads *heads, tq_encoded *encoded) {
    double relative_error = 0.0;
    TRY(fill(want, heads, encoded));
    TRY(measure(want, heads, encoded, &relative_error));
    TRY(cli_check(NULL, tq_output_encoded(want->output, encoded)));
    return print_result(want, encoded, relative_error);
}

static int encode_heads(request *want, const cli_heads *heads) {
    tq_encoded encoded;
    TRY(take_shape(want, heads));
    if (!want->as_json) cli_tell_heads(want->input, heads, "");
    const size_t n_centres =
        cli_count_centres(&want->centre, heads, cli_first_kept(heads->n_positions, want->capacity));
    TRY(cli_check(want->input, tq_encoded_alloc(&encoded, &want->codec, heads->n_heads, want->capacity,
                                                n_centres, n_centres == 0 ? 0 : want->centre.stretch)));
    const int rc = encode_into(want, heads, &encoded);
    tq_encoded_free(&encoded);
    return rc;
}

static int encode_file(request *want) {
    tq_tensor tensor;
    cli_heads heads;
    TRY(cli_read_heads(want->input, &tensor, &heads));
    int rc = CLI_DONE;
    if (want->centre.kind != CLI_CENTRE_NONE) rc = cli_check_values(want->input, &tensor, TQ_MAX_NORM);
    if (rc == CLI_DONE) rc = encode_heads(want, &heads);
    tq_tensor_free(&tensor);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [OUTPUT] = {"output", 'o', "OUT.safetensors", "where the result goes"},
    [FORMAT] = {"format", 0, "FORMAT", "tq2 ... tq8, tq4-v1 ... tq8-v1; +centre[=L] and norm rules"},
    [NORM] = {"norm", 0, "RULE", "plain, matched (v2's) or unbiased"},
    [CENTER] = {"center", 0, "mean|learn|FILE.npy",
                "subtract a vector per head: the mean of a stretch, what a cache learns from its first "
                "64 positions, or [G][D] of a file for all"},
    [STRETCH] = {"center-stretch", 0, "L|all", "positions that share a centre (default 256)"},
    [CAPACITY] = {"capacity", 0, "C", "slots per head (default: as many as positions)"},
    [RING] = {"ring", 0, NULL, "keep the last C positions, t in slot t mod C"},
    [SCALE_FACTOR] = {"scale-factor-d512", 0, "X", "v1 at head dimension 512: its scale (default 1)"},
    [DEVICE] = CLI_DEVICE_SPEC,
    [JSON] = {"json", 0, NULL, "print one JSON object"},
};

static int run(const cli_args *args) {
    request want = {.input = args->operands[0]};
    tq_outputs *outputs = NULL;
    TRY(take_options(&want, args->options));
    TRY(cli_choose_threads(0, &want.threads));
    int rc = cli_open_output(&outputs, args->options[OUTPUT].value, &want.output);
    if (rc == CLI_DONE) rc = cli_open_device(want.device_number, &want.device);
    if (rc == CLI_DONE) rc = encode_file(&want);
    cli_close_device(want.device);
    return cli_close_outputs(outputs, rc);
}

const cli_command cli_encode_command = {
    .name = "encode",
    .summary = "Encode a tensor [..][positions][head_dim] and tell the error",
    .synopsis = "IN -o OUT.safetensors --format FORMAT [OPTION...]",
    .examples = "  tqkv encode k.npy -o k.safetensors --format tq4\n"
                "  tqkv encode k.npy -o k.safetensors --format tq6+centre\n"
                "  tqkv encode m.safetensors:k -o k.safetensors --format tq6 --center mean\n"
                "  tqkv encode k.npy -o k.safetensors --format tq6-v1 --capacity 1024 --ring\n"
                "  tqkv encode k.npy -o k.safetensors --format tq4 --device cuda\n",
    .min_operands = 1,
    .max_operands = 1,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << OUTPUT,
    .run = run,
};
