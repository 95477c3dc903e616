/* SPDX-License-Identifier: MIT
 * tqkv compare: how far one plain tensor is from another. */
#include <float.h>
#include <stdbool.h>

#include "base/heads.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/report.h"
#include "measure/distance.h"
#include "tqkv/io.h"

enum { JSON, N_OPTIONS };
enum { PIECE_VALUES = 1 << 18 };

static size_t last_dim(const tq_tensor *tensor) {
    return tensor->n_dims ? tensor->shape[tensor->n_dims - 1] : 1;
}

static int check_pair(const char *const *paths, const tq_tensor *a, const tq_tensor *b) {
    char shape_a[256], shape_b[256];
    if (a->n_values != b->n_values || last_dim(a) != last_dim(b)) {
        cli_shape_text(a, shape_a, sizeof shape_a);
        cli_shape_text(b, shape_b, sizeof shape_b);
        return cli_fail(
            "%s: shape %s does not fit shape %s of %s: the last dimension and the number of values "
            "must be the same",
            paths[1], shape_b, shape_a, paths[0]);
    }
    if (a->n_values == 0) return cli_fail("%s: holds no values", paths[0]);
    TRY(cli_check_values(paths[0], a, FLT_MAX));
    return cli_check_values(paths[1], b, FLT_MAX);
}

static int print_result(measure_distance *distance, size_t n_values, bool as_json) {
    cli_report report;
    cli_report_begin(&report, as_json);
    cli_report_count(&report, "n_values", "values", n_values);
    cli_report_count(&report, "n_vectors", "vectors", distance->n_vectors);
    cli_report_real(&report, "rel_mse", "relative squared error", measure_relative_error(distance));
    cli_report_real(&report, "cosine_mean", "cosine, mean", measure_mean_cosine(distance));
    cli_report_real(&report, "cosine_p1", "cosine, 1st percentile", measure_first_percentile(distance));
    cli_report_real(&report, "max_abs", "largest difference", distance->max_abs);
    return cli_report_end(&report);
}

static int compare_tensors(const char *const *paths, const tq_tensor *a, const tq_tensor *b,
                           bool as_json) {
    TRY(check_pair(paths, a, b));
    const size_t head_dim = last_dim(a), n_rows = a->n_values / head_dim;
    const size_t most = head_dim < PIECE_VALUES ? PIECE_VALUES / head_dim : 1;
    measure_distance distance;
    TRY(cli_check(NULL, measure_distance_begin(&distance, n_rows)));
    cli_progress_begin("comparing", n_rows);
    for (size_t row = 0, rows; row < n_rows; row += rows) {
        rows = n_rows - row < most ? n_rows - row : most;
        measure_distance_add(&distance, a->data + row * head_dim, b->data + row * head_dim, rows,
                             head_dim);
        cli_progress_add(rows);
    }
    cli_progress_end();
    const int rc = print_result(&distance, a->n_values, as_json);
    measure_distance_free(&distance);
    return rc;
}

static int compare_files(const char *const *paths, bool as_json) {
    tq_tensor a, b = {0};
    TRY(cli_check(NULL, tq_npy_read(paths[0], &a)));
    int rc = cli_check(NULL, tq_npy_read(paths[1], &b));
    if (rc == CLI_DONE) rc = compare_tensors(paths, &a, &b, as_json);
    tq_tensor_free(&a);
    tq_tensor_free(&b);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {[JSON] = {"json", 0, NULL, "print one JSON object"}};

static int run(const cli_args *args) {
    return compare_files(args->operands, args->options[JSON].given);
}

const cli_command cli_compare_command = {
    .name = "compare",
    .summary = "Tell how far tensor B is from the reference A",
    .synopsis = "A.npy B.npy [--json]",
    .examples = "  tqkv compare k.npy k-decoded.npy\n"
                "  tqkv compare k.npy k-decoded.npy --json\n",
    .min_operands = 2,
    .max_operands = 2,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
