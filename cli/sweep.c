/* SPDX-License-Identifier: MIT
 * tqkv sweep: formats, and what caches make of keys and values, side by side on given tensors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cache.h"
#include "base/encoding.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/report.h"
#include "base/threads.h"
#include "measure/distance.h"
#include "measure/lloyd_max.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { FORMATS, CENTER, STRETCH, JSON, N_OPTIONS };
enum { MAX_FILES = 64, MAX_ROWS = 2 * CLI_MAX_WAYS };

static const cli_column columns[] = {
    {"format", "format", NULL},
    {"bits_per_value", "bits", "%.3f"},
    {"rel_mse", "error", "%.3e"},
    {"times_theory", "x theory", "%.3f"},
    {"cosine_mean", "cosine", "%.4f"},
    {"cosine_p1", "cos p1", "%.4f"},
    {"as", "as", NULL},
};

/* What the command line asks for. */
typedef struct request {
    cli_way ways[CLI_MAX_WAYS];
    size_t n_ways; /* 0: all formats, and the default */
    cli_centre centre;
    tq_parallel threads;
} request;

/* A line of the table: a format and a way to use it, and its figures or why there are none. */
typedef struct row {
    const char *name;
    const char *as;         /* "both", or the side that is kept so: "keys" or "values" */
    tq_cache_config config; /* of a cache, fit to the tensor, whose codec is that of the side */
    bool in_cache;          /* else all is encoded, with the centres of --center */
    double bits, error, times_theory, cosine_mean, cosine_p1;
    tq_error failure;
} row;

/* Rows of a tensor: what tasks work on. */
typedef struct table {
    const cli_heads *heads;
    const cli_centre *centre;
    const uint16_t *centres; /* of --center */
    row rows[MAX_ROWS];
    size_t n_rows;
} table;

static void take_figures(row *r, measure_distance *distance, double bits) {
    const tq_format format = r->config.layer.k.format;
    r->bits = bits;
    if (distance->n_vectors == 0) { /* all stay in float16 */
        r->error = r->times_theory = r->cosine_mean = r->cosine_p1 = (double)NAN;
        return;
    }
    r->error = measure_relative_error(distance);
    r->times_theory = r->error / measure_optimal_distortion(tq_format_bits(format));
    r->cosine_mean = measure_mean_cosine(distance);
    r->cosine_p1 = measure_first_percentile(distance);
}

static tq_status measure_plain(const table *t, row *r, tq_encoded *encoded, measure_distance *distance) {
    const size_t n = cli_count_centres(t->centre, t->heads, 0), dim = t->heads->head_dim;
    TRY_STATUS(tq_encoded_alloc(encoded, &r->config.layer.k, t->heads->n_heads, t->heads->n_positions, n,
                                n == 0 ? 0 : t->centre->stretch));
    if (n != 0) memcpy(encoded->centre, t->centres, n * t->heads->n_heads * dim * sizeof *t->centres);
    TRY_STATUS(cli_encode_heads(NULL, NULL, t->heads, encoded));
    TRY_STATUS(cli_measure(NULL, encoded, t->heads, distance));
    take_figures(r, distance, cli_bits_per_value(encoded));
    return TQ_OK;
}

/* Bits over all positions: codes, norms and centres of those that are encoded, float16 of the others. */
static double cache_bits(const tq_encoded *e, size_t first, size_t end) {
    const size_t all = e->n_positions, dim = e->codec.head_dim, stretch = e->centre_stretch;
    const size_t encoded = end > first ? end - first : 0;
    const size_t centres = e->n_centres == 0 || encoded == 0 ? 0
                           : stretch == 0                    ? 1
                                                             : (end - 1) / stretch - first / stretch + 1;
    const size_t bytes = (e->n_codes + e->n_norms) / e->n_kv_heads / e->capacity;
    return 8.0 * (double)(encoded * bytes + 2 * dim * (all - encoded + centres)) / (double)(all * dim);
}

