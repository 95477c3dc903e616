/* SPDX-License-Identifier: MIT
 * Whole tensors through the codec, piece by piece: sizes, centres, progress. */
#include "base/encoding.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "base/progress.h"
#include "base/threads.h"
#include "tqkv/cache.h"

/* Values of one call to the codec: a few milliseconds of work, and a buffer that stays in cache. */
enum { PIECE_VALUES = 1 << 18 };

/* The positions of the piece that begins `left` before the end. */
static size_t piece(size_t n_heads, size_t head_dim, size_t left) {
    const size_t most = PIECE_VALUES / head_dim / n_heads;
    return most == 0 ? 1 : most < left ? most : left;
}

size_t cli_first_kept(size_t n_positions, size_t capacity) {
    return n_positions > capacity ? n_positions - capacity : 0;
}

/* Values have been checked before: what is left is a norm. `heads` begin with head number `head` of all.
 */
static tq_status name_vector(const cli_heads *heads, size_t head, size_t first, tq_status status) {
    if (status != TQ_E_RANGE) return status;
    const size_t row = first + (size_t)tq_last_error()->index / heads->head_dim;
    return tq_fail(
        TQ_E_RANGE, row * heads->head_dim, "src",
        "vector [%zu, %zu] of [heads, positions] has a norm above %g, which float16 cannot hold",
        head + row / heads->n_positions, row % heads->n_positions, (double)TQ_MAX_NORM);
}

static tq_status encode_pieces(const cli_heads *heads, size_t head, size_t t, tq_encoded *out) {
    const size_t dim = heads->head_dim, all = heads->n_positions;
    const size_t n_values = heads->n_heads * all * dim;
    for (size_t rows; t < all; t += rows) {
        rows = piece(heads->n_heads, dim, all - t);
        TRY_STATUS(
            name_vector(heads, head, t,
                        tq_encoded_put(out, rows, heads->data + t * dim, n_values - t * dim, all * dim)));
        cli_progress_add(heads->n_heads * rows);
    }
    return TQ_OK;
}

static cli_heads one_of(const cli_heads *heads, size_t g) {
    cli_heads one = *heads;
    one.n_heads = 1;
    one.data += g * heads->n_positions * heads->head_dim;
    return one;
}

/* One head's part of an encoded tensor, which stays the owner of all but the centres, copied into
 * `centres`. */
static tq_encoded one_of_encoded(const tq_encoded *all, size_t g, uint16_t *centres) {
    const size_t dim = all->codec.head_dim;
    tq_encoded one = *all;
    one.n_kv_heads = 1;
    one.n_codes /= all->n_kv_heads;
    one.n_norms /= all->n_kv_heads;
    one.codes += g * one.n_codes;
    one.norms = (uint8_t *)one.norms + g * one.n_norms;
    for (size_t i = 0; i < all->n_centres; i++)
        memcpy(centres + i * dim, all->centre + (i * all->n_kv_heads + g) * dim, dim * sizeof *centres);
    one.centre = all->n_centres ? centres : NULL;
    return one;
}

/* Heads as tasks, and how they ended: an error's text belongs to the thread that made it. */
typedef struct head_tasks {
    const cli_heads *heads;
    const tq_encoded *encoded;
    size_t first;
    tq_encoded *done;          /* [G], after encoding */
    measure_distance *partial; /* [G], of measuring */
    tq_error *errors;          /* [G] */
} head_tasks;

static void keep_error(head_tasks *w, size_t g, tq_status status) {
    if (status == TQ_E_NO_MEMORY)
        w->errors[g].status = status;
    else if (status != TQ_OK)
        w->errors[g] = *tq_last_error();
}

/* That of the first head that has one. */
static tq_status first_error(const head_tasks *w) {
    for (size_t g = 0; g < w->heads->n_heads; g++) {
        const tq_error *e = &w->errors[g];
        if (e->status == TQ_E_NO_MEMORY) return e->status;
        if (e->status != TQ_OK) return tq_fail(e->status, e->index, e->field, "%s", e->message);
    }
    return TQ_OK;
}

