/* SPDX-License-Identifier: MIT
 * tqkv attend: queries over cached keys and values, plain or encoded, fused or by way of a decoded copy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attention.h"
#include "base/command.h"
#include "base/encoding.h"
#include "base/heads.h"
#include "base/input.h"
#include "base/message.h"
#include "base/options.h"
#include "base/outputs.h"
#include "base/threads.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { Q, K, V, OUTPUT, LSE, SCALE, CAUSAL, WINDOW, SOFTCAP, PATH, THREADS, SPLITS, N_OPTIONS };

typedef struct request {
    const char *q, *k, *v;
    const char *output_path;
    const char *lse_path; /* NULL: not wanted */
    tq_output *output, *lse;
    cli_attention_request attention;
    bool decoded;         /* by way of a decoded copy */
    size_t splits;        /* 0: in one call */
    tq_parallel parallel; /* its run() is NULL: one thread */
} request;

/* Keys or values as they were read. */
typedef struct side {
    const char *path;
    bool is_encoded;
    tq_tensor tensor;
    cli_heads heads;
    tq_encoded encoded;
    float *decoded; /* rotated, oldest first; NULL: not needed */
} side;

static int take_path(request *want, const cli_option *option) {
    want->decoded = option->given && strcmp(option->value, "decoded") == 0;
    if (option->given && !want->decoded && strcmp(option->value, "fused") != 0)
        return cli_misuse("--path: '%s' is none; there are fused and decoded", option->value);
    return CLI_GO_ON;
}

static int take_splits(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    const int rc = cli_parse_count(option, &want->splits);
    if (rc == CLI_GO_ON && want->splits == 0)
        return cli_misuse("--splits: 0 stretches hold nothing; give 1 or more");
    return rc;
}

static int take_files(request *want, const cli_option *options) {
    static const int needed[] = {Q, K, V, OUTPUT};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const cli_option *option = &options[needed[i]];
        if (!option->given) {
            return option->letter ? cli_misuse("-%c %s is missing", option->letter, option->value_name)
                                  : cli_misuse("--%s %s is missing", option->name, option->value_name);
        }
    }
    want->q = options[Q].value;
    want->k = options[K].value;
    want->v = options[V].value;
    want->output_path = options[OUTPUT].value;
    want->lse_path = options[LSE].value;
    return CLI_GO_ON;
}

static int take_options(request *want, const cli_option *options) {
    int rc = take_files(want, options);
    if (rc == CLI_GO_ON) {
        rc = cli_take_attention(&want->attention, &options[SCALE], &options[CAUSAL], &options[WINDOW],
                                &options[SOFTCAP]);
    }
    if (rc == CLI_GO_ON) rc = take_path(want, &options[PATH]);
    if (rc == CLI_GO_ON) rc = take_splits(want, &options[SPLITS]);
    return rc == CLI_GO_ON ? cli_take_threads(&options[THREADS], 1, &want->parallel) : rc;
}

/* The kind is told by the first bytes, not by the name. */
static int read_side(const char *path, side *s) {
    cli_input input;
    s->path = path;
    int rc = cli_input_read(path, &input);
    if (rc != CLI_DONE) return rc;
    s->is_encoded = input.kind == CLI_INPUT_SAFETENSORS;
    if (s->is_encoded) {
        const tq_status status = tq_encoded_parse(path, input.bytes, input.size, &s->encoded);
        rc = status == TQ_OK ? CLI_DONE : cli_check(NULL, status);
    } else {
        rc = cli_parse_heads(&input, &s->tensor, &s->heads);
    }
    cli_input_free(&input);
    return rc;
}

static void free_side(side *s) {
    tq_tensor_free(&s->tensor);
    tq_encoded_free(&s->encoded);
    free(s->decoded);
}

static cli_shape shape_of(const side *s) {
    if (s->is_encoded) {
        return (cli_shape){s->path, s->encoded.n_kv_heads, s->encoded.n_positions,
                           s->encoded.codec.head_dim};
    }
    return (cli_shape){s->path, s->heads.n_heads, s->heads.n_positions, s->heads.head_dim};
}

