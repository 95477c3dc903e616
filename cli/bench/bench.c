/* SPDX-License-Identifier: MIT
 * tqkv bench: how fast codec and attention are, and how far from what the machine allows. */
#include "bench/bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/attention.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/threads.h"
#include "bench/attend.h"
#include "bench/device.h"

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
    PAGE_ROWS,
    DEVICE,
    ACCURACY,
    ARITHMETIC,
    JSON,
    N_OPTIONS
};
enum { DEFAULT_SAMPLES = 31, MAX_SAMPLES = 100000, MIN_DIM = 32, MAX_DIM = 1024 };
enum { MAX_HEADS = 1024, MAX_POSITIONS = 1 << 24, MAX_QUERIES = 4096, MAX_PAGE_ROWS = 4096 };

typedef struct request {
    cli_bench_filter filter; /* points into this */
    cli_bench_op op;
    cli_attend_filter attend; /* likewise */
    tq_format format, v_format;
    measure_set set;
    tq_parallel parallel;
    tq_isa isa;
    size_t samples;
    int device_number;
    bool exact; /* of a device's attention */
    bool as_json;
} request;

static bool wants_attend(const request *want) {
    return want->filter.op && want->op == CLI_BENCH_ATTEND;
}

static bool on_device(const request *want) {
    return want->device_number != CLI_CPU;
}

/* Whether a device's codec takes it too. */
static bool is_of_all(int option) {
    return option == KV_HEADS || option == POSITIONS;
}

/* What only --op attend has, and what it has not. */
static int take_attend(request *want, const cli_option *options) {
    static const int theirs[] = {SET, DOMAIN},
                     ours[] = {V_FORMAT, HEADS, KV_HEADS, POSITIONS, QUERIES, PAGE_ROWS, ARITHMETIC};
    const bool attend = wants_attend(want);
    for (size_t i = 0; !attend && i < sizeof ours / sizeof ours[0]; i++)
        if (options[ours[i]].given && !(on_device(want) && is_of_all(ours[i])))
            return cli_misuse("--%s belongs to --op attend", options[ours[i]].name);
    for (size_t i = 0; attend && i < sizeof theirs / sizeof theirs[0]; i++)
        if (options[theirs[i]].given)
            return cli_misuse("--%s does not belong to --op attend", options[theirs[i]].name);
    if (options[V_FORMAT].given && !want->filter.format)
        return cli_misuse("--v-format wants --format beside it, the format of keys");
    TRY(cli_take_format(&options[V_FORMAT], &want->v_format));
    want->attend.v = options[V_FORMAT].given ? &want->v_format : NULL;
    TRY(cli_take_count(&options[HEADS], 1, MAX_HEADS, &want->attend.heads));
    TRY(cli_take_count(&options[KV_HEADS], 1, MAX_HEADS, &want->attend.kv_heads));
    TRY(cli_take_arithmetic(&options[ARITHMETIC], &want->attend.arithmetic));
    TRY(cli_take_count(&options[POSITIONS], 1, MAX_POSITIONS, &want->attend.positions));
    TRY(cli_take_count(&options[PAGE_ROWS], 1, MAX_PAGE_ROWS, &want->attend.page_rows));
    return cli_take_count(&options[QUERIES], 1, MAX_QUERIES, &want->attend.queries);
}

/* What is the CPU's alone. */
static int take_device(const request *want, const cli_option *options) {
    static const int cpus[] = {SET, THREADS, ISA, ARITHMETIC, PAGE_ROWS};
    for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++)
        if (options[cpus[i]].given)
            return cli_misuse("--%s does nothing with --device cuda", options[cpus[i]].name);
    if (!want->filter.op) return CLI_DONE;
    if (want->op == CLI_BENCH_ROTATE || want->op == CLI_BENCH_REQUANTIZE)
        return cli_misuse("--op %s is timed on the CPU; on a device encode, decode and attend are",
                          cli_bench_op_names[want->op]);
    if (want->op != CLI_BENCH_ATTEND && options[ACCURACY].given)
        return cli_misuse("--accuracy belongs to --op attend");
    return CLI_DONE;
}

static int take_codec(request *want, const cli_option *options) {
    static const char *const sets[] = {"l2", "ram"}, *const domains[] = {"rotated", "original"};
    size_t op = 0, set = 0, domain = 0, dim = 0;
    TRY(cli_take_device(&options[DEVICE], &want->device_number));
    TRY(cli_take_accuracy(&options[ACCURACY], want->device_number, &want->exact));
    TRY(cli_take_word(&options[OP], cli_bench_op_names, CLI_N_BENCH_OPS, &op));
    want->op = (cli_bench_op)op;
    want->filter.op = options[OP].given ? &want->op : NULL;
    TRY(cli_take_format(&options[FORMAT], &want->format));
    want->filter.format = options[FORMAT].given ? &want->format : NULL;
    TRY(cli_take_count(&options[DIM], MIN_DIM, MAX_DIM, &dim));
    want->filter.dim = (uint32_t)dim;
    TRY(take_attend(want, options));
    TRY(cli_take_word(&options[SET], sets, 2, &set));
    want->set = set == 1 ? MEASURE_SET_RAM : MEASURE_SET_L2;
    want->filter.set = options[SET].given ? &want->set : NULL;
    TRY(cli_take_word(&options[DOMAIN], domains, 2, &domain));
    want->filter.domain = domain == 1 ? TQ_ORIGINAL : TQ_ROTATED;
    if (options[DOMAIN].given && want->filter.op && want->op != CLI_BENCH_DECODE)
        return cli_misuse("--domain belongs to --op decode");
    return on_device(want) ? take_device(want, options) : CLI_DONE;
}

