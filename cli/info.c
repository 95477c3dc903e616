/* SPDX-License-Identifier: MIT
 * tqkv info: everything a file says about itself, after all of it has been checked. */
#include <math.h>
#include <stdbool.h>

#include "command.h"
#include "encoding.h"
#include "header.h"
#include "heads.h"
#include "message.h"
#include "options.h"
#include "report.h"
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
    for (size_t i = 0; i < tensor->n_values; i++) {
        n += isfinite(tensor->data[i]) ? 0 : 1;
    }
    return n;
}

static int print_plain(const char *path, const tq_tensor *tensor, const cli_file_header *header,
                       bool as_json) {
    char shape[256];
    cli_report report;
    const size_t data_bytes = tensor->n_values * header->item_bytes;

    cli_shape_text(tensor, shape, sizeof shape);
    cli_report_begin(&report, as_json);
    cli_report_text(&report, "file", "file", path);
    cli_report_text(&report, "kind", "kind", "npy");
    cli_report_text(&report, "dtype", "element type", header->item_bytes == 2 ? "<f2" : "<f4");
    if (as_json) {
        cli_report_json(&report, "shape", json_shape(tensor));
    } else {
        cli_report_text(&report, "shape", "shape", shape);
    }
    cli_report_count(&report, "n_values", "values", tensor->n_values);
    cli_report_count(&report, "n_not_finite", "not finite", count_not_finite(tensor));
    cli_report_count(&report, "data_bytes", "data bytes", data_bytes);
    cli_report_count(&report, "file_bytes", "file bytes", header->file_bytes);
    cli_report_real(&report, "bits_per_value", "bits per value", 8.0 * (double)header->item_bytes);
    return cli_report_end(&report);
}

static int show_plain(const char *path, const cli_file_header *header, bool as_json) {
    tq_tensor tensor;
    const tq_status status = tq_npy_read(path, &tensor);
    if (status != TQ_OK) {
        return cli_fail_status(NULL, status);
    }
    const int rc = print_plain(path, &tensor, header, as_json);
    tq_tensor_free(&tensor);
    return rc;
}

static void add_sizes(cli_report *report, const tq_encoded *encoded, const cli_file_header *header) {
    const size_t centre = encoded->centre ? encoded->n_kv_heads * encoded->codec.head_dim : 0;
    cli_report_count(report, "codes_bytes", "bytes of codes", encoded->n_codes);
    cli_report_count(report, "norms_bytes", "bytes of norms", encoded->n_norms * sizeof(float));
    cli_report_count(report, "centre_bytes", "bytes of centre", centre * sizeof(float));
    cli_report_count(report, "bytes", "bytes", cli_encoded_bytes(encoded));
    cli_report_count(report, "file_bytes", "file bytes", header->file_bytes);
    cli_report_real(report, "bits_per_value", "bits per value", cli_bits_per_value(encoded));
}

/* The file's own words: names of tables, checksums, and what other tools have added. */
static void add_metadata(cli_report *report, const cli_file_header *header) {
    const char *key;
    json_t *value;
    if (report->as_json) {
        cli_report_json(report, "metadata", json_incref(header->metadata));
        return;
    }
    json_object_foreach(header->metadata, key, value) {
        cli_report_text(report, key, key, json_string_value(value));
    }
}

static int print_encoded(const char *path, const tq_encoded *encoded, const cli_file_header *header,
                         bool as_json) {
    const tq_codec *codec = &encoded->codec;
    cli_report report;

    cli_report_begin(&report, as_json);
    cli_report_text(&report, "file", "file", path);
    cli_report_text(&report, "kind", "kind", "safetensors");
    cli_report_text(&report, "format", "format", tq_format_name(codec->format));
    cli_report_count(&report, "head_dim", "head dimension", codec->head_dim);
    cli_report_count(&report, "n_kv_heads", "KV heads", encoded->n_kv_heads);
    cli_report_count(&report, "n_positions", "positions", encoded->n_positions);
    cli_report_count(&report, "capacity", "capacity", encoded->capacity);
    cli_report_count(&report, "ring_start", "ring start", encoded->ring_start);
    cli_report_text(&report, "norm_rule", "norm rule", tq_norm_rule_name(codec->norm_rule));
    cli_report_flag(&report, "centre", "centre", encoded->centre != NULL);
    add_sizes(&report, encoded, header);
    add_metadata(&report, header);
    return cli_report_end(&report);
}

static int show_encoded(const char *path, const cli_file_header *header, bool as_json) {
    tq_encoded encoded;
    const tq_status status = tq_encoded_read(path, &encoded);
    if (status != TQ_OK) {
        return cli_fail_status(NULL, status);
    }
    const int rc = print_encoded(path, &encoded, header, as_json);
    tq_encoded_free(&encoded);
    return rc;
}

static int show_file(const char *path, bool as_json) {
    cli_file_header header;
    int rc = cli_read_header(path, &header);
    if (rc != CLI_DONE) {
        return rc;
    }
    rc = header.kind == CLI_FILE_NPY ? show_plain(path, &header, as_json)
                                     : show_encoded(path, &header, as_json);
    json_decref(header.metadata);
    return rc;
}

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {[JSON] = {.name = "json", .help = "print one JSON object"}};
    cli_args args;
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON) {
        rc = show_file(args.operands[0], options[JSON].given);
    }
    cli_args_free(&args);
    return rc;
}

const cli_command cli_info_command = {
    .name = "info",
    .summary = "Check a .npy or .safetensors file and show what is in it",
    .synopsis = "FILE [--json]",
    .examples = "  tqkv info k.safetensors\n"
                "  tqkv info k.npy --json\n",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
