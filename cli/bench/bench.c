/* SPDX-License-Identifier: MIT
 * tqkv bench: how fast codec and attention are, and how far from what the machine allows. */
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/message.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/threads.h"
#include "bench/attend.h"
#include "bench/list.h"
#include "bench/report.h"

enum {
    OP,
    FORMAT,
    DIM,
    SET,
    THREADS,
    ISA,
    DOMAIN,
    SAMPLES,
    V_FORMAT,
    HEADS,
    KV_HEADS,
    POSITIONS,
    QUERIES,
    JSON,
    N_OPTIONS
};
enum { DEFAULT_SAMPLES = 31, MAX_SAMPLES = 100000, MIN_DIM = 32, MAX_DIM = 1024 };
enum { MAX_HEADS = 1024, MAX_POSITIONS = 1 << 24, MAX_QUERIES = 4096 };

typedef struct request {
    cli_bench_filter filter; /* points into this */
    cli_bench_op op;
    cli_attend_filter attend; /* likewise */
    tq_format format, v_format;
    measure_set set;
    tq_parallel parallel;
    tq_isa isa;
    size_t samples;
    bool as_json;
} request;

static int take_op(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    for (cli_bench_op op = CLI_BENCH_ENCODE; op < CLI_N_BENCH_OPS; op++) {
        if (strcmp(option->value, cli_bench_op_name(op)) == 0) {
            want->op = op;
            want->filter.op = &want->op;
            return CLI_GO_ON;
        }
    }
    return cli_misuse("--op: '%s' is none; there are encode, decode, rotate, requantize and attend",
                      option->value);
}

static int take_format(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    if (tq_format_from_name(option->value, &want->format) != TQ_OK)
        return cli_misuse("--format: '%s' is none; 'tqkv formats' lists them", option->value);
    want->filter.format = &want->format;
    return CLI_GO_ON;
}

/* Of --op attend alone; keys have --format. */
static int take_v_format(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    if (!want->filter.format)
        return cli_misuse("--v-format wants --format beside it, the format of keys");
    if (tq_format_from_name(option->value, &want->v_format) != TQ_OK)
        return cli_misuse("--v-format: '%s' is none; 'tqkv formats' lists them", option->value);
    want->attend.v = &want->v_format;
    return CLI_GO_ON;
}

static int take_set(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    want->set = strcmp(option->value, "ram") == 0 ? MEASURE_SET_RAM : MEASURE_SET_L2;
    if (strcmp(option->value, measure_set_name(want->set)) != 0)
        return cli_misuse("--set: '%s' is none; there are l2 and ram", option->value);
    want->filter.set = &want->set;
    return CLI_GO_ON;
}

static int take_domain(request *want, const cli_option *option) {
    if (!option->given) return CLI_GO_ON;
    want->filter.domain = strcmp(option->value, "original") == 0 ? TQ_ORIGINAL : TQ_ROTATED;
    if (want->filter.domain == TQ_ROTATED && strcmp(option->value, "rotated") != 0)
        return cli_misuse("--domain: '%s' is none; there are rotated and original", option->value);
    if (want->filter.op && want->op != CLI_BENCH_DECODE)
        return cli_misuse("--domain belongs to --op decode");
    return CLI_GO_ON;
}

/* A number from least to most. */
static int take_number(const cli_option *option, size_t least, size_t most, size_t *value) {
    if (!option->given) return CLI_GO_ON;
    const int rc = cli_parse_count(option, value);
    if (rc == CLI_GO_ON && (*value < least || *value > most))
        return cli_misuse("--%s: %zu is not from %zu to %zu", option->name, *value, least, most);
    return rc;
}

static int take_threads(request *want, const cli_option *option) {
    const int rc = take_number(option, 1, CLI_MAX_THREADS, &want->filter.threads);
    if (rc != CLI_GO_ON || want->filter.threads == 1) return rc;
    if (want->filter.op && (want->op == CLI_BENCH_ROTATE || want->op == CLI_BENCH_REQUANTIZE))
        return cli_misuse("--threads: %s runs on one thread", cli_bench_op_name(want->op));
    want->filter.parallel = &want->parallel;
    return cli_choose_threads(want->filter.threads, &want->parallel);
}

static int take_isa(request *want, const cli_option *option) {
    tq_status status =
        option->given ? tq_isa_from_name(option->value, &want->isa) : tq_isa_active(&want->isa);
    if (status == TQ_OK) status = tq_isa_set(want->isa);
    return status == TQ_OK ? CLI_GO_ON : cli_misuse("--isa: %s", tq_last_error()->message);
}

