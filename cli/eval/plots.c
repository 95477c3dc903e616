/* SPDX-License-Identifier: MIT
 * The pictures of an evaluation's report. */
#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/plot.h"

/* Families of formats; those with a line in the first picture have one through their members. */
static const char usual[] = "usual", dense[] = "dense", v2[] = "v2", helped[] = "helped", v1[] = "v1",
                  blocks[] = "blocks", turned[] = "turned", lent[] = "lent", mixed[] = "mixed";

/* In the names of pictures for all three helpers, which would leave their lines no room. */
static const char helpers[] = "+centre+recent+sinks";

const char *cli_eval_colour(const cli_eval_row *row) {
    const lm_kv *kv = &row->kv;
    const bool has_helper = kv->recent || kv->sinks || kv->learn_centre || kv->edge;
    if (cli_eval_is_default(row)) return usual;
    if (kv->store == LM_STORE_BLOCKS) return has_helper ? lent : kv->rotate ? turned : blocks;
    if (kv->store != LM_STORE_CACHE) return dense;
    if (kv->k_dense || kv->v_dense) return mixed;
    if (has_helper) return helped;
    if (kv->k_format != kv->v_format) return mixed;
    return TQ_IS_V1(kv->k_format) ? v1 : v2;
}

/* What the pictures of many lines name: formats bare or with all helpers, and the default. */
static bool is_named(const cli_eval *eval, const cli_eval_row *row) {
    (void)eval;
    const lm_kv *kv = &row->kv;
    const char *suffixes = strchr(row->name, '+');
    const char *rest = suffixes && kv->rotate ? strchr(suffixes + 1, '+') : suffixes;
    if (kv->k_dense || kv->v_dense) return false;
    return !rest || strcmp(rest, helpers) == 0;
}

static bool diverges(const cli_eval_row *row) {
    return row->kl_mean > 0.0;
}

bool cli_eval_has_divergence(const cli_eval *eval) {
    for (size_t i = 0; i < eval->n_rows; i++)
        if (diverges(&eval->rows[i])) return true;
    return false;
}

static cli_label label_of(const cli_eval_row *row, double x, double y) {
    cli_label label = {.colour = cli_eval_colour(row), .x = x, .y = y};
    const char *all = strstr(row->name, helpers);
    if (all && all[strlen(helpers)] == '\0')
        snprintf(label.text, sizeof label.text, "%.*s+crs", (int)(all - row->name), row->name);
    else
        snprintf(label.text, sizeof label.text, "%s", row->name);
    return label;
}

/* The first picture has formats alone: float16 would leave them no room. */
bool cli_eval_has_size_dot(const cli_eval_row *row) {
    return is_named(NULL, row) && diverges(row) && cli_eval_colour(row) != dense;
}

/* Rows of a family that the first picture shows, by bits. */
static size_t family_of(const cli_eval *eval, const char *family, const cli_eval_row **members) {
    size_t n = 0;
    for (size_t i = 0; i < eval->n_rows; i++) {
        const cli_eval_row *row = &eval->rows[i];
        if (!cli_eval_has_size_dot(row) || cli_eval_colour(row) != family) continue;
        size_t at = n++;
        for (; at > 0 &&
               cli_eval_bits_per_value(eval, members[at - 1]) > cli_eval_bits_per_value(eval, row);
             at--)
            members[at] = members[at - 1];
        members[at] = row;
    }
    return n;
}

enum { LINE_POINTS = 24 }; /* obstacles along a stretch of line */

typedef struct scene {
    cli_label labels[CLI_EVAL_MAX_ROWS];
    cli_point obstacles[CLI_EVAL_MAX_ROWS * (LINE_POINTS + 1)];
    size_t n_labels, n_obstacles;
} scene;

static void add_obstacles(scene *s, cli_point from, cli_point to) {
    for (int i = 0; i < LINE_POINTS; i++) {
        const double share = (double)i / LINE_POINTS;
        s->obstacles[s->n_obstacles++] =
            (cli_point){from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)};
    }
}

static void draw_family(const cli_eval *eval, const cli_plot *plot, const char *family, scene *s) {
    const cli_eval_row *members[CLI_EVAL_MAX_ROWS];
    double x[CLI_EVAL_MAX_ROWS], y[CLI_EVAL_MAX_ROWS];
    const size_t n = family_of(eval, family, members);
    cli_point before = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = cli_eval_bits_per_value(eval, members[i]);
        y[i] = members[i]->kl_mean;
        const cli_point at = {cli_axis_at(&plot->x, x[i]), cli_axis_at(&plot->y, y[i])};
        if (i > 0 && family != mixed) add_obstacles(s, before, at);
        s->obstacles[s->n_obstacles++] = at;
        s->labels[s->n_labels++] = label_of(members[i], at.x, at.y);
        before = at;
    }
    if (n > 1 && family != mixed) cli_plot_line(plot, family, n, x, y);
    for (size_t i = 0; i < n; i++)
        cli_plot_dot(plot, family, true, x[i], y[i]);
}

