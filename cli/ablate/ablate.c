/* SPDX-License-Identifier: MIT
 * tqkv ablate: tells a wrong kernel from an honest quantisation error. */
#include "ablate/ablate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "base/threads.h"
#include "tqkv/codec.h"

enum {
    Q,
    K,
    V,
    FORMAT,
    FORMATS,
    V_FORMAT,
    SCALE,
    CAUSAL,
    WINDOW,
    SOFTCAP,
    FAULT,
    THREADS,
    DEVICE,
    ACCURACY,
    SELF_TEST,
    JSON,
    N_OPTIONS
};

/* If none is named. */
static const char usual_formats[] = "default,tq6/tq4,tq8,tq6,tq4";

typedef struct request {
    const char *q, *k, *v;
    cli_attention_request attention;
    cli_way ways[CLI_MAX_WAYS];
    size_t n_ways;
    cli_fault fault;
    tq_parallel threads;
    int device_number;
    cli_device *device; /* NULL: the CPU */
    bool exact;         /* of a device */
    bool self_test, as_json;
} request;

static const cli_option_spec specs[N_OPTIONS] = {
    [Q] = {"q", 0, "Q.npy", "queries [H][n][D]; or FILE.safetensors:NAME"},
    [K] = {"k", 0, "K.npy", "keys [G][T][D], likewise"},
    [V] = {"v", 0, "V.npy", "values [G][T][D], likewise"},
    [FORMAT] = {"format", 0, "NAME", "such as tq4, tq6/tq4+centre+recent+sinks, default"},
    [FORMATS] = {"formats", 0, "LIST", "names with commas between, side by side"},
    [V_FORMAT] = {"v-format", 0, "FORMAT", "of values (default: that of keys)"},
    [SCALE] = {"scale", 0, "S", "of the scores (default 1/sqrt(D))"},
    [CAUSAL] = {"causal", 0, NULL, "a query sees positions up to its own"},
    [WINDOW] = {"window", 0, "W", "and none older than the last W; through a ring"},
    [SOFTCAP] = {"softcap", 0, "X", "scores become X tanh(score / X)"},
    [FAULT] = {"fault", 0, "scale|ring|signs|centre", "break the fused path, to see it named"},
    [THREADS] = {"threads", 0, "N", "threads to work on (default: all processors)"},
    [DEVICE] = CLI_DEVICE_SPEC,
    [ACCURACY] = CLI_ACCURACY_SPEC,
    [SELF_TEST] = {"self-test", 0, NULL, "all faults on made-up tensors"},
    [JSON] = {"json", 0, NULL, "print one JSON object"},
};

/* --format K --v-format V is K/V. */
static int join_formats(const cli_option *options, char name[CLI_KV_NAME_SIZE]) {
    const char *k = options[FORMAT].value, *v = options[V_FORMAT].value;
    tq_format format;
    if (!options[FORMAT].given) return cli_misuse("--v-format does nothing without --format");
    if (tq_format_from_name(v, &format) != TQ_OK)
        return cli_misuse("--v-format: '%s' is none; 'tqkv formats' lists them", v);
    if (strpbrk(k, "/+,") || tq_format_from_name(k, &format) != TQ_OK)
        return cli_misuse("--v-format goes with one plain format; write --format KFORMAT/%s...", v);
    snprintf(name, CLI_KV_NAME_SIZE, "%s/%s", k, v);
    return CLI_DONE;
}

static int take_ways(request *want, const cli_option *options) {
    const char *list = options[FORMATS].given ? options[FORMATS].value : options[FORMAT].value;
    char joined[CLI_KV_NAME_SIZE];
    if (options[FORMAT].given && options[FORMATS].given)
        return cli_misuse("--format and --formats are the same: give one of them");
    if (options[V_FORMAT].given) TRY(join_formats(options, joined));
    return cli_take_ways(options[V_FORMAT].given ? joined
                         : list                  ? list
                                                 : usual_formats,
                         want->ways, &want->n_ways);
}

static int take_fault(request *want, const cli_option *option) {
    static const char *const faults[] = {"scale", "ring", "signs",
                                         "centre"}; /* in the order of cli_fault */
    const tq_cache_config *c = &want->ways[0].config;
    size_t fault = 0;
    if (!option->given) return CLI_DONE;
    TRY(cli_take_word(option, faults, 4, &fault));
    want->fault = (cli_fault)(CLI_FAULT_SCALE + fault);
    if (want->n_ways != 1) return cli_misuse("--fault: breaks one format: name it by --format");
    if (want->fault == CLI_FAULT_CENTRE && c->learn_centre == 0)
        return cli_misuse("--fault centre: '%s' has no centre; add +centre", want->ways[0].name);
    if (want->fault != CLI_FAULT_CENTRE && cli_way_ages(c))
        return cli_misuse("--fault %s: for formats without +centre, +recent and +sinks, not '%s'",
                          option->value, want->ways[0].name);
    return CLI_DONE;
}

/* It makes its own tensors: whatever says something about others would do nothing. */
static int take_self_test(const cli_option *options) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (options[i].given && i != SELF_TEST && i != JSON && i != DEVICE && i != ACCURACY)
            return cli_misuse("--%s does nothing with --self-test", options[i].name);
    return CLI_DONE;
}

static int take_tensors(request *want, const cli_option *options) {
    static const int needed[] = {Q, K, V};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!options[needed[i]].given)
            return cli_misuse("--%s %s is missing", specs[needed[i]].name, specs[needed[i]].value_name);
    want->q = options[Q].value;
    want->k = options[K].value;
    want->v = options[V].value;
    TRY(take_ways(want, options));
    TRY(take_fault(want, &options[FAULT]));
    TRY(cli_take_attention(&want->attention, &options[SCALE], &options[CAUSAL], &options[WINDOW],
                           &options[SOFTCAP]));
    return cli_take_threads(&options[THREADS], 0, &want->threads);
}