static bool wants_attend(const request *want) {
    return want->filter.op && want->op == CLI_BENCH_ATTEND;
}

/* What only --op attend has, and what it has not. */
static int take_attend(request *want, const cli_option *options) {
    static const int theirs[] = {SET, DOMAIN}, ours[] = {V_FORMAT, HEADS, KV_HEADS, POSITIONS, QUERIES};
    if (!wants_attend(want)) {
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
            if (options[ours[i]].given)
                return cli_misuse("--%s belongs to --op attend", options[ours[i]].name);
        return CLI_GO_ON;
    }
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++)
        if (options[theirs[i]].given)
            return cli_misuse("--%s does not belong to --op attend", options[theirs[i]].name);
    int rc = take_v_format(want, &options[V_FORMAT]);
    if (rc == CLI_GO_ON) rc = take_number(&options[HEADS], 1, MAX_HEADS, &want->attend.heads);
    if (rc == CLI_GO_ON) rc = take_number(&options[KV_HEADS], 1, MAX_HEADS, &want->attend.kv_heads);
    if (rc == CLI_GO_ON) rc = take_number(&options[POSITIONS], 1, MAX_POSITIONS, &want->attend.positions);
    if (rc == CLI_GO_ON) rc = take_number(&options[QUERIES], 1, MAX_QUERIES, &want->attend.queries);
    return rc;
}

static int take_options(request *want, const cli_option *options) {
    size_t dim = 0;
    int rc = take_op(want, &options[OP]);
    if (rc == CLI_GO_ON) rc = take_format(want, &options[FORMAT]);
    if (rc == CLI_GO_ON) {
        rc = take_number(&options[DIM], MIN_DIM, MAX_DIM, &dim);
        want->filter.dim = (uint32_t)dim;
    }
    if (rc == CLI_GO_ON) rc = take_attend(want, options);
    if (rc == CLI_GO_ON) rc = take_set(want, &options[SET]);
    if (rc == CLI_GO_ON) rc = take_domain(want, &options[DOMAIN]);
    if (rc == CLI_GO_ON) rc = take_number(&options[SAMPLES], 1, MAX_SAMPLES, &want->samples);
    if (rc == CLI_GO_ON) rc = take_threads(want, &options[THREADS]);
    if (rc == CLI_GO_ON) rc = take_isa(want, &options[ISA]);
    want->as_json = options[JSON].given;
    return rc;
}

static int measure(const request *want, const cli_bench_case *cases, size_t n, measure_data *data,
                   cli_bench_report *report) {
    int rc = CLI_DONE;
    cli_progress_begin("measuring", n);
    for (size_t i = 0; rc == CLI_DONE && i < n; i++) {
        cli_bench_result result;
        rc = cli_bench_check(&cases[i], data, want->isa);
        if (rc == CLI_DONE) rc = cli_bench_run(&cases[i], data, want->samples, &result);
        if (rc == CLI_DONE) rc = cli_bench_report_row(report, &cases[i], &result);
        cli_progress_add(1);
    }
    cli_progress_end();
    return rc;
}

static int bench_cases(const request *want, const cli_bench_case *cases, size_t n) {
    const bool l2_alone = want->filter.set && want->set == MEASURE_SET_L2;
    measure_data data;
    cli_bench_report report;
    const measure_set set = l2_alone ? MEASURE_SET_L2 : MEASURE_SET_RAM;
    int rc = cli_check(NULL, measure_data_begin(&data, set, want->filter.threads));
    if (rc != CLI_DONE) return rc;
    cli_bench_report_begin(&report, want->as_json, want->isa, want->samples);
    rc = measure(want, cases, n, &data, &report);
    if (rc == CLI_DONE)
        rc = cli_bench_report_end(&report, want->filter.threads);
    else
        cli_bench_report_drop(&report);
    measure_data_free(&data);
    return rc;
}

static int bench_attend(const request *want) {
    cli_attend_filter filter = want->attend;
    filter.k = want->filter.format;
    filter.dim = want->filter.dim;
    filter.samples = want->samples;
    filter.isa = want->isa;
    filter.threads = want->filter.threads;
    filter.parallel = want->filter.parallel;
    return cli_bench_attend(&filter, want->as_json);
}