/* The error is that of the positions which are encoded once all are there. */
static tq_status measure_cache(const table *t, row *r, const float *young, tq_encoded *encoded,
                               measure_distance *distance) {
    const size_t all = t->heads->n_positions, dim = t->heads->head_dim, first = r->config.sinks;
    const size_t end = cli_encoded_end(&r->config, all), n = end > first ? end - first : 0;
    cli_heads from = *t->heads;
    if (cli_encodes_young(&r->config)) from.data = young;
    TRY_STATUS(cli_encode_aged(&r->config, strcmp(r->as, "values") != 0, &from, encoded));
    float *decoded = cli_new_floats(from.n_heads, n, dim);
    tq_status status = decoded ? TQ_OK : TQ_E_NO_MEMORY;
    if (status == TQ_OK && n > 0)
        status = tq_encoded_get(encoded, first, n, TQ_ORIGINAL, decoded, from.n_heads * n * dim, 0);
    for (size_t g = 0; status == TQ_OK && g < from.n_heads; g++)
        measure_distance_add(distance, t->heads->data + (g * all + first) * dim, decoded + g * n * dim, n,
                             dim);
    free(decoded);
    if (status == TQ_OK) take_figures(r, distance, cache_bits(encoded, first, end));
    return status;
}

static tq_status measure_row(const table *t, row *r) {
    const size_t n = t->heads->n_heads * t->heads->n_positions;
    measure_distance distance = {0};
    tq_encoded encoded = {0};
    float *young = r->in_cache ? cli_new_floats(n, t->heads->head_dim, 1) : NULL;
    tq_status status = r->in_cache && !young ? TQ_E_NO_MEMORY : measure_distance_begin(&distance, n);
    if (status == TQ_OK && young)
        status = cli_round_to_half(t->heads->data, n * t->heads->head_dim, young);
    if (status == TQ_OK)
        status = r->in_cache ? measure_cache(t, r, young, &encoded, &distance)
                             : measure_plain(t, r, &encoded, &distance);
    free(young);
    measure_distance_free(&distance);
    tq_encoded_free(&encoded);
    return status;
}

/* A row is a task. An error's text belongs to the thread that made it. */
static void row_task(void *work, size_t index) {
    table *t = work;
    const tq_status status = measure_row(t, &t->rows[index]);
    if (status != TQ_OK) t->rows[index].failure = *tq_last_error();
    t->rows[index].failure.status = status;
    cli_progress_add(1);
}

static bool serves(tq_format format, size_t head_dim) {
    const tq_codec codec = {.format = format, .head_dim = (uint32_t)head_dim, .scale_factor_d512 = 1.0f};
    return tq_row_size(&codec, NULL, NULL) == TQ_OK;
}

static row *new_row(table *t, const char *name, const char *as, tq_codec codec) {
    row *r = &t->rows[t->n_rows++];
    *r = (row){.name = name, .as = as};
    codec.head_dim = (uint32_t)t->heads->head_dim;
    codec.scale_factor_d512 = 1.0f;
    r->config.layer.k = r->config.layer.v = codec;
    return r;
}

static void add_cache_row(table *t, const cli_way *way, const char *as, tq_codec codec) {
    row *r = new_row(t, way->name, as, codec);
    r->in_cache = cli_way_ages(&way->config);
    if (!r->in_cache) return;
    const tq_codec side = r->config.layer.k;
    r->config = cli_fit_config(&way->config, t->heads, 0);
    r->config.layer.k = r->config.layer.v = side;
}

/* One line if keys and values are kept alike, else one each. */
static void add_way(table *t, const cli_way *way) {
    const tq_cache_config *c = &way->config;
    const bool alike = c->layer.k.format == c->layer.v.format && c->learn_centre == 0;
    add_cache_row(t, way, alike ? "both" : "keys", c->layer.k);
    if (!alike) add_cache_row(t, way, "values", c->layer.v);
}

static bool fits_half(const cli_heads *heads) {
    const size_t n = heads->n_heads * heads->n_positions * heads->head_dim;
    for (size_t i = 0; i < n; i++)
        if (fabsf(heads->data[i]) > TQ_MAX_NORM) return false;
    return true;
}