/* The rotated copy that --path decoded attends to, its centre added. */
static tq_status decode_side(side *s) {
    tq_encoded *e = &s->encoded;
    tq_status status = TQ_OK;
    s->decoded = cli_new_floats(e->n_kv_heads, e->n_positions, e->codec.head_dim);
    if (!s->decoded) return TQ_E_NO_MEMORY;
    if (e->centre) status = tq_rotate(&e->codec, TQ_ROTATED, e->n_kv_heads, e->centre, e->centre);
    return status == TQ_OK ? cli_decode_all(e, TQ_ROTATED, s->decoded) : status;
}

static tq_view view_of(const side *s) {
    const cli_shape shape = shape_of(s);
    const tq_encoded *e = &s->encoded;
    if (s->is_encoded && !s->decoded) {
        return cli_codes_view(&e->codec, e->codes, e->n_codes, e->norms, e->n_norms, e->capacity,
                              e->ring_start);
    }
    return cli_dense_view(s->decoded ? s->decoded : s->heads.data, shape.n_heads, shape.n_rows, 0,
                          (uint32_t)shape.head_dim);
}

static tq_status compute(const request *want, const tq_attention_params *params, const side *k,
                         const side *v, const float *q, float *out, float *lse) {
    tq_segment segment = {view_of(k), view_of(v), shape_of(k).n_rows, 0};
    segment.k.domain = segment.v.domain = params->domain;
    segment.k.centre = segment.k.store == TQ_STORE_CODES ? k->encoded.centre : NULL;
    if (want->splits > 0) return cli_attend_split(params, &segment, want->splits, q, out, lse);
    return cli_attend(params, &segment, q, out, lse);
}

/* Encoded values lack their centre, and the weights of a row sum to one. */
static void add_centre(const tq_attention_params *params, const float *centre, float *out) {
    const size_t rows = (size_t)params->n_heads * params->n_queries, dim = params->head_dim;
    for (size_t r = 0; r < rows; r++) {
        const size_t g = r / params->n_queries / (params->n_heads / params->n_kv_heads);
        for (size_t d = 0; d < dim; d++)
            out[r * dim + d] += centre[g * dim + d];
    }
}

static tq_status attend_fused(const request *want, tq_attention_params *params, const side *k,
                              const side *v, const float *q, float *out, float *lse) {
    const tq_status status = compute(want, params, k, v, q, out, lse);
    if (status == TQ_OK && v->is_encoded && v->encoded.centre) add_centre(params, v->encoded.centre, out);
    return status;
}

/* Queries are rotated if keys were, outputs rotated back if values were. */
static tq_status attend_decoded(const request *want, tq_attention_params *params, side *k, side *v,
                                float *q, float *out, float *lse) {
    const size_t rows = (size_t)params->n_heads * params->n_queries;
    tq_status status = TQ_OK;
    if (k->is_encoded) {
        status = decode_side(k);
        if (status == TQ_OK) status = tq_rotate(&k->encoded.codec, TQ_ROTATED, rows, q, q);
    }
    if (status == TQ_OK && v->is_encoded) status = decode_side(v);
    params->domain = TQ_ROTATED;
    if (status == TQ_OK) status = compute(want, params, k, v, q, out, lse);
    if (status == TQ_OK && v->is_encoded)
        status = tq_rotate(&v->encoded.codec, TQ_ORIGINAL, rows, out, out);
    return status;
}

static int write_results(const request *want, const tq_attention_params *params, const float *out,
                         const float *lse) {
    const size_t shape[3] = {params->n_heads, params->n_queries, params->head_dim};
    const int rc = cli_written(tq_output_npy(want->output, out, 3, shape));
    return rc == CLI_DONE && want->lse ? cli_written(tq_output_npy(want->lse, lse, 2, shape)) : rc;
}

static int attend_sides(const request *want, tq_attention_params *params, side *k, side *v, float *q) {
    float *out = cli_new_floats(params->n_heads, params->n_queries, params->head_dim);
    float *lse = cli_new_floats(params->n_heads, params->n_queries, 1);
    int rc = out && lse ? CLI_DONE : cli_out_of_memory();
    if (rc == CLI_DONE) {
        const tq_status status = want->decoded ? attend_decoded(want, params, k, v, q, out, lse)
                                               : attend_fused(want, params, k, v, q, out, lse);
        rc = status == TQ_OK ? write_results(want, params, out, lse) : cli_check(NULL, status);
    }
    free(out);
    free(lse);
    return rc;
}