static int bench(const request *want) {
    const size_t n = cli_bench_list(&want->filter, NULL);
    if (n == 0) {
        return cli_misuse("nothing to measure: no format asked for serves that head dimension; v2 serves "
                          "multiples of 16 from 32 to 1024, v1 256 and 512");
    }
    cli_bench_case *cases = calloc(n, sizeof *cases);
    if (!cases) return cli_out_of_memory();
    cli_bench_list(&want->filter, cases);
    const int rc = bench_cases(want, cases, n);
    free(cases);
    return rc;
}

static int run(const cli_command *command, int argc, const char **argv) {
    cli_option options[N_OPTIONS] = {
        [OP] = {.name = "op", .value_name = "OP", .help = "encode, decode, rotate, requantize or attend"},
        [FORMAT] = {.name = "format", .value_name = "FORMAT", .help = "see 'tqkv formats'"},
        [DIM] = {.name = "dim", .value_name = "D", .help = "head dimension"},
        [SET] = {.name = "set",
                 .value_name = "l2|ram",
                 .help = "what is worked on: 512 KiB or 512 MiB of float32"},
        [THREADS] = {.name = "threads",
                     .value_name = "N",
                     .help = "threads (default 1); l2 is 512 KiB for each"},
        [ISA] = {.name = "isa", .value_name = "LEVEL", .help = "see 'tqkv kernels' (default: the best)"},
        [DOMAIN] = {.name = "domain",
                    .value_name = "rotated|original",
                    .help = "what decode gives (default rotated)"},
        [SAMPLES] = {.name = "samples",
                     .value_name = "N",
                     .help = "a row (default 31; attend down to 7 where they take long)"},
        [V_FORMAT] = {.name = "v-format",
                      .value_name = "FORMAT",
                      .help = "attend: of values (default as keys, --format)"},
        [HEADS] = {.name = "heads", .value_name = "H", .help = "attend: query heads (default 16)"},
        [KV_HEADS] = {.name = "kv-heads", .value_name = "G", .help = "attend: KV heads (default 8)"},
        [POSITIONS] = {.name = "positions", .value_name = "T", .help = "attend: cached positions"},
        [QUERIES] = {.name = "queries", .value_name = "N", .help = "attend: the last N ask (default 1)"},
        [JSON] = {.name = "json", .help = "print a JSON object a row, each on its line"},
    };
    cli_args args;
    request want = {.filter = {.threads = 1, .domain = TQ_ROTATED}};
    int rc = cli_parse(&args, command, argc, argv, options, N_OPTIONS);
    if (rc == CLI_GO_ON) rc = take_options(&want, options);
    if (rc == CLI_GO_ON && wants_attend(&want)) {
        rc = bench_attend(&want);
    } else if (rc == CLI_GO_ON) {
        want.samples = options[SAMPLES].given ? want.samples : DEFAULT_SAMPLES;
        rc = bench(&want);
    }
    cli_args_free(&args);
    return rc;
}

const cli_command cli_bench_command = {
    .name = "bench",
    .summary = "Measure codec and attention beside this machine's limits",
    .synopsis = "[OPTION...]",
    .examples = "  tqkv bench\n"
                "  tqkv bench --op decode --format tq4 --dim 256 --set l2\n"
                "  tqkv bench --op encode --threads 2 --json >rows.jsonl\n"
                "  tqkv bench --op attend --format tq8 --v-format tq4 --heads 16 --kv-heads 2\n"
                "\n"
                "What an option leaves open is a row for every common value. attend is measured\n"
                "when it is asked for; what is left open of heads and D is three models' shapes,\n"
                "or, if one is given, 16 heads, 8 KV heads, D = 256.\n"
                "Each row is checked against the scalar kernels, then timed: samples of ours and\n"
                "of the machine's limit in turn. The limit of decode is a stream of stores over\n"
                "the same bytes, in ram the faster of plain ones (store) and ones that bypass the\n"
                "caches (stream); that of the others is memcpy of the same float32 values.\n"
                "share   median over the samples of the limit's time over ours\n"
                "spread  half the interquartile range of these ratios over their median\n"
                "attend is checked against float64 on the decoded cache. Its limits: reading the\n"
                "bytes that float16 keys and values would have, and float32 multiply-adds in\n"
                "registers; its share is that of the floor's median time over ours.\n",
    .min_operands = 0,
    .max_operands = 0,
    .run = run,
};