/* The formats that can encode these heads, and the default; the others are named in a note. */
static int add_all(const char *path, bool centred, const cli_way *usual, table *t) {
    size_t n_all;
    const tq_format *all = tq_formats(&n_all);
    bool v1_by_dim = false;
    for (size_t i = 0; i < n_all; i++)
        if (!serves(all[i], t->heads->head_dim))
            v1_by_dim = true;
        else if (!centred || all[i] <= TQ_TQ8)
            new_row(t, tq_format_name(all[i]), "both", (tq_codec){.format = all[i]});
    if (t->n_rows == 0)
        return cli_fail("%s: no format serves head dimension %zu", path, t->heads->head_dim);
    if (centred)
        cli_note("%s: v1 formats are left out: they have no centre", path);
    else if (v1_by_dim)
        cli_note("%s: v1 formats are left out: they serve head dimensions 256 and 512, not %zu", path,
                 t->heads->head_dim);
    if (fits_half(t->heads))
        add_way(t, usual);
    else
        cli_note("%s: %s is left out: it keeps positions in float16, which ends at 65504", path,
                 usual->name);
    return CLI_DONE;
}

static int add_rows(const char *path, const request *want, table *t) {
    if (want->n_ways == 0) return add_all(path, want->centre.kind != CLI_CENTRE_NONE, &want->ways[0], t);
    for (size_t i = 0; i < want->n_ways; i++) {
        const tq_cache_layer *layer = &want->ways[i].config.layer;
        if (!serves(layer->k.format, t->heads->head_dim) || !serves(layer->v.format, t->heads->head_dim))
            return cli_fail("%s: head dimension %zu is none of those that '%s' serves", path,
                            t->heads->head_dim, want->ways[i].name);
        add_way(t, &want->ways[i]);
    }
    return CLI_DONE;
}

static int fill_grid(const char *path, const table *t, cli_grid *grid) {
    for (size_t i = 0; i < t->n_rows; i++) {
        const row *r = &t->rows[i];
        if (r->failure.status == TQ_E_NO_MEMORY) return cli_out_of_memory();
        if (r->failure.status != TQ_OK) return cli_fail("%s: %s", path, r->failure.message);
        const cli_cell cells[] = {{.text = r->name},
                                  {.number = r->bits},
                                  {.number = r->error},
                                  {.number = r->times_theory},
                                  {.number = r->cosine_mean},
                                  {.number = r->cosine_p1},
                                  {.text = r->as}};
        cli_grid_row(grid, cells);
    }
    return CLI_DONE;
}

static int sweep_heads(const char *path, const cli_heads *heads, const request *want, cli_grid *grid,
                       bool *has_caches) {
    table t = {.heads = heads, .centre = &want->centre};
    const size_t n_centres = cli_count_centres(t.centre, heads, 0);
    TRY(add_rows(path, want, &t));
    uint16_t *centres = calloc(n_centres + 1, heads->n_heads * heads->head_dim * sizeof *centres);
    if (!centres) return cli_out_of_memory();
    int rc = n_centres == 0 ? CLI_DONE : cli_check(path, cli_make_centres(t.centre, heads, 0, centres));
    t.centres = centres;
    for (size_t i = 0; i < t.n_rows; i++)
        *has_caches = *has_caches || t.rows[i].in_cache;
    cli_progress_begin("sweeping", t.n_rows);
    if (rc == CLI_DONE) cli_run_tasks(&want->threads, t.n_rows, row_task, &t);
    cli_progress_end();
    free(centres);
    return rc == CLI_DONE ? fill_grid(path, &t, grid) : rc;
}

/* What the figures of a cache's rows are over; as a comment, which plotting programs skip. */
static void explain(void) {
    printf("\n# error: of squares, relative; of a cache, such as default, it is that of what\n"
           "# is encoded in the end, while its bits count what stays in float16 too\n");
}

static int print_sweep(const char *path, const cli_heads *heads, const request *want, bool has_caches,
                       cli_grid *grid, json_t *list) {
    const cli_centre *centre = &want->centre;
    if (!list) {
        TRY(cli_grid_print(grid));
        if (has_caches) explain();
        return CLI_DONE;
    }
    cli_report report;
    cli_report_begin(&report, true);
    cli_report_text(&report, "file", NULL, path);
    cli_report_count(&report, "n_kv_heads", NULL, heads->n_heads);
    cli_report_count(&report, "n_positions", NULL, heads->n_positions);
    cli_report_count(&report, "head_dim", NULL, heads->head_dim);
    cli_report_flag(&report, "centre", NULL, centre->kind != CLI_CENTRE_NONE);
    cli_report_count(&report, "n_centres", NULL, cli_count_centres(centre, heads, 0));
    cli_report_count(&report, "centre_stretch", NULL, centre->stretch);
    cli_report_json(&report, "formats", cli_grid_take_json(grid));
    const bool failed = report.failed || json_array_append(list, report.object) != 0;
    cli_report_drop(&report);
    return failed ? cli_out_of_memory() : CLI_DONE;
}

