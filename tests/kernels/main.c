/* SPDX-License-Identifier: MIT
 * check_kernels: runs the list's kernels against the scalar ones, directly and not through dispatch. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "check_kernels.h"
#include "tqkv/cpu.h"

enum { EXIT_USAGE = 2, EXIT_SKIPPED = 77 };

static const char usage[] =
    "Usage: check_kernels [--op NAME] [--isa LEVEL] [--seed N] [--case N] [--bench]\n"
    "       check_kernels --has LEVEL\n"
    "Checks every kernel that this machine can run, and that is not above TQKV_ISA, against the scalar "
    "one.\n"
    "  --op NAME    only this operation\n"
    "  --isa LEVEL  only kernels of this level: scalar, avx2, avxvnni, avx512, avx512vbmi, amx,\n"
    "               neon, neondotprod\n"
    "  --seed N     other cases; a failure names its seed\n"
    "  --case N     only this case of each kernel\n"
    "  --bench      time the kernels too, once they have passed\n"
    "  --has LEVEL  only tell by the status, 0 or 77, whether this machine has the level\n"
    "Status: 0 all passed, 1 a kernel failed, 2 wrong usage, 77 no kernel to run here.\n";

static const kernel_row rows[] = {
#define ROW(operation, level)                                                                            \
    {#operation, #level, {.operation = tq_##operation##_##level}, check_##operation},
    TQ_KERNELS(ROW)
#undef ROW
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

typedef struct options {
    const char *op, *isa, *has;
    uint64_t seed, only;
    bool bench;
} options;

static void refuse(const char *what, const char *value) {
    fprintf(stderr, "check_kernels: %s '%s'; --help lists them\n", what, value);
    exit(EXIT_USAGE);
}

static uint64_t number(const char *option, const char *text) {
    char *end;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) refuse(option, text);
    return n;
}

static options parse(int argc, char **argv) {
    options o = {.seed = 1};
    for (int i = 1; i < argc; i++) {
        const char *const name = argv[i];
        if (strcmp(name, "--bench") == 0) {
            o.bench = true;
            continue;
        }
        if (strcmp(name, "--help") == 0) {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        }
        if (i + 1 == argc) refuse("no such option, or its value is missing:", name);
        const char *const value = argv[++i];
        if (strcmp(name, "--op") == 0)
            o.op = value;
        else if (strcmp(name, "--isa") == 0)
            o.isa = value;
        else if (strcmp(name, "--has") == 0)
            o.has = value;
        else if (strcmp(name, "--seed") == 0)
            o.seed = number("--seed wants a number, not", value);
        else if (strcmp(name, "--case") == 0)
            o.only = number("--case wants a number, not", value);
        else
            refuse("no such option:", name);
    }
    return o;
}

static tq_isa level(const char *name) {
    tq_isa isa = TQ_ISA_SCALAR;
    if (tq_isa_from_name(name, &isa) != TQ_OK) refuse("no such level:", name);
    return isa;
}

static void check_op(const char *op) {
    for (size_t i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].op, op) == 0) return;
    refuse("no such operation:", op);
}

/* The level that TQKV_ISA allows, or the best one. */
static tq_isa ceiling(void) {
    tq_isa isa;
    if (tq_isa_active(&isa) == TQ_OK) return isa;
    fprintf(stderr, "check_kernels: %s\n", tq_last_error()->message);
    const char *wanted = getenv("TQKV_ISA");
    exit(wanted != NULL && tq_isa_from_name(wanted, &isa) == TQ_OK ? EXIT_SKIPPED : EXIT_USAGE);
}

static bool wanted(const options *o, const kernel_row *row) {
    return (o->op == NULL || strcmp(o->op, row->op) == 0) &&
           (o->isa == NULL || strcmp(o->isa, row->isa) == 0);
}

static bool can_run(const kernel_row *row, tq_isa most) {
    const tq_isa isa = level(row->isa);
    return isa <= most && tq_isa_available(isa);
}

static sigjmp_buf stopped;
static volatile sig_atomic_t stop_signal;
static void *volatile stop_address;

static void on_stop(int number, siginfo_t *info, void *context) {
    (void)context;
    stop_signal = number;
    stop_address = info->si_addr;
    siglongjmp(stopped, 1);
}

/* A kernel that reads beside its arrays fails as others do, with the line that reruns it. */
static void catch_stops(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {.sa_sigaction = on_stop, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &action, NULL);
}

static const char *signal_name(int number) {
    return number == SIGILL   ? "an instruction that this machine lacks"
           : number == SIGFPE ? "an arithmetic trap"
                              : "a read or a write beside the arrays";
}

static bool run_row(run *r, const kernel_row *row) {
    run_start(r, row);
    if (sigsetjmp(stopped, 1) == 0)
        row->check(r, &row->kernel);
    else
        run_stopped(r, signal_name(stop_signal), stop_address);
    if (!r->failed) printf("ok   %-16s %-11s (%" PRIu64 " cases)\n", row->op, row->isa, r->cases);
    fflush(stdout);
    return !r->failed;
}

int main(int argc, char **argv) {
    static run r;
    const options o = parse(argc, argv);
    if (o.has != NULL) return tq_isa_available(level(o.has)) ? EXIT_SUCCESS : EXIT_SKIPPED;
    if (o.op != NULL) check_op(o.op);
    if (o.isa != NULL) level(o.isa);
    const tq_isa most = ceiling();
    unsigned passed = 0, failed = 0, skipped = 0;
    r.seed = o.seed;
    r.only = o.only;
    run_open(&r);
    catch_stops();
    for (size_t i = 0; i < N_ROWS; i++) {
        if (!wanted(&o, &rows[i])) continue;
        if (!can_run(&rows[i], most))
            skipped++;
        else if (run_row(&r, &rows[i]))
            passed++;
        else
            failed++;
    }
    if (o.bench && failed == 0) {
        bench_head();
        for (size_t i = 0; i < N_ROWS; i++)
            if (wanted(&o, &rows[i]) && can_run(&rows[i], most)) bench_row(&rows[i]);
    }
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed > 0 ? EXIT_FAILURE : passed > 0 ? EXIT_SUCCESS : EXIT_SKIPPED;
}