static uint16_t *new_centres(const tq_encoded *e) {
    return malloc((e->n_centres * e->codec.head_dim + 1) * sizeof(uint16_t));
}

static void encode_head(void *work, size_t g) {
    head_tasks *w = work;
    const cli_heads heads = one_of(w->heads, g);
    uint16_t *centres = new_centres(w->encoded);
    tq_status status = centres ? TQ_OK : TQ_E_NO_MEMORY;
    if (centres) {
        w->done[g] = one_of_encoded(w->encoded, g, centres);
        status = encode_pieces(&heads, g, w->first, &w->done[g]);
    }
    keep_error(w, g, status);
    free(centres);
}

static tq_status encode_tasks(const tq_parallel *threads, const cli_heads *heads, size_t first,
                              tq_encoded *out) {
    head_tasks w = {.heads = heads,
                    .encoded = out,
                    .first = first,
                    .done = calloc(heads->n_heads, sizeof *w.done),
                    .errors = calloc(heads->n_heads, sizeof *w.errors)};
    tq_status status = w.done && w.errors ? TQ_OK : TQ_E_NO_MEMORY;
    if (status == TQ_OK) {
        cli_run_tasks(threads, heads->n_heads, encode_head, &w);
        status = first_error(&w);
    }
    if (status == TQ_OK) { /* they are the same for all heads */
        out->n_positions = w.done->n_positions;
        out->ring_start = w.done->ring_start;
        out->first_position = w.done->first_position;
    }
    free(w.done);
    free(w.errors);
    return status;
}

tq_status cli_encode_heads(cli_device *device, const tq_parallel *threads, const cli_heads *heads,
                           tq_encoded *out) {
    const size_t first = cli_first_kept(heads->n_positions, out->capacity);
    out->ring_start = first % out->capacity;
    out->first_position = out->centre_stretch == 0 ? 0 : first;
    if (!device)
        return threads && threads->run ? encode_tasks(threads, heads, first, out)
                                       : encode_pieces(heads, 0, first, out);
    TRY_STATUS(name_vector(heads, 0, 0, cli_device_encode(device, heads, first, out)));
    cli_progress_add(heads->n_heads * (heads->n_positions - first));
    return TQ_OK;
}

static tq_status decode_pieces(const tq_encoded *encoded, tq_domain domain, float *dst) {
    const size_t dim = encoded->codec.head_dim, all = encoded->n_positions;
    const size_t n_values = encoded->n_kv_heads * all * dim;
    for (size_t p = 0, rows; p < all; p += rows) {
        rows = piece(encoded->n_kv_heads, dim, all - p);
        TRY_STATUS(
            tq_encoded_get(encoded, p, rows, domain, dst + p * dim, n_values - p * dim, all * dim));
        cli_progress_add(rows);
    }
    return TQ_OK;
}

tq_status cli_decode_all(cli_device *device, const tq_encoded *encoded, tq_domain domain, float *dst) {
    if (encoded->n_kv_heads == 0 || encoded->n_positions == 0) return TQ_OK;
    if (!device) return decode_pieces(encoded, domain, dst);
    TRY_STATUS(cli_device_decode(device, encoded, domain, dst));
    cli_progress_add(encoded->n_positions);
    return TQ_OK;
}

static tq_status measure_pieces(const tq_encoded *encoded, const cli_heads *original,
                                measure_distance *distance) {
    const size_t dim = original->head_dim, heads = original->n_heads, all = encoded->n_positions;
    const size_t first = original->n_positions - all, most = piece(heads, dim, all);
    float *decoded = cli_new_floats(heads, most, dim);
    tq_status status = decoded ? TQ_OK : TQ_E_NO_MEMORY;
    for (size_t p = 0, rows; status == TQ_OK && p < all; p += rows) {
        rows = piece(heads, dim, all - p);
        status = tq_encoded_get(encoded, p, rows, TQ_ORIGINAL, decoded, heads * most * dim, most * dim);
        for (size_t g = 0; status == TQ_OK && g < heads; g++) {
            const float *there = original->data + (g * original->n_positions + first + p) * dim;
            measure_distance_add(distance, there, decoded + g * most * dim, rows, dim);
        }
        cli_progress_add(heads * rows);
    }
    free(decoded);
    return status;
}

