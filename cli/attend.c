/* SPDX-License-Identifier: MIT
 * tqkv attend: queries over cached keys and values, plain or encoded, fused or by way of a decoded copy.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/attention.h"
#include "base/cache.h"
#include "base/encoding.h"
#include "base/heads.h"
#include "base/input.h"
#include "base/message.h"
#include "base/outputs.h"
#include "base/threads.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum {
    Q,
    K,
    V,
    OUTPUT,
    LSE,
    SCALE,
    CAUSAL,
    WINDOW,
    SOFTCAP,
    PATH,
    THREADS,
    SPLITS,
    DEVICE,
    ACCURACY,
    FORMAT,
    ARITHMETIC,
    N_OPTIONS
};

typedef struct request {
    const char *q, *k, *v;
    tq_output *output, *lse; /* lse: NULL if not wanted */
    cli_attention_request attention;
    bool decoded;         /* by way of a decoded copy */
    size_t splits;        /* 0: in one call */
    tq_parallel parallel; /* its run() is NULL: one thread */
    int device_number;
    cli_device *device; /* NULL: the CPU */
    bool exact;         /* of a device */
    bool in_cache;      /* plain tensors, in a cache of that way */
    cli_way way;
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

/* A device has one way to attend, and the CPU one accuracy. */
static int take_device(request *want, const cli_option *options) {
    static const int cpus[] = {THREADS, SPLITS, ARITHMETIC};
    TRY(cli_take_device(&options[DEVICE], &want->device_number));
    TRY(cli_take_accuracy(&options[ACCURACY], want->device_number, &want->exact));
    if (want->device_number == CLI_CPU) return CLI_DONE;
    for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++)
        if (options[cpus[i]].given)
            return cli_misuse("--%s does nothing with --device cuda", options[cpus[i]].name);
    if (want->decoded)
        return cli_misuse("--path decoded is the CPU's: with --device cuda attention is on the codes");
    return CLI_DONE;
}

/* What is said of files of codes, or of how to go over them. */
static int take_cache(request *want, const cli_option *options) {
    static const int others[] = {PATH, SPLITS, DEVICE};
    want->in_cache = options[FORMAT].given;
    if (!want->in_cache) return CLI_DONE;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (options[others[i]].given)
            return cli_misuse("--%s does nothing with --format: the cache is attended to as it is",
                              options[others[i]].name);
    return cli_take_way(options[FORMAT].value, &want->way);
}

static int take_options(request *want, const cli_option *options) {
    static const char *const paths[] = {"fused", "decoded"};
    size_t path = 0;
    want->q = options[Q].value;
    want->k = options[K].value;
    want->v = options[V].value;
    TRY(cli_take_attention(&want->attention, &options[SCALE], &options[CAUSAL], &options[WINDOW],
                           &options[SOFTCAP]));
    TRY(cli_take_arithmetic(&options[ARITHMETIC], &want->attention.arithmetic));
    TRY(cli_take_word(&options[PATH], paths, 2, &path));
    want->decoded = path == 1;
    if (want->decoded && options[ARITHMETIC].given)
        return cli_misuse("--arithmetic does nothing with --path decoded: no products with codes there");
    TRY(cli_take_count(&options[SPLITS], 0, SIZE_MAX, &want->splits));
    if (options[SPLITS].given && want->splits == 0)
        return cli_misuse("--splits: 0 stretches hold nothing; give 1 or more");
    TRY(take_cache(want, options));
    TRY(take_device(want, options));
    return cli_take_threads(&options[THREADS], 0, &want->parallel);
}