/* Widens a range by a value above zero. */
static void widen(double *low, double *high, double value) {
    if (value <= 0.0) return;
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

/* One picture is drawn at a time. */
static scene *new_scene(void) {
    static scene s;
    s.n_labels = s.n_obstacles = 0;
    return &s;
}

void cli_eval_plot_sizes(const cli_eval *eval, FILE *out) {
    static const char *const families[] = {v2, helped, v1, blocks, turned, lent, mixed, usual};
    scene *s = new_scene();
    double low = HUGE_VAL, high = 0.0, fewest = HUGE_VAL, most = 0.0;
    cli_plot plot = {.out = out,
                     .height = 440,
                     .x = {.title = "bits per value, norms counted", .from = 40, .to = 470},
                     .y = {.title = "mean KL, nats", .log = true, .from = 395, .to = 30}};
    for (size_t i = 0; i < eval->n_rows; i++) {
        if (!cli_eval_has_size_dot(&eval->rows[i])) continue;
        widen(&low, &high, eval->rows[i].kl_mean);
        widen(&fewest, &most, cli_eval_bits_per_value(eval, &eval->rows[i]));
    }
    if (high == 0.0) return;
    cli_axis_round(&plot.y, low, high);
    plot.x.low = floor(fewest);
    plot.x.high = fmax(ceil(most), plot.x.low + 1.0);
    cli_plot_begin(&plot, "Mean KL divergence against bits per value");
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        draw_family(eval, &plot, families[i], s);
    cli_labels_scatter(s->labels, s->n_labels, &plot, s->obstacles, s->n_obstacles);
    cli_labels_draw(s->labels, s->n_labels, &plot);
    cli_plot_end(&plot);
}

static int by_kl(const void *a, const void *b) {
    const cli_eval_row *x = *(const cli_eval_row *const *)a, *y = *(const cli_eval_row *const *)b;
    return (x->kl_mean < y->kl_mean) - (x->kl_mean > y->kl_mean);
}

static void draw_rank(const cli_plot *plot, const cli_eval_row *row, double place) {
    const double x[2] = {row->kl_mean, fmax(row->kl_p99, plot->x.low)}, y[2] = {place, place};
    const char *colour = cli_eval_colour(row);
    char style[48];
    cli_plot_line(plot, colour, 2, x, y);
    cli_plot_dot(plot, colour, false, x[1], place);
    cli_plot_dot(plot, colour, true, x[0], place);
    snprintf(style, sizeof style, "label %s", colour);
    cli_plot_text(plot->out, style, "end", plot->x.from - 10.0, cli_axis_at(&plot->y, place) + 4.5,
                  row->name);
}

void cli_eval_plot_ranking(const cli_eval *eval, FILE *out) {
    const cli_eval_row *rows[CLI_EVAL_MAX_ROWS];
    double low = HUGE_VAL, high = 0.0, longest = 0.0;
    size_t n = 0;
    for (size_t i = 0; i < eval->n_rows; i++) {
        const cli_eval_row *row = &eval->rows[i];
        if (!diverges(row)) continue;
        rows[n++] = row;
        longest = fmax(longest, (double)strlen(row->name));
        widen(&low, &high, row->kl_mean);
        widen(&low, &high, row->kl_p99);
    }
    qsort(rows, n, sizeof *rows, by_kl);
    const double bottom = 14.0 + 20.0 * (double)n, left = fmin(16.0 + CLI_LETTER_WIDTH * longest, 290.0);
    cli_plot plot = {.out = out,
                     .height = bottom + 46.0,
                     .x = {.title = "KL, nats: dot mean, ring p99", .log = true, .from = left, .to = 470},
                     .y = {.low = (double)n, .high = 0.0, .from = bottom, .to = 10.0}};
    cli_axis_round(&plot.x, low, high);
    cli_plot_begin(&plot, "Mean KL and its 99th percentile, row by row");
    for (size_t i = 0; i < n; i++)
        draw_rank(&plot, rows[i], (double)i + 0.5);
    cli_plot_end(&plot);
}

/* Where lines end, so that a label of so many letters has room behind them. */
enum { LINES_END = 310, END_LETTERS = 20, LINE_STEP = 15, LEAST_HEIGHT = 365, MANY_POINTS = 16 };

/* Where the axis lies: so low that every line could have its own label. */
static double bottom_for(size_t lines) {
    return 30.0 + fmax(LEAST_HEIGHT, LINE_STEP * (double)lines);
}

/* Labels at the ends of lines, those of lines with the same end on one label. */
static void add_end_label(scene *s, const cli_eval_row *row, double x, double y) {
    const cli_label own = label_of(row, x, y);
    for (size_t i = 0; i < s->n_labels; i++) {
        cli_label *label = &s->labels[i];
        const size_t length = strlen(label->text);
        if (fabs(label->y - y) < 0.05 && length + 2 + strlen(own.text) <= END_LETTERS) {
            memcpy(label->text + length, ", ", 2);
            strcpy(label->text + length + 2, own.text); /* there is room for END_LETTERS */
            return;
        }
    }
    s->labels[s->n_labels++] = own;
}

/* A figure of a row at place i of a line's. */
typedef double point_of(const cli_eval *eval, const cli_eval_row *row, size_t i);

/* A line for each row that is chosen: n points. */
static void draw_lines(const cli_eval *eval, const cli_plot *plot, size_t n, point_of *x_of,
                       point_of *y_of, bool (*chosen)(const cli_eval *eval, const cli_eval_row *row),
                       bool dots) {
    double *x = calloc(2 * n, sizeof *x), *y = x ? x + n : NULL;
    scene *s = new_scene();
    for (size_t i = 0; x && i < eval->n_rows; i++) {
        const cli_eval_row *row = &eval->rows[i];
        if (!chosen(eval, row)) continue;
        for (size_t j = 0; j < n; j++) {
            x[j] = x_of(eval, row, j);
            y[j] = y_of(eval, row, j);
        }
        cli_plot_line(plot, cli_eval_colour(row), n, x, y);
        for (size_t j = 0; dots && n <= MANY_POINTS && j < n; j++)
            cli_plot_dot(plot, cli_eval_colour(row), true, x[j], y[j]);
        add_end_label(s, row, cli_axis_at(&plot->x, x[n - 1]), cli_axis_at(&plot->y, y[n - 1]));
    }
    cli_labels_stack(s->labels, s->n_labels, plot->y.to, plot->y.from, LINE_STEP, 12.0);
    cli_labels_draw(s->labels, s->n_labels, plot);
    cli_plot_end(plot);
    free(x);
}

static bool has_layer_error(const cli_eval *eval, const cli_eval_row *row) {
    bool all = is_named(eval, row) && cli_eval_colour(row) != dense;
    for (size_t i = 0; i < eval->shape.n_layers; i++)
        all = all && cli_eval_layer_error(row, i) > 0.0;
    return all;
}

static double layer_number(const cli_eval *eval, const cli_eval_row *row, size_t i) {
    (void)eval, (void)row;
    return (double)i;
}

static double layer_error(const cli_eval *eval, const cli_eval_row *row, size_t i) {
    (void)eval;
    return cli_eval_layer_error(row, i);
}

void cli_eval_plot_layers(const cli_eval *eval, FILE *out) {
    const size_t n = eval->shape.n_layers;
    double low = HUGE_VAL, high = 0.0;
    size_t lines = 0;
    for (size_t i = 0; i < eval->n_rows; i++) {
        if (!has_layer_error(eval, &eval->rows[i])) continue;
        lines++;
        for (size_t layer = 0; layer < n; layer++)
            widen(&low, &high, cli_eval_layer_error(&eval->rows[i], layer));
    }
    if (high == 0.0) return;
    const double bottom = bottom_for(lines), last = fmax((double)n - 1.0, 1.0);
    cli_plot plot = {.out = out,
                     .height = bottom + 45.0,
                     .x = {.title = "layer", .whole = true, .from = 40, .to = LINES_END, .high = last},
                     .y = {.title = "relative squared error of attention outputs",
                           .log = true,
                           .from = bottom,
                           .to = 30}};
    cli_axis_round(&plot.y, low, high);
    cli_plot_begin(&plot, "Error of attention outputs, layer by layer");
    draw_lines(eval, &plot, n, layer_number, layer_error, has_layer_error, true);
}

static double context_at(const cli_eval *eval, const cli_eval_row *row, size_t i) {
    (void)row;
    return (double)eval->memory_at[i];
}

static double memory_at(const cli_eval *eval, const cli_eval_row *row, size_t i) {
    (void)eval;
    return fmax((double)row->memory[i], 1.0);
}

void cli_eval_plot_memory(const cli_eval *eval, FILE *out) {
    double low = HUGE_VAL, high = 0.0;
    const size_t n = eval->n_memory;
    size_t lines = 0;
    for (size_t i = 0; i < eval->n_rows; i++) {
        lines += is_named(eval, &eval->rows[i]);
        widen(&low, &high, memory_at(eval, &eval->rows[i], 0));
        widen(&low, &high, memory_at(eval, &eval->rows[i], n - 1));
    }
    const double bottom = bottom_for(lines);
    cli_plot plot = {
        .out = out,
        .height = bottom + 45.0,
        .x = {.title = "tokens in the cache",
              .high = (double)eval->memory_at[n - 1],
              .from = 60,
              .to = LINES_END},
        .y = {.title = "bytes of all layers", .log = true, .bytes = true, .from = bottom, .to = 30}};
    cli_axis_round(&plot.y, low, high);
    cli_plot_begin(&plot, "Bytes of the cache against tokens in it");
    draw_lines(eval, &plot, n, context_at, memory_at, is_named, false);
}