static int take_threads(request *want, const cli_option *option) {
    TRY(cli_take_count(option, 1, CLI_MAX_THREADS, &want->filter.threads));
    if (want->filter.threads == 1) return CLI_DONE;
    if (want->filter.op && (want->op == CLI_BENCH_ROTATE || want->op == CLI_BENCH_REQUANTIZE))
        return cli_misuse("--threads: %s runs on one thread", cli_bench_op_names[want->op]);
    want->filter.parallel = &want->parallel;
    return cli_choose_threads(want->filter.threads, &want->parallel);
}

static int take_isa(request *want, const cli_option *option) {
    tq_status status =
        option->given ? tq_isa_from_name(option->value, &want->isa) : tq_isa_active(&want->isa);
    if (status == TQ_OK) status = tq_isa_set(want->isa);
    return status == TQ_OK ? CLI_DONE : cli_misuse("--isa: %s", tq_last_error()->message);
}

static int take_options(request *want, const cli_option *options) {
    TRY(take_codec(want, options));
    TRY(cli_take_count(&options[SAMPLES], 1, MAX_SAMPLES, &want->samples));
    TRY(take_threads(want, &options[THREADS]));
    want->as_json = options[JSON].given;
    return take_isa(want, &options[ISA]);
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
    const measure_set set = l2_alone ? MEASURE_SET_L2 : MEASURE_SET_RAM;
    measure_data data;
    cli_bench_report report;
    TRY(cli_check(NULL, measure_data_begin(&data, set, want->filter.threads)));
    cli_bench_report_begin(&report, want->as_json, want->isa, want->samples);
    int rc = measure(want, cases, n, &data, &report);
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

static int bench_device(const request *want) {
    cli_device_filter filter = {.exact = want->exact,
                                .op = want->filter.op,
                                .k = want->filter.format,
                                .v = want->attend.v,
                                .heads = want->attend.heads,
                                .kv_heads = want->attend.kv_heads,
                                .dim = want->filter.dim,
                                .positions = want->attend.positions,
                                .queries = want->attend.queries,
                                .samples = want->samples,
                                .domain = want->filter.domain,
                                .as_json = want->as_json};
    int rc = cli_open_device(want->device_number, &filter.device);
    if (rc == CLI_DONE) rc = cli_bench_device(&filter);
    cli_close_device(filter.device);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [OP] = {"op", 0, "OP", "encode, decode, rotate, requantize or attend"},
    [FORMAT] = {"format", 0, "FORMAT", "see 'tqkv formats'"},
    [DIM] = {"dim", 0, "D", "head dimension"},
    [SET] = {"set", 0, "l2|ram", "what is worked on: 512 KiB or 512 MiB of float32"},
    [THREADS] = {"threads", 0, "N", "threads (default 1); l2 is 512 KiB for each"},
    [ISA] = {"isa", 0, "LEVEL", "see 'tqkv kernels' (default: the best)"},
    [DOMAIN] = {"domain", 0, "rotated|original", "what decode gives (default rotated)"},
    [SAMPLES] = {"samples", 0, "N", "a row (default 31; attend down to 7 where they take long)"},
    [V_FORMAT] = {"v-format", 0, "FORMAT", "attend: of values (default as keys, --format)"},
    [HEADS] = {"heads", 0, "H", "attend: query heads (default 16)"},
    [KV_HEADS] = {"kv-heads", 0, "G", "attend: KV heads (default 8)"},
    [POSITIONS] = {"positions", 0, "T", "attend: cached positions"},
    [QUERIES] = {"queries", 0, "N", "attend: the last N ask (default 1)"},
    [PAGE_ROWS] = {"page-rows", 0, "N",
                   "attend: positions a page; pages lie in random order (default: none)"},
    [DEVICE] = CLI_DEVICE_SPEC,
    [ACCURACY] = CLI_ACCURACY_SPEC,
    [ARITHMETIC] = {"arithmetic", 0, "float|integer|default", "attend: of products with codes"},
    [JSON] = {"json", 0, NULL, "print a JSON object a row, each on its line"},
};

static int run(const cli_args *args) {
    request want = {.filter = {.threads = 1}};
    TRY(take_options(&want, args->options));
    if (on_device(&want)) return bench_device(&want);
    if (wants_attend(&want)) return bench_attend(&want);
    want.samples = args->options[SAMPLES].given ? want.samples : DEFAULT_SAMPLES;
    return bench(&want);
}

const cli_command cli_bench_command = {
    .name = "bench",
    .summary = "Measure codec and attention beside this machine's limits",
    .synopsis = "[OPTION...]",
    .examples = "  tqkv bench\n"
                "  tqkv bench --op decode --format tq4 --dim 256 --set l2\n"
                "  tqkv bench --op encode --threads 2 --json >rows.jsonl\n"
                "  tqkv bench --op attend --format tq8 --v-format tq4 --heads 16 --kv-heads 2\n"
                "  tqkv bench --device cuda --op attend\n"
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
                "registers; its share is that of the floor's median time over ours. In\n"
                "integers what is allowed is what rounding to them takes.\n"
                "On a device (--device) encode, decode and attend, the default cache among the\n"
                "rows, are timed by its events beside copies within its memory.\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
