/* SPDX-License-Identifier: MIT
 * Evaluation of cache formats on a language model: what is asked, what comes out, and who does what. */
#ifndef TQKV_CLI_EVAL_H
#define TQKV_CLI_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/kv_name.h"
#include "lm/lm.h"
#include "measure/bootstrap.h"
#include "measure/softmax.h"
#include "tqkv/io.h"

enum {
    CLI_EVAL_MAX_ROWS = 64,
    CLI_EVAL_MEMORY_POINTS = 64, /* contexts at which the bytes of a cache are noted, at most */
    CLI_EVAL_MEMORY_STEP = 8,    /* and tokens between them, at least: they are not decoded together */
    CLI_EVAL_MAX_PAIRS = 4,
    CLI_EVAL_SENTENCE = 1024
};

/* The name of the row that keeps them as tq_cache_config_default() does. */
#define CLI_EVAL_DEFAULT "default"

/* A way to keep keys and values, and its figures. "Reference": a sequence with a float32 cache. */
typedef struct cli_eval_row {
    char name[CLI_KV_NAME_SIZE];
    lm_kv kv;

    double *bits;     /* [tokens] -log2 of the probability of the token that came, less the reference's */
    double *kl;       /* [tokens] divergence from the reference's next-token distribution, nats */
    size_t same_top;  /* tokens at which the likeliest is the reference's */
    float *angles;    /* [tokens][outputs] 1 less the cosine of an attention output with its reference */
    double *error;    /* [layers] sum of squared differences of attention outputs */
    double *size;     /* [layers] sum of their references' squares */
    uint64_t bytes;   /* of the cache at the end of the first context */
    uint64_t values;  /* that they hold */
    uint64_t *memory; /* [n_memory] bytes at contexts memory_at[] */
    double token_seconds; /* median time of a token of this row alone */

    /* From all of these, once they are there. */
    double bits_change; /* mean of bits */
    double kl_mean, kl_median, kl_p99;
    /* 95 %, by blocks of the text; `beside`: of kl_mean less the default's, NaN where there is no
     * default. */
    measure_interval change_interval, kl_interval, beside;
    double cosine_mean, cosine_p1;
} cli_eval_row;

/* A tq format beside a block baseline of as many bits a code. The baseline spends more on scales: at
 * equal bits its KL would be `factor` times as much, 6.02 dB for every bit a value that it spends more.
 */
typedef struct cli_eval_pair {
    const cli_eval_row *ours, *baseline;
    double factor;
    measure_interval beside, beside_moved; /* 95 %: of our KL less its, as it is and at equal bits */
} cli_eval_pair;

typedef struct cli_eval {
    const char *model_path, *text_path;
    lm_model *model;
    lm_shape shape;
    size_t n_outputs; /* attention outputs of a token: query heads of all layers */

    size_t tokens;            /* evaluated */
    size_t context;           /* caches start empty again after so many */
    size_t threads;           /* 0: as many as there are processors */
    tq_arithmetic arithmetic; /* of the rows' products with codes */
    const uint32_t *text;     /* [tokens + 1] tokens */

    cli_eval_row *rows; /* [n_rows]; the first is float32, the control */
    size_t n_rows;
    cli_eval_pair pairs[CLI_EVAL_MAX_PAIRS]; /* those whose rows are both there */
    size_t n_pairs;
    double reference_bits, token_bits; /* their sum, and the last token's */
    size_t memory_at[CLI_EVAL_MEMORY_POINTS];
    size_t n_memory;
    double seconds; /* that it all took, timing of single rows apart */
} cli_eval;

/* Of a token, by the float32 reference. */
double cli_eval_reference_bits(const cli_eval *eval);

/* What so many bits more a token make of a perplexity: 0.01 is one percent more. */
double cli_eval_perplexity_change(double bits);

bool cli_eval_is_default(const cli_eval_row *row);

/* Norms, centres and padding counted. */
double cli_eval_bits_per_value(const cli_eval *eval, const cli_eval_row *row);

/* Relative squared error of a layer's attention outputs. */
double cli_eval_layer_error(const cli_eval_row *row, size_t layer);

/* A figure of a row, as the tables, the JSON object and the page show it. */
typedef struct cli_eval_figure {
    const char *key;                        /* in JSON, where it stands without a factor */
    bool is_cost;                           /* in the first table; else in the second */
    const char *heading, *format;           /* in tables; NULL: in JSON alone */
    double factor;                          /* in tables */
    const char *page_heading, *page_format; /* on the page; likewise */
    double page_factor;                     /* on the page */
    double (*of)(const cli_eval *eval, const cli_eval_row *row);
} cli_eval_figure;

enum { CLI_EVAL_FIGURES = 17 };
extern const cli_eval_figure cli_eval_figures[CLI_EVAL_FIGURES];

/* The row of that name, or NULL. */
const cli_eval_row *cli_eval_find(const cli_eval *eval, const char *name);

/* Appends the rows of a comma list of names and of the groups 'main' and 'all' to eval->rows, float32
 * first in any case. Names that are there already are passed over. A name that the model cannot serve is
 * wrong use; one that came with a group is left out, and a note says why.
 * CLI_DONE, or the exit status after a message. */
int cli_eval_add_rows(cli_eval *eval, const char *list);

