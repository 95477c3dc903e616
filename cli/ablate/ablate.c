/* SPDX-License-Identifier: MIT
 * tqkv ablate: tells a wrong kernel from an honest quantisation error. */
#include "ablate/ablate.h"

#include <string.h>

#include "ablate/report.h"
#include "base/command.h"
#include "base/message.h"
#include "base/options.h"
#include "tqkv/codec.h"

enum { Q, K, V, FORMAT, V_FORMAT, SCALE, CAUSAL, WINDOW, SOFTCAP, FAULT, SELF_TEST, JSON, N_OPTIONS };

typedef struct request {
    const char *q, *k, *v;
    cli_attention_request attention;
    tq_format k_format, v_format;
    cli_fault fault;
    bool as_json;
} request;

static int take_format(const cli_option *option, tq_format *format) {
    if (option->given && tq_format_from_name(option->value, format) != TQ_OK)
        return cli_misuse("--%s: '%s' is none; 'tqkv formats' lists them", option->name, option->value);
    return CLI_GO_ON;
}

static int take_fault(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    for (cli_fault fault = CLI_FAULT_SCALE; fault <= CLI_FAULT_SIGNS; fault++) {
        if (strcmp(option->value, cli_fault_name(fault)) == 0) {
            want->fault = fault;
            return CLI_GO_ON;
        }
    }
    return cli_misuse("--fault: '%s' is none; there are scale, ring and signs", option->value);
}

static int take_options(request *want, const cli_option *options) {
    static const int needed[] = {Q, K, V, FORMAT};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const cli_option *option = &options[needed[i]];
        if (!option->given) return cli_misuse("--%s %s is missing", option->name, option->value_name);
    }
    want->q = options[Q].value;
    want->k = options[K].value;
    want->v = options[V].value;
    want->as_json = options[JSON].given;
    int rc = take_format(&options[FORMAT], &want->k_format);
    want->v_format = want->k_format;
    if (rc == CLI_GO_ON) rc = take_format(&options[V_FORMAT], &want->v_format);
    if (rc == CLI_GO_ON) rc = take_fault(want, &options[FAULT]);
    if (rc == CLI_GO_ON) {
        rc = cli_take_attention(&want->attention, &options[SCALE], &options[CAUSAL], &options[WINDOW],
                                &options[SOFTCAP]);
    }
    return rc;
}

/* It makes its own tensors: whatever says something about others would do nothing. */
static int take_self_test(const cli_option *options) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (options[i].given && i != SELF_TEST && i != JSON)
            return cli_misuse("--%s does nothing with --self-test", options[i].name);
    return CLI_GO_ON;
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
    int rc = cli_attention_params(&want->attention, &shapes[0], &shapes[1], &shapes[2], &input.params);
    if (rc != CLI_DONE) return rc;
    if (want->fault == CLI_FAULT_RING && k->n_positions == 1)
        return cli_misuse("--fault ring: %s holds one position, which has no order", want->k);
    rc = cli_ablate(&input, &result);
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

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {
        [Q] = {.name = "q", .value_name = "Q.npy", .help = "queries [H][n][D]"},
        [K] = {.name = "k", .value_name = "K.npy", .help = "keys [G][T][D]"},
        [V] = {.name = "v", .value_name = "V.npy", .help = "values [G][T][D]"},
        [FORMAT] = {.name = "format", .value_name = "FORMAT", .help = "see 'tqkv formats'"},
        [V_FORMAT] = {.name = "v-format",
                      .value_name = "FORMAT",
                      .help = "of values (default: that of keys)"},
        [SCALE] = {.name = "scale", .value_name = "S", .help = "of the scores (default 1/sqrt(D))"},
        [CAUSAL] = {.name = "causal", .help = "a query sees positions up to its own"},
        [WINDOW] = {.name = "window",
                    .value_name = "W",
                    .help = "and none older than the last W; through a ring"},
        [SOFTCAP] = {.name = "softcap", .value_name = "X", .help = "scores become X tanh(score / X)"},
        [FAULT] = {.name = "fault",
                   .value_name = "scale|ring|signs",
                   .help = "break the fused path, to see it named"},
        [SELF_TEST] = {.name = "self-test", .help = "all faults on made-up tensors"},
        [JSON] = {.name = "json", .help = "print one JSON object"},
    };
    cli_args args;
    request want = {0};
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON && options[SELF_TEST].given) {
        rc = take_self_test(options);
        rc = rc == CLI_GO_ON ? cli_ablate_self_test(options[JSON].given) : rc;
    } else if (rc == CLI_GO_ON) {
        rc = take_options(&want, options);
        rc = rc == CLI_GO_ON ? ablate_files(&want) : rc;
    }
    cli_args_free(&args);
    return rc;
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
    .min_operands = 0,
    .max_operands = 0,
    .run = run,
};
