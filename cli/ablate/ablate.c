/* SPDX-License-Identifier: MIT
 * tqkv ablate: tells a wrong kernel from an honest quantisation error. */
#include "ablate/ablate.h"

#include <string.h>

#include "base/message.h"
#include "tqkv/codec.h"

enum { Q, K, V, FORMAT, V_FORMAT, SCALE, CAUSAL, WINDOW, SOFTCAP, FAULT, SELF_TEST, JSON, N_OPTIONS };

typedef struct request {
    const char *q, *k, *v;
    cli_attention_request attention;
    tq_format k_format, v_format;
    cli_fault fault;
    bool as_json;
} request;

static const cli_option_spec specs[N_OPTIONS] = {
    [Q] = {"q", 0, "Q.npy", "queries [H][n][D]"},
    [K] = {"k", 0, "K.npy", "keys [G][T][D]"},
    [V] = {"v", 0, "V.npy", "values [G][T][D]"},
    [FORMAT] = {"format", 0, "FORMAT", "see 'tqkv formats'"},
    [V_FORMAT] = {"v-format", 0, "FORMAT", "of values (default: that of keys)"},
    [SCALE] = {"scale", 0, "S", "of the scores (default 1/sqrt(D))"},
    [CAUSAL] = {"causal", 0, NULL, "a query sees positions up to its own"},
    [WINDOW] = {"window", 0, "W", "and none older than the last W; through a ring"},
    [SOFTCAP] = {"softcap", 0, "X", "scores become X tanh(score / X)"},
    [FAULT] = {"fault", 0, "scale|ring|signs", "break the fused path, to see it named"},
    [SELF_TEST] = {"self-test", 0, NULL, "all faults on made-up tensors"},
    [JSON] = {"json", 0, NULL, "print one JSON object"},
};

static int take_options(request *want, const cli_option *options) {
    static const char *const faults[] = {"scale", "ring", "signs"}; /* in the order of cli_fault */
    static const int needed[] = {Q, K, V, FORMAT};
    size_t fault = 0;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!options[needed[i]].given)
            return cli_misuse("--%s %s is missing", specs[needed[i]].name, specs[needed[i]].value_name);
    want->q = options[Q].value;
    want->k = options[K].value;
    want->v = options[V].value;
    want->as_json = options[JSON].given;
    TRY(cli_take_format(&options[FORMAT], &want->k_format));
    want->v_format = want->k_format;
    TRY(cli_take_format(&options[V_FORMAT], &want->v_format));
    TRY(cli_take_word(&options[FAULT], faults, 3, &fault));
    if (options[FAULT].given) want->fault = (cli_fault)(CLI_FAULT_SCALE + fault);
    return cli_take_attention(&want->attention, &options[SCALE], &options[CAUSAL], &options[WINDOW],
                              &options[SOFTCAP]);
}

/* It makes its own tensors: whatever says something about others would do nothing. */
static int take_self_test(const cli_option *options) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (options[i].given && i != SELF_TEST && i != JSON)
            return cli_misuse("--%s does nothing with --self-test", options[i].name);
    return CLI_DONE;
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
                              .k_format = want->k_format,
                              .v_format = want->v_format,
                              .fault = want->fault};
    cli_ablation result;
    TRY(cli_attention_params(&want->attention, &shapes[0], &shapes[1], &shapes[2], &input.params));
    if (want->fault == CLI_FAULT_RING && k->n_positions == 1)
        return cli_misuse("--fault ring: %s holds one position, which has no order", want->k);
    int rc = cli_ablate(&input, &result);
    if (rc == CLI_DONE) rc = cli_ablate_report(&input, &result, want->as_json);
    cli_ablation_free(&result);
    return rc;
}

static int ablate_files(const request *want) {
    const char *const paths[3] = {want->q, want->k, want->v};
    tq_tensor tensors[3] = {{0}};
    cli_heads heads[3];
    int rc = CLI_DONE;
    for (size_t i = 0; rc == CLI_DONE && i < 3; i++)
        rc = cli_read_heads(paths[i], &tensors[i], &heads[i]);
    if (rc == CLI_DONE) rc = ablate_heads(want, heads);
    for (size_t i = 0; i < 3; i++)
        tq_tensor_free(&tensors[i]);
    return rc;
}

static int run(const cli_args *args) {
    request want = {0};
    if (args->options[SELF_TEST].given) {
        TRY(take_self_test(args->options));
        return cli_ablate_self_test(args->options[JSON].given);
    }
    TRY(take_options(&want, args->options));
    return ablate_files(&want);
}

const cli_command cli_ablate_command = {
    .name = "ablate",
    .summary = "Tell a wrong kernel from an honest quantisation error",
    .synopsis = "--q Q.npy --k K.npy --v V.npy --format FORMAT [OPTION...]",
    .examples = "  tqkv ablate --q q.npy --k k.npy --v v.npy --format tq4 --causal\n"
                "  tqkv ablate --q q.npy --k k.npy --v v.npy --format tq4 --fault scale\n"
                "  tqkv ablate --self-test\n"
                "\n"
                "Runs the same attention on the originals (dense), a decoded copy (decoded), the\n"
                "codes (fused) and copies snapped to 5-, 6- and 8-bit centroids, and tells:\n"
                "worst              largest error of a row against float64 on what the path's own\n"
                "                   cache holds, over the norm of the row's absolute terms\n"
                "decoded, original  error against float64 on the decoded cache, on the originals\n"
                "cos, top-1, KL     outputs, heaviest key and softmax against the originals'\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