static void measure_head(void *work, size_t g) {
    head_tasks *w = work;
    const cli_heads heads = one_of(w->heads, g);
    uint16_t *centres = new_centres(w->encoded);
    tq_status status = centres ? TQ_OK : TQ_E_NO_MEMORY;
    if (centres) {
        const tq_encoded one = one_of_encoded(w->encoded, g, centres);
        status = measure_pieces(&one, &heads, &w->partial[g]);
    }
    keep_error(w, g, status);
    free(centres);
}

static void add_partial(measure_distance *distance, const measure_distance *partial) {
    distance->error += partial->error;
    distance->reference += partial->reference;
    distance->max_abs = fmax(distance->max_abs, partial->max_abs);
    distance->n_vectors += partial->n_vectors;
}

tq_status cli_measure(const tq_parallel *threads, const tq_encoded *encoded, const cli_heads *original,
                      measure_distance *distance) {
    const tq_parallel none = {0};
    const size_t heads = original->n_heads, before = distance->n_vectors;
    head_tasks w = {.heads = original,
                    .encoded = encoded,
                    .partial = calloc(heads, sizeof *w.partial),
                    .errors = calloc(heads, sizeof *w.errors)};
    tq_status status = w.partial && w.errors ? TQ_OK : TQ_E_NO_MEMORY;
    if (status == TQ_OK) {
        for (size_t g = 0; g < heads; g++) /* each adds its cosines in its own place */
            w.partial[g].cosines = distance->cosines + before + g * encoded->n_positions;
        cli_run_tasks(threads ? threads : &none, heads, measure_head, &w);
        status = first_error(&w);
        for (size_t g = 0; g < heads; g++)
            add_partial(distance, &w.partial[g]);
    }
    free(w.partial);
    free(w.errors);
    return status;
}

int cli_take_centre(cli_centre *centre, const cli_option *center, const cli_option *stretch,
                    bool takes_file) {
    const bool all = stretch->given && strcmp(stretch->value, "all") == 0;
    *centre = (cli_centre){.stretch = 0};
    if (stretch->given && !center->given)
        return cli_misuse("--center-stretch does nothing without --center");
    if (!center->given) return CLI_DONE;
    centre->path = center->value;
    centre->stretch = TQ_DEFAULT_CENTRE_STRETCH;
    centre->kind = strcmp(center->value, "mean") == 0    ? CLI_CENTRE_MEAN
                   : strcmp(center->value, "learn") == 0 ? CLI_CENTRE_LEARN
                                                         : CLI_CENTRE_FILE;
    if (centre->kind == CLI_CENTRE_FILE && !takes_file)
        return cli_misuse("--center: '%s' is none; there are mean and learn", center->value);
    if (centre->kind == CLI_CENTRE_FILE && stretch->given)
        return cli_misuse("--center-stretch does nothing with a file, whose centre serves all positions");
    if (centre->kind == CLI_CENTRE_FILE || all) {
        centre->stretch = 0;
        return CLI_DONE;
    }
    TRY(cli_take_count(stretch, 0, SIZE_MAX, &centre->stretch));
    return centre->stretch == 0
               ? cli_misuse("--center-stretch: 0 positions have no mean; give 1 or more, "
                            "or all")
               : CLI_DONE;
}

size_t cli_count_centres(const cli_centre *centre, const cli_heads *heads, size_t first) {
    if (centre->kind == CLI_CENTRE_NONE) return 0;
    if (centre->stretch == 0) return 1;
    return (heads->n_positions - 1) / centre->stretch - first / centre->stretch + 1;
}