static void tell_heads(const char *path, const cli_heads *heads, const cli_centre *centre) {
    char text[80] = "", more[96] = "";
    if (centre->kind != CLI_CENTRE_NONE) {
        cli_centre_text(centre, text, sizeof text);
        snprintf(more, sizeof more, ", without %s", text);
    }
    cli_tell_heads(path, heads, more); /* with a #, so that plotting programs skip it */
}

/* What a centre is taken of, and what stays in float16, must fit it. */
static float largest(const request *want) {
    bool halves = want->centre.kind != CLI_CENTRE_NONE;
    for (size_t i = 0; i < want->n_ways; i++)
        halves = halves || cli_way_ages(&want->ways[i].config);
    return halves ? TQ_MAX_NORM : TQ_MAX_ABS;
}

static int sweep_tensor(const char *path, const tq_tensor *tensor, const cli_heads *heads,
                        const request *want, json_t *list) {
    cli_grid grid;
    bool has_caches = false;
    TRY(cli_check_values(path, tensor, largest(want)));
    if (!list) tell_heads(path, heads, &want->centre);
    cli_grid_begin(&grid, columns, sizeof columns / sizeof columns[0]);
    const int rc = sweep_heads(path, heads, want, &grid, &has_caches);
    if (rc == CLI_DONE) return print_sweep(path, heads, want, has_caches, &grid, list);
    cli_grid_drop(&grid);
    return rc;
}

static int sweep_file(const char *path, const request *want, json_t *list) {
    tq_tensor tensor;
    cli_heads heads;
    TRY(cli_read_heads(path, &tensor, &heads));
    const int rc = sweep_tensor(path, &tensor, &heads, want, list);
    tq_tensor_free(&tensor);
    return rc;
}

static int sweep_files(const char *const *paths, size_t n, const request *want, bool as_json) {
    cli_report report;
    json_t *list = as_json ? json_array() : NULL;
    int rc = as_json && !list ? cli_out_of_memory() : CLI_DONE;

    for (size_t i = 0; rc == CLI_DONE && i < n; i++) {
        if (i > 0 && !as_json) putchar('\n');
        rc = sweep_file(paths[i], want, list);
    }
    if (rc == CLI_DONE && as_json) {
        cli_report_begin(&report, true);
        cli_report_json(&report, "tensors", json_incref(list));
        rc = cli_report_end(&report);
    }
    json_decref(list);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [FORMATS] = {"formats", 0, "LIST", "names with commas between (default: all formats, default)"},
    [CENTER] = {"center", 0, "mean|learn", "subtract centres first, as encode does (v2 formats only)"},
    [STRETCH] = {"center-stretch", 0, "L|all", "positions that share a centre (default 256)"},
    [JSON] = {"json", 0, NULL, "print one JSON object"},
};

static int take_options(request *want, const cli_option *options) {
    TRY(cli_take_centre(&want->centre, &options[CENTER], &options[STRETCH], false));
    if (!options[FORMATS].given) return cli_take_way("default", &want->ways[0]);
    if (options[CENTER].given)
        return cli_misuse("--center does nothing with --formats: write FORMAT+centre");
    return cli_take_ways(options[FORMATS].value, want->ways, &want->n_ways);
}

static int run(const cli_args *args) {
    request want = {.n_ways = 0};
    TRY(take_options(&want, args->options));
    TRY(cli_choose_threads(0, &want.threads));
    return sweep_files(args->operands, args->n_operands, &want, args->options[JSON].given);
}

const cli_command cli_sweep_command = {
    .name = "sweep",
    .summary = "Measure formats side by side on the same tensors",
    .synopsis = "FILE... [--formats LIST] [--center mean|learn] [--json]",
    .examples = "  tqkv sweep k.npy v.npy\n"
                "  tqkv sweep m.safetensors:k --formats default,tq4+centre,tq6/tq4\n"
                "  tqkv sweep k.npy --center learn\n",
    .min_operands = 1,
    .max_operands = MAX_FILES,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