/* Everything that can be told from shapes and kinds. */
static int check_request(const request *want, const side *k, const side *v) {
    const size_t positions = shape_of(k).n_rows;
    if (want->decoded && !k->is_encoded && !v->is_encoded)
        return cli_misuse("--path decoded: neither %s nor %s is encoded", k->path, v->path);
    if (want->splits > positions) {
        return cli_misuse("--splits: %zu stretches of %zu positions; give at most as many as positions",
                          want->splits, positions);
    }
    return CLI_DONE;
}

static int attend_read(const request *want, const tq_tensor *tensor, const cli_heads *q, side *k,
                       side *v) {
    tq_attention_params params;
    const cli_shape q_shape = {want->q, q->n_heads, q->n_positions, q->head_dim};
    const cli_shape k_shape = shape_of(k), v_shape = shape_of(v);
    int rc = cli_attention_params(&want->attention, &q_shape, &k_shape, &v_shape, &params);
    if (rc == CLI_DONE) rc = check_request(want, k, v);
    if (rc == CLI_DONE) {
        params.parallel = want->parallel.run ? &want->parallel : NULL;
        rc = attend_sides(want, &params, k, v, tensor->data);
    }
    return rc;
}

static int attend_files(const request *want) {
    tq_tensor tensor;
    cli_heads q;
    side k = {0}, v = {0};
    int rc = cli_read_heads(want->q, &tensor, &q);
    if (rc != CLI_DONE) return rc;
    rc = read_side(want->k, &k);
    if (rc == CLI_DONE) rc = read_side(want->v, &v);
    if (rc == CLI_DONE) rc = attend_read(want, &tensor, &q, &k, &v);
    free_side(&k);
    free_side(&v);
    tq_tensor_free(&tensor);
    return rc;
}

/* Either both files are there or none. */
static int attend_to_outputs(request *want) {
    tq_outputs *outputs = NULL;
    int rc = cli_open_output(&outputs, want->output_path, &want->output);
    if (rc == CLI_DONE && want->lse_path) rc = cli_open_output(&outputs, want->lse_path, &want->lse);
    if (rc == CLI_DONE) rc = attend_files(want);
    return cli_close_outputs(outputs, rc);
}

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {
        [Q] = {.name = "q", .value_name = "Q.npy", .help = "queries [H][n][D]"},
        [K] = {.name = "k", .value_name = "FILE", .help = "keys [G][T][D]: .npy or .safetensors"},
        [V] = {.name = "v", .value_name = "FILE", .help = "values, likewise"},
        [OUTPUT] = {.name = "output",
                    .letter = 'o',
                    .value_name = "O.npy",
                    .help = "where the result [H][n][D] goes"},
        [LSE] = {.name = "lse",
                 .value_name = "L.npy",
                 .help = "where the log-sum-exp of the scores [H][n] goes"},
        [SCALE] = {.name = "scale", .value_name = "S", .help = "of the scores (default 1/sqrt(D))"},
        [CAUSAL] = {.name = "causal", .help = "a query sees positions up to its own"},
        [WINDOW] = {.name = "window", .value_name = "W", .help = "and none older than the last W"},
        [SOFTCAP] = {.name = "softcap", .value_name = "X", .help = "scores become X tanh(score / X)"},
        [PATH] = {.name = "path",
                  .value_name = "fused|decoded",
                  .help = "on the codes (default), or on a decoded copy"},
        [THREADS] = {.name = "threads", .value_name = "N", .help = "threads to work on (default 1)"},
        [SPLITS] = {.name = "splits",
                    .value_name = "N",
                    .help = "work on N stretches of positions, then merge"},
    };
    cli_args args;
    request want = {0};
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON) rc = take_options(&want, options);
    if (rc == CLI_GO_ON) rc = attend_to_outputs(&want);
    cli_args_free(&args);
    return rc;
}

const cli_command cli_attend_command = {
    .name = "attend",
    .summary = "Attend to keys and values, plain or encoded",
    .synopsis = "--q Q.npy --k FILE --v FILE -o O.npy [OPTION...]",
    .examples = "  tqkv attend --q q.npy --k k.safetensors --v v.safetensors -o o.npy --causal\n"
                "  tqkv attend --q q.npy --k k.npy --v v.npy -o o.npy --lse l.npy\n"
                "\n"
                "Query i of n stands at position T - n + i, where T counts the positions held.\n",
    .min_operands = 0,
    .max_operands = 0,
    .run = run,
};