/* Of positions [first, end), in float32, then rounded. */
static tq_status mean(const cli_heads *heads, size_t first, size_t end, float *room, uint16_t *centre) {
    const size_t dim = heads->head_dim;
    for (size_t g = 0; g < heads->n_heads; g++) {
        for (size_t d = 0; d < dim; d++) {
            const float *column = heads->data + g * heads->n_positions * dim + d;
            double sum = 0.0;
            for (size_t t = first; t < end; t++)
                sum += (double)column[t * dim];
            room[g * dim + d] = (float)(sum / (double)(end - first));
        }
    }
    return tq_round_centre(room, centre, heads->n_heads * dim);
}

static tq_status learn(const cli_heads *heads, size_t first, size_t end, uint16_t *centre) {
    const size_t dim = heads->head_dim, all = heads->n_heads * heads->n_positions * dim;
    const size_t most = TQ_DEFAULT_LEARN_CENTRE;
    const tq_batch batch = {.heads = heads->n_heads,
                            .rows = end - first < most ? end - first : most,
                            .dense_head_stride = heads->n_positions * dim};
    return tq_learn_centre((uint32_t)dim, &batch, heads->data + first * dim, all - first * dim, centre,
                           heads->n_heads * dim);
}

tq_status cli_make_centres(const cli_centre *centre, const cli_heads *heads, size_t first,
                           uint16_t *centres) {
    const size_t all = heads->n_positions, n = cli_count_centres(centre, heads, first);
    const size_t stretch = centre->stretch == 0 ? all : centre->stretch;
    float *room = cli_new_floats(heads->n_heads, heads->head_dim, 1);
    tq_status status = room ? TQ_OK : TQ_E_NO_MEMORY;
    for (size_t i = 0; status == TQ_OK && i < n; i++) {
        const size_t number = first / stretch + i, begin = number * stretch;
        const size_t end = all - begin < stretch ? all : begin + stretch;
        uint16_t *to = centres + number % n * heads->n_heads * heads->head_dim;
        status = centre->kind == CLI_CENTRE_MEAN
                     ? mean(heads, begin < first ? first : begin, end, room, to)
                     : learn(heads, begin, end, to);
    }
    free(room);
    return status;
}

void cli_centre_text(const cli_centre *centre, char *text, size_t size) {
    const char *what = centre->kind == CLI_CENTRE_MEAN ? "mean" : "learned centre";
    if (centre->stretch == 0)
        snprintf(text, size, "the %s of all positions", what);
    else
        snprintf(text, size, "the %ss of stretches of %zu position%s", what, centre->stretch,
                 centre->stretch == 1 ? "" : "s");
}

void cli_report_centre(cli_report *report, const tq_encoded *encoded) {
    cli_report_flag(report, "centre", "centre", encoded->n_centres != 0);
    cli_report_count(report, "n_centres", "centres", encoded->n_centres);
    if (report->as_json || encoded->centre_stretch != 0)
        cli_report_count(report, "centre_stretch", "positions a centre", encoded->centre_stretch);
    else
        cli_report_text(report, "centre_stretch", "positions a centre",
                        encoded->n_centres ? "all" : "none");
}

size_t cli_centre_values(const tq_encoded *encoded) {
    return encoded->n_centres * encoded->n_kv_heads * encoded->codec.head_dim;
}

size_t cli_encoded_bytes(const tq_encoded *encoded) {
    return encoded->n_codes + encoded->n_norms + cli_centre_values(encoded) * sizeof *encoded->centre;
}

double cli_bits_per_value(const tq_encoded *encoded) {
    const double values =
        (double)encoded->n_kv_heads * (double)encoded->n_positions * (double)encoded->codec.head_dim;
    return values > 0.0 ? 8.0 * (double)cli_encoded_bytes(encoded) / values : HUGE_VAL;
}