/* A layer's tensors as they fill: q [H][T][D], k and v [G][T][D]. */
typedef struct cli_dump_layer {
    lm_layer_shape shape;
    float *q, *k, *v;
    tq_output *q_file, *k_file, *v_file; /* layerN-q.npy, layerN-k.npy, layerN-v.npy */
} cli_dump_layer;

typedef struct cli_dump {
    size_t n_layers, n_positions; /* T: the first context's */
    cli_dump_layer *layers;
} cli_dump;

/* Opens the files in the folder, which it makes if need be, and makes room for n_positions. CLI_DONE, or
 * the exit status after a message; release with cli_dump_free() in every case. */
int cli_dump_begin(cli_dump *dump, tq_outputs **outputs, const char *folder, const lm_model *model,
                   size_t n_positions);

/* Position t of a layer: q [H][D], k and v [G][D]. */
void cli_dump_add(cli_dump *dump, size_t layer, size_t t, const float *q, const float *k, const float *v);

int cli_dump_write(const cli_dump *dump);

void cli_dump_free(cli_dump *dump);

/* Fills in the figures of all rows. dump: takes what the reference's first context sees; NULL: not
 * wanted. CLI_DONE, or CLI_FAILED after a message. Release with cli_eval_free_rows() in every case. */
int cli_eval_run(cli_eval *eval, cli_dump *dump);

void cli_eval_free_rows(cli_eval *eval);

/* The reference's next-token distribution at a token, beside which those of all rows are put. */
typedef struct cli_eval_reference {
    const float *logits; /* [vocab] */
    double *p;           /* [vocab] */
    measure_softmax softmax;
} cli_eval_reference;

/* Takes the reference's logits, which must stay; r->p has room. The token that came was `next`. */
void cli_eval_add_reference(cli_eval *eval, cli_eval_reference *r, const float *logits, uint32_t next);

/* Adds what token t of the row looks like beside it. Rows may be added by several threads. */
void cli_eval_add_token(const cli_eval *eval, cli_eval_row *row, size_t t, const cli_eval_reference *r,
                        const float *logits, uint32_t next);

/* Adds a layer's attention outputs of token t, [n_heads][head_dim]; `first` of a token's n_outputs is the
 * first head of this layer. */
void cli_eval_add_outputs(cli_eval_row *row, size_t layer, size_t t, size_t n_outputs, size_t first,
                          size_t n_heads, size_t head_dim, const float *reference, const float *out);

/* Means, their intervals, and percentiles (nearest rank) of all rows. Sorts kl and angles. CLI_DONE, or
 * CLI_FAILED after a message. */
int cli_eval_summarise(cli_eval *eval);

/* The interval of the mean of a's KL less `factor` times b's, while kl is in the text's order. room:
 * [tokens]. CLI_DONE, or CLI_FAILED after a message. */
int cli_eval_compare(const cli_eval *eval, const cli_eval_row *a, const cli_eval_row *b, double factor,
                     double *room, measure_interval *interval);

/* Whether the text does not tell the row's KL from the default's. */
bool cli_eval_ties(const cli_eval_row *row);

/* Whether 0 is in it; false where there is no interval. */
bool cli_eval_holds_zero(const measure_interval *interval);

/* Fills in eval->pairs, while kl is still in the text's order. room: [tokens]. CLI_DONE, or CLI_FAILED
 * after a message. */
int cli_eval_find_pairs(cli_eval *eval, double *room);

/* Whose mean KL is lower, "ours" or "its", or "tie" where the text was seen not to tell. moved: at equal
 * bits. */
const char *cli_eval_lower(const cli_eval_pair *pair, bool moved);

/* The name, with " *" behind the default and " =" behind what ties with it. */
typedef char cli_eval_marked[CLI_KV_NAME_SIZE + 2];
void cli_eval_mark(const cli_eval_row *row, cli_eval_marked name);

/* A sentence or two about a table or picture; "" where there is nothing to say. */
typedef void cli_eval_conclude(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]);
cli_eval_conclude cli_eval_conclude_costs, cli_eval_conclude_divergence, cli_eval_conclude_pairs,
    cli_eval_conclude_sizes, cli_eval_conclude_ranking, cli_eval_conclude_layers,
    cli_eval_conclude_memory;

/* CLI_DONE, or CLI_FAILED after a message. */
int cli_eval_print_tables(const cli_eval *eval);
int cli_eval_print_json(const cli_eval *eval);

/* The style sheet's class for a row: which family of formats it belongs to. */
const char *cli_eval_colour(const cli_eval_row *row);

/* Whether there is anything to draw: a row that differs from float32. */
bool cli_eval_has_divergence(const cli_eval *eval);

/* Whether the picture of sizes shows the row. */
bool cli_eval_has_size_dot(const cli_eval_row *row);

/* Mean KL against bits per value: formats bare, with all helpers, and the default. */
void cli_eval_plot_sizes(const cli_eval *eval, FILE *out);

/* Mean and 99th percentile of the KL, every row, the largest on top. */
void cli_eval_plot_ranking(const cli_eval *eval, FILE *out);

/* Relative squared error of attention outputs against the layer. */
void cli_eval_plot_layers(const cli_eval *eval, FILE *out);

/* Bytes of the cache against the context. */
void cli_eval_plot_memory(const cli_eval *eval, FILE *out);

/* CLI_DONE, or CLI_FAILED after a message. */
int cli_eval_write_report(const cli_eval *eval, tq_output *output);

#endif
