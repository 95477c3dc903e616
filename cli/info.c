/* SPDX-License-Identifier: MIT
 * tqkv info: everything a file says about itself, after all of it has been checked. */
#include <math.h>
#include <stdbool.h>

#include "base/encoding.h"
#include "base/heads.h"
#include "base/input.h"
#include "base/message.h"
#include "base/report.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { JSON, N_OPTIONS };

static json_t *json_shape(const tq_tensor *tensor) {
    json_t *shape = json_array();
    for (size_t i = 0; i < tensor->n_dims; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return shape;
}

static size_t count_not_finite(const tq_tensor *tensor) {
    size_t n = 0;
    for (size_t i = 0; i < tensor->n_values; i++)
        n += isfinite(tensor->data[i]) ? 0 : 1;
    return n;
}

static int print_plain(const cli_input *input, const tq_tensor *tensor, bool as_json) {
    char shape[256];
    cli_report report;
    const size_t item_bytes = cli_input_npy_item_bytes(input);

    cli_shape_text(tensor, shape, sizeof shape);
    cli_report_begin(&report, as_json);
    cli_report_text(&report, "file", "file", input->path);
    cli_report_text(&report, "kind", "kind", "npy");
    cli_report_text(&report, "dtype", "element type", item_bytes == 2 ? "<f2" : "<f4");
    if (as_json)
        cli_report_json(&report, "shape", json_shape(tensor));
    else
        cli_report_text(&report, "shape", "shape", shape);
    cli_report_count(&report, "n_values", "values", tensor->n_values);
    cli_report_count(&report, "n_not_finite", "not finite", count_not_finite(tensor));
    cli_report_count(&report, "data_bytes", "data bytes", tensor->n_values * item_bytes);
    cli_report_count(&report, "file_bytes", "file bytes", input->size);
    cli_report_real(&report, "bits_per_value", "bits per value", 8.0 * (double)item_bytes);
    return cli_report_end(&report);
}

static int show_plain(const cli_input *input, bool as_json) {
    tq_tensor tensor;
    TRY(cli_check(NULL, tq_npy_parse(input->path, input->bytes, input->size, &tensor)));
    const int rc = print_plain(input, &tensor, as_json);
    tq_tensor_free(&tensor);
    return rc;
}

static void add_sizes(cli_report *report, const tq_encoded *encoded, const cli_input *input) {
    const size_t centre_bytes = cli_centre_values(encoded) * sizeof *encoded->centre;
    cli_report_count(report, "codes_bytes", "bytes of codes", encoded->n_codes);
    cli_report_count(report, "norms_bytes", "bytes of norms", encoded->n_norms);
    cli_report_count(report, "centre_bytes", "bytes of centres", centre_bytes);
    cli_report_count(report, "bytes", "bytes", cli_encoded_bytes(encoded));
    cli_report_count(report, "file_bytes", "file bytes", input->size);
    cli_report_real(report, "bits_per_value", "bits per value", cli_bits_per_value(encoded));
}

/* The file's own words: names of tables, checksums, and what other tools have added. */
static void add_metadata(cli_report *report, const cli_input *input) {
    const char *key;
    json_t *value, *metadata = cli_input_metadata(input);
    if (report->as_json) {
        cli_report_json(report, "metadata", metadata);
        return;
    }
    json_object_foreach(metadata, key, value) {
        cli_report_words(report, key, json_string_value(value), json_string_length(value));
    }
    json_decref(metadata);
}

static int print_encoded(const cli_input *input, const tq_encoded *encoded, bool as_json) {
    const tq_codec *codec = &encoded->codec;
    cli_report report;

    cli_report_begin(&report, as_json);
    cli_report_text(&report, "file", "file", input->path);
    cli_report_text(&report, "kind", "kind", "safetensors");
    cli_report_text(&report, "format", "format", tq_format_name(codec->format));
    cli_report_count(&report, "head_dim", "head dimension", codec->head_dim);
    cli_report_count(&report, "n_kv_heads", "KV heads", encoded->n_kv_heads);
    cli_report_count(&report, "n_positions", "positions", encoded->n_positions);
    cli_report_count(&report, "capacity", "capacity", encoded->capacity);
    cli_report_count(&report, "ring_start", "ring start", encoded->ring_start);
    cli_report_text(&report, "norm_rule", "norm rule", tq_norm_rule_name(codec->norm_rule));
    cli_report_centre(&report, encoded);
    add_sizes(&report, encoded, input);
    add_metadata(&report, input);
    return cli_report_end(&report);
}

static int show_encoded(const cli_input *input, bool as_json) {
    tq_encoded encoded;
    TRY(cli_check(NULL, tq_encoded_parse(input->path, input->bytes, input->size, &encoded)));
    const int rc = print_encoded(input, &encoded, as_json);
    tq_encoded_free(&encoded);
    return rc;
}

static int show_file(const char *path, bool as_json) {
    cli_input input;
    TRY(cli_input_read(path, &input));
    const int rc = input.tensor ? cli_misuse("'%s': info tells about whole files: leave :%s away", path,
                                             input.tensor)
                   : input.kind == CLI_INPUT_NPY ? show_plain(&input, as_json)
                                                 : show_encoded(&input, as_json);
    cli_input_free(&input);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {[JSON] = {"json", 0, NULL, "print one JSON object"}};

static int run(const cli_args *args) {
    return show_file(args->operands[0], args->options[JSON].given);
}

const cli_command cli_info_command = {
    .name = "info",
    .summary = "Check a .npy or encoded .safetensors file and show what is in it",
    .synopsis = "FILE [--json]",
    .examples = "  tqkv info k.safetensors\n"
                "  tqkv info k.npy --json\n",
    .min_operands = 1,
    .max_operands = 1,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