static int take_options(request *want, const cli_option *options) {
    want->as_json = options[JSON].given;
    want->self_test = options[SELF_TEST].given;
    TRY(want->self_test ? take_self_test(options) : take_tensors(want, options));
    TRY(cli_take_device(&options[DEVICE], &want->device_number));
    return cli_take_accuracy(&options[ACCURACY], want->device_number, &want->exact);
}

static int ablate_ways(const request *want, cli_ablate_input *input, cli_ablation *results) {
    int rc = CLI_DONE;
    input->brief = want->n_ways > 1;
    for (size_t i = 0; rc == CLI_DONE && i < want->n_ways; i++) {
        input->way = &want->ways[i];
        rc = cli_ablate(input, &results[i]);
    }
    if (rc == CLI_DONE)
        rc = input->brief ? cli_ablate_report_all(input, want->ways, results, want->n_ways, want->as_json)
                          : cli_ablate_report(input, results, want->as_json);
    return rc;
}

static int ablate_heads(const request *want, const cli_heads heads[3]) {
    const cli_heads *q = &heads[0], *k = &heads[1], *v = &heads[2];
    const cli_shape shapes[] = {{want->q, q->n_heads, q->n_positions, q->head_dim},
                                {want->k, k->n_heads, k->n_positions, k->head_dim},
                                {want->v, v->n_heads, v->n_positions, v->head_dim}};
    cli_ablate_input input = {.k_path = want->k,
                              .v_path = want->v,
                              .q = q->data,
                              .k = *k,
                              .v = *v,
                              .threads = want->threads,
                              .device = want->device,
                              .exact = want->exact,
                              .fault = want->fault};
    cli_ablation *results = calloc(want->n_ways, sizeof *results);
    if (!results) return cli_out_of_memory();
    int rc = cli_attention_params(&want->attention, &shapes[0], &shapes[1], &shapes[2], &input.params);
    input.params.arithmetic = TQ_ARITHMETIC_FLOAT; /* a wrong kernel shows by its bound */
    input.params.parallel = want->threads.run ? &want->threads : NULL;
    if (rc == CLI_DONE && want->fault == CLI_FAULT_RING && k->n_positions == 1)
        rc = cli_misuse("--fault ring: %s holds one position, which has no order", want->k);
    if (rc == CLI_DONE) rc = ablate_ways(want, &input, results);
    for (size_t i = 0; i < want->n_ways; i++)
        cli_ablation_free(&results[i]);
    free(results);
    return rc;
}

/* Positions that stay in float16 must fit it. */
static int check_range(const request *want, const tq_tensor *k, const tq_tensor *v) {
    for (size_t i = 0; i < want->n_ways; i++) {
        if (!cli_way_ages(&want->ways[i].config)) continue;
        TRY(cli_check_values(want->k, k, TQ_MAX_NORM));
        return cli_check_values(want->v, v, TQ_MAX_NORM);
    }
    return CLI_DONE;
}

static int ablate_files(const request *want) {
    const char *const paths[3] = {want->q, want->k, want->v};
    tq_tensor tensors[3] = {{0}};
    cli_heads heads[3];
    int rc = CLI_DONE;
    for (size_t i = 0; rc == CLI_DONE && i < 3; i++)
        rc = cli_read_heads(paths[i], &tensors[i], &heads[i]);
    if (rc == CLI_DONE) rc = check_range(want, &tensors[1], &tensors[2]);
    if (rc == CLI_DONE) rc = ablate_heads(want, heads);
    for (size_t i = 0; i < 3; i++)
        tq_tensor_free(&tensors[i]);
    return rc;
}

static int run(const cli_args *args) {
    request want = {0};
    TRY(take_options(&want, args->options));
    int rc = cli_open_device(want.device_number, &want.device);
    if (rc == CLI_DONE)
        rc = want.self_test ? cli_ablate_self_test(want.device, want.exact, want.as_json)
                            : ablate_files(&want);
    cli_close_device(want.device);
    return rc;
}

const cli_command cli_ablate_command = {
    .name = "ablate",
    .summary = "Tell a wrong kernel from an honest quantisation error",
    .synopsis = "--q Q.npy --k K.npy --v V.npy [OPTION...]",
    .examples = "  tqkv ablate --q q.npy --k k.npy --v v.npy --causal\n"
                "  tqkv ablate --q q.npy --k k.npy --v v.npy --format default --causal\n"
                "  tqkv ablate --q q.npy --k k.npy --v v.npy --format tq4 --fault scale\n"
                "  tqkv ablate --q q.npy --k k.npy --v v.npy --causal --device cuda\n"
                "  tqkv ablate --self-test\n"
                "\n"
                "Runs the same attention on the originals (dense), a decoded copy (decoded), the\n"
                "codes (fused) and, for formats without +centre, +recent and +sinks, copies\n"
                "snapped to 5-, 6- and 8-bit centroids, and tells:\n"
                "worst              largest error of a row against float64 on what the path's own\n"
                "                   cache holds, over the norm of the row's absolute terms\n"
                "decoded, original  error against float64 on the decoded cache, on the originals\n"
                "cos, top-1, KL     outputs, heaviest key and softmax against the originals'\n"
                "With --device the decoded copy is what the device decodes, and fused is its\n"
                "attention; float64, and all other paths, are the CPU's.\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