/* The kind is told by the first bytes, not by the name. */
static int read_side(const char *path, side *s) {
    cli_input input;
    s->path = path;
    TRY(cli_input_read(path, &input));
    s->is_encoded =
        input.kind == CLI_INPUT_SAFETENSORS && !input.tensor && !cli_input_is_plain_safetensors(&input);
    const int rc = s->is_encoded
                       ? cli_check(NULL, tq_encoded_parse(path, input.bytes, input.size, &s->encoded))
                       : cli_parse_heads(&input, &s->tensor, &s->heads);
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

/* Of the sequence: what a key's stretch is counted from. Nobody else needs it, so 0 will do for others.
 */
static size_t first_position(const side *s) {
    return s->is_encoded ? s->encoded.first_position : 0;
}

/* The rotated copy that --path decoded attends to, its centre added. */
static tq_status decode_side(side *s) {
    const tq_encoded *e = &s->encoded;
    s->decoded = cli_new_floats(e->n_kv_heads, e->n_positions, e->codec.head_dim);
    if (!s->decoded) return TQ_E_NO_MEMORY;
    return cli_decode_all(NULL, e, TQ_ROTATED, s->decoded);
}

static tq_status make_view(const side *s, tq_view *view) {
    const cli_shape shape = shape_of(s);
    if (!s->is_encoded || s->decoded)
        return tq_view_dense(view, TQ_F32, (uint32_t)shape.head_dim, shape.n_heads, shape.n_rows,
                             s->decoded ? s->decoded : s->heads.data,
                             shape.n_heads * shape.n_rows * shape.head_dim);
    *view = tq_encoded_view(&s->encoded);
    return TQ_OK;
}

static tq_status make_segment(const tq_attention_params *params, const side *k, const side *v,
                              tq_segment *segment) {
    *segment = (tq_segment){.length = shape_of(k).n_rows, .first_position = first_position(k)};
    TRY_STATUS(make_view(k, &segment->k));
    TRY_STATUS(make_view(v, &segment->v));
    segment->k.domain = segment->v.domain = params->domain;
    segment->k.centre = segment->k.store == TQ_STORE_CODES ? k->encoded.centre : NULL;
    return TQ_OK;
}

static tq_status compute(const request *want, const tq_attention_params *params,
                         const tq_segment *segment, const float *q, float *out, float *lse) {
    if (want->splits > 0) return cli_attend_split(params, segment, want->splits, q, out, lse);
    return cli_attend(params, segment, q, out, lse);
}

/* Adds a centre [G][D] times the weight that its positions have in each row; lse is theirs. */
static void add_centre(const tq_attention_params *params, const uint16_t *centre, const float *lse,
                       const float *whole_lse, float *out) {
    const size_t rows = (size_t)params->n_heads * params->n_queries, dim = params->head_dim;
    for (size_t r = 0; r < rows; r++) {
        const size_t g = r / params->n_queries / (params->n_heads / params->n_kv_heads);
        const float weight = lse == whole_lse ? 1.0f : expf(lse[r] - whole_lse[r]);
        for (size_t d = 0; d < dim; d++)
            out[r * dim + d] += weight * cli_half(centre[g * dim + d]);
    }
}

/* Encoded values lack their centres. What weight a stretch of them has in a row, its log-sum-exp tells.
 */
static tq_status add_centres(const tq_attention_params *params, const tq_segment *segment,
                             const tq_encoded *v, const float *q, const float *lse, float *out) {
    const size_t rows = (size_t)params->n_heads * params->n_queries, dim = params->head_dim;
    float *part_out = cli_new_floats(rows, dim, 1), *part_lse = cli_new_floats(rows, 1, 1);
    tq_status status = part_out && part_lse ? TQ_OK : TQ_E_NO_MEMORY;
    for (size_t done = 0, n; status == TQ_OK && done < v->n_positions; done += n) {
        const size_t at = v->first_position + done, left = v->n_positions - done;
        const size_t to_end = v->centre_stretch == 0 ? left : v->centre_stretch - at % v->centre_stretch;
        const size_t number = v->centre_stretch == 0 ? 0 : at / v->centre_stretch % v->n_centres;
        n = to_end < left ? to_end : left;
        const tq_segment part = cli_stretch(segment, done, n);
        const bool whole = n == v->n_positions;
        if (!whole) status = cli_attend(params, &part, q, part_out, part_lse);
        if (status == TQ_OK)
            add_centre(params, v->centre + number * v->n_kv_heads * dim, whole ? lse : part_lse, lse,
                       out);
    }
    free(part_out);
    free(part_lse);
    return status;
}

static tq_status attend_fused(const request *want, tq_attention_params *params, side *k, side *v,
                              float *q, float *out, float *lse) {
    tq_segment segment;
    TRY_STATUS(make_segment(params, k, v, &segment));
    TRY_STATUS(compute(want, params, &segment, q, out, lse));
    if (!v->is_encoded || !v->encoded.centre) return TQ_OK;
    return add_centres(params, &segment, &v->encoded, q, lse, out);
}

/* The number of the stretch of a position held; 0 without stretches. */
static size_t stretch_of(const tq_encoded *e, size_t position) {
    return e->centre_stretch == 0 ? 0 : (e->first_position + position) / e->centre_stretch;
}

static tq_status attend_device(const request *want, tq_attention_params *params, side *k, side *v,
                               float *q, float *out, float *lse) {
    const tq_encoded *e = &v->encoded;
    const cli_device_cache cache = {.k = &k->encoded, .v = e};
    TRY_STATUS(cli_device_attend(want->device, params, want->exact, &cache, q, out, lse));
    if (!e->centre) return TQ_OK;
    const size_t number = stretch_of(e, 0) % e->n_centres;
    add_centre(params, e->centre + number * e->n_kv_heads * e->codec.head_dim, lse, lse, out);
    return TQ_OK;
}

/* Queries are rotated if keys were, outputs rotated back if values were. */
static tq_status attend_decoded(const request *want, tq_attention_params *params, side *k, side *v,
                                float *q, float *out, float *lse) {
    const size_t rows = (size_t)params->n_heads * params->n_queries;
    tq_segment segment;
    if (k->is_encoded) {
        TRY_STATUS(decode_side(k));
        TRY_STATUS(tq_rotate(&k->encoded.codec, TQ_ROTATED, rows, q, q));
    }
    if (v->is_encoded) TRY_STATUS(decode_side(v));
    params->domain = TQ_ROTATED;
    TRY_STATUS(make_segment(params, k, v, &segment));
    TRY_STATUS(compute(want, params, &segment, q, out, lse));
    return v->is_encoded ? tq_rotate(&v->encoded.codec, TQ_ORIGINAL, rows, out, out) : TQ_OK;
}

/* A cache takes the positions; each causal query attends when its own is the last one there. */
static tq_status attend_cache(const request *want, tq_attention_params *params, side *k, side *v,
                              float *q, float *out, float *lse) {
    const size_t window = params->bidirectional ? 0 : (size_t)params->window;
    tq_cache_config config = cli_fit_config(&want->way.config, &k->heads, window);
    cli_cache cache;
    config.parallel = params->parallel;
    cli_note_dense(&want->way, &config, k->heads.n_positions);
    tq_status status = cli_cache_create(&cache, &config, &k->heads, &v->heads);
    if (status == TQ_OK) status = cli_cache_replay(&cache, params, q, out, lse);
    cli_cache_free(&cache);
    return status;
}

/* What the results are good for depends on it. */
static void tell_device(const request *want) {
    char text[320];
    cli_device_text(want->device, text, sizeof text);
    cli_print_line("# %s: accuracy %s", text, cli_accuracy_name(want->exact));
}

typedef tq_status attend_by(const request *want, tq_attention_params *params, side *k, side *v, float *q,
                            float *out, float *lse);

static int attend_into(const request *want, tq_attention_params *params, side *k, side *v, float *q,
                       float *out, float *lse) {
    const size_t shape[3] = {params->n_heads, params->n_queries, params->head_dim};
    attend_by *const by = want->in_cache  ? attend_cache
                          : want->device  ? attend_device
                          : want->decoded ? attend_decoded
                                          : attend_fused;
    TRY(cli_check(NULL, by(want, params, k, v, q, out, lse)));
    if (want->device) tell_device(want);
    TRY(cli_check(NULL, tq_output_npy(want->output, out, 3, shape)));
    return want->lse ? cli_check(NULL, tq_output_npy(want->lse, lse, 2, shape)) : CLI_DONE;
}

static int attend_sides(const request *want, tq_attention_params *params, side *k, side *v, float *q) {
    float *out = cli_new_floats(params->n_heads, params->n_queries, params->head_dim);
    float *lse = cli_new_floats(params->n_heads, params->n_queries, 1);
    const int rc = out && lse ? attend_into(want, params, k, v, q, out, lse) : cli_out_of_memory();
    free(out);
    free(lse);
    return rc;
}

/* A device reads codes, and adds up values that lack one centre. */
static int check_for_device(const side *k, const side *v) {
    const tq_encoded *e = &v->encoded;
    if (!k->is_encoded || !v->is_encoded)
        return cli_misuse("--device cuda: %s is not encoded; a device attends to codes alone",
                          k->is_encoded ? v->path : k->path);
    if (stretch_of(e, 0) != stretch_of(e, e->n_positions - 1))
        return cli_misuse(
            "--device cuda: %s: values with centres of stretches; a device takes one centre", v->path);
    return CLI_DONE;
}

/* A cache encodes what it is given, and keeps some of it in float16. */
static int check_for_cache(const cli_way *way, const side *s) {
    const float limit = cli_way_ages(&way->config) ? TQ_MAX_NORM : TQ_MAX_ABS;
    if (s->is_encoded)
        return cli_misuse("--format: %s is encoded already; give plain tensors, or leave --format away",
                          s->path);
    return cli_check_values(s->path, &s->tensor, limit);
}

/* Everything that can be told from shapes and kinds. */
static int check_request(const request *want, const side *k, const side *v) {
    const size_t positions = shape_of(k).n_rows;
    if (want->device) TRY(check_for_device(k, v));
    if (want->in_cache) {
        TRY(check_for_cache(&want->way, k));
        TRY(check_for_cache(&want->way, v));
    }
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
    TRY(read_side(want->k, k));
    TRY(read_side(want->v, v));
    const cli_shape k_shape = shape_of(k), v_shape = shape_of(v);
    TRY(cli_attention_params(&want->attention, &q_shape, &k_shape, &v_shape, &params));
    TRY(check_request(want, k, v));
    params.query_end += first_position(k);
    params.parallel = want->parallel.run ? &want->parallel : NULL;
    return attend_sides(want, &params, k, v, tensor->data);
}

static int attend_files(const request *want) {
    tq_tensor tensor;
    cli_heads q;
    side k = {0}, v = {0};
    TRY(cli_read_heads(want->q, &tensor, &q));
    const int rc = attend_read(want, &tensor, &q, &k, &v);
    free_side(&k);
    free_side(&v);
    tq_tensor_free(&tensor);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [Q] = {"q", 0, "Q.npy", "queries [H][n][D]; or FILE.safetensors:NAME"},
    [K] = {"k", 0, "FILE", "keys [G][T][D]: .npy, FILE:NAME, or encoded ones"},
    [V] = {"v", 0, "FILE", "values, likewise"},
    [OUTPUT] = {"output", 'o', "O.npy", "where the result [H][n][D] goes"},
    [LSE] = {"lse", 0, "L.npy", "where the log-sum-exp of the scores [H][n] goes"},
    [SCALE] = {"scale", 0, "S", "of the scores (default 1/sqrt(D))"},
    [CAUSAL] = {"causal", 0, NULL, "a query sees positions up to its own"},
    [WINDOW] = {"window", 0, "W", "and none older than the last W"},
    [SOFTCAP] = {"softcap", 0, "X", "scores become X tanh(score / X)"},
    [PATH] = {"path", 0, "fused|decoded", "on the codes (default), or on a decoded copy"},
    [THREADS] = {"threads", 0, "N", "threads to work on (default: all processors)"},
    [SPLITS] = {"splits", 0, "N", "work on N stretches of positions, then merge"},
    [DEVICE] = CLI_DEVICE_SPEC,
    [ACCURACY] = CLI_ACCURACY_SPEC,
    [ARITHMETIC] = {"arithmetic", 0, "float|integer|default",
                    "of products with v2 codes (default: the faster)"},
    [FORMAT] = {"format", 0, "NAME", "put plain tensors into a cache, such as default"},
};

/* Either both files are there or none. */
static int run(const cli_args *args) {
    const cli_option *options = args->options;
    request want = {0};
    tq_outputs *outputs = NULL;
    TRY(take_options(&want, options));
    int rc = cli_open_output(&outputs, options[OUTPUT].value, &want.output);
    if (rc == CLI_DONE && options[LSE].given)
        rc = cli_open_output(&outputs, options[LSE].value, &want.lse);
    if (rc == CLI_DONE) rc = cli_open_device(want.device_number, &want.device);
    if (rc == CLI_DONE) rc = attend_files(&want);
    cli_close_device(want.device);
    return cli_close_outputs(outputs, rc);
}

const cli_command cli_attend_command = {
    .name = "attend",
    .summary = "Attend to keys and values, plain or encoded",
    .synopsis = "--q Q.npy --k FILE --v FILE -o O.npy [OPTION...]",
    .examples = "  tqkv attend --q q.npy --k k.safetensors --v v.safetensors -o o.npy --causal\n"
                "  tqkv attend --q q.npy --k k.npy --v v.npy -o o.npy --lse l.npy\n"
                "  tqkv attend --q q.npy --k k.npy --v v.npy -o o.npy --causal --format default\n"
                "  tqkv attend --q q.npy --k k.safetensors --v v.safetensors -o o.npy \\\n"
                "      --device cuda --accuracy exact\n"
                "\n"
                "Query i of n stands at position T - n + i, where T counts the positions held.\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << Q | 1u << K | 1u << V | 1u << OUTPUT,
    .run = run,
};
