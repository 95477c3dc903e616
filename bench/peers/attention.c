/* SPDX-License-Identifier: MIT
 * Prints what a decode step of attention takes by ggml, by libraries for Python and by us, measured in
 * one run.
 *
 * Usage: attention [--markdown] [--samples N] [--threads N] [--positions T]
 *                  [--pytorch|--openvino|--onnxruntime PYTHON SCRIPT]... */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/progress.h"
#include "compare.h"
#include "formats.h"
#include "ggml.h"
#include "tqkv/cpu.h"
#include "tqkv/version.h"

enum { MAX_SAMPLES = 10000, MAX_THREADS = 256, MAX_POSITIONS = 1 << 20, N_SHAPES = 3, N_LENGTHS = 2 };
enum { MAX_SCENES = N_SHAPES * N_LENGTHS };

static const struct {
    size_t heads, kv_heads, dim;
} shapes[N_SHAPES] = {{16, 8, 256}, {16, 2, 512}, {32, 8, 128}};

typedef struct request {
    bool markdown;
    size_t samples, threads;
    size_t lengths[N_LENGTHS], n_lengths;
    const char *python[N_PEER_SERVERS], *script[N_PEER_SERVERS]; /* NULL: without it */
} request;

static const char *const server_options[N_PEER_SERVERS] = {"--pytorch", "--openvino", "--onnxruntime"};

/* N_PEER_SERVERS: it is none of them. */
static size_t server_of(const char *option) {
    size_t i = 0;
    while (i < N_PEER_SERVERS && strcmp(option, server_options[i]) != 0)
        i++;
    return i;
}

/* A column. */
typedef struct measured {
    peer_scene scene;
    size_t samples;
    peer_time times[N_PEER_SIDES];
} measured;

static bool take_number(const char *text, size_t most, size_t *value) {
    char *end;
    const unsigned long long n = strtoull(text, &end, 10);
    *value = (size_t)n;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && n >= 1 && n <= most;
}

static bool take_options(int argc, char **argv, request *want) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const int left = argc - 1 - i;
        bool good = true;
        if (strcmp(name, "--markdown") == 0) {
            want->markdown = true;
        } else if (strcmp(name, "--samples") == 0 && left >= 1) {
            good = take_number(argv[++i], MAX_SAMPLES, &want->samples);
        } else if (strcmp(name, "--threads") == 0 && left >= 1) {
            good = take_number(argv[++i], MAX_THREADS, &want->threads);
        } else if (strcmp(name, "--positions") == 0 && left >= 1) {
            good = take_number(argv[++i], MAX_POSITIONS, &want->lengths[0]);
            want->n_lengths = 1;
        } else if (server_of(name) < N_PEER_SERVERS && left >= 2) {
            want->python[server_of(name)] = argv[++i];
            want->script[server_of(name)] = argv[++i];
        } else {
            good = false;
        }
        if (!good) return false;
    }
    return true;
}

static int start_servers(const request *want) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < N_PEER_SERVERS; i++)
        if (want->python[i]) rc = peer_server_start((peer_server)i, want->python[i], want->script[i]);
    return rc;
}

static int measure(const request *want, measured *columns) {
    const size_t n = N_SHAPES * want->n_lengths;
    int rc = 0;
    cli_progress_begin("measuring", n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        measured *m = &columns[i];
        m->scene = (peer_scene){.heads = shapes[i / want->n_lengths].heads,
                                .kv_heads = shapes[i / want->n_lengths].kv_heads,
                                .dim = shapes[i / want->n_lengths].dim,
                                .positions = want->lengths[i % want->n_lengths],
                                .threads = want->threads};
        rc = peer_scene_begin(&m->scene);
        if (rc == 0) rc = peer_compare(&m->scene, want->samples, m->times, &m->samples);
        peer_scene_free(&m->scene);
        cli_progress_add(1);
    }
    cli_progress_end();
    return rc;
}

/* "1,234 (5.6x)", and the spread of the ratio where it is a tenth or more. */
static void print_cell(char *cell, size_t size, const peer_time *time) {
    char doubt[32] = "";
    if (time->us == 0.0) {
        snprintf(cell, size, "-");
        return;
    }
    if (time->spread >= 0.1) snprintf(doubt, sizeof doubt, " +-%.0f%%", 100.0 * time->spread);
    const unsigned long us = (unsigned long)(time->us + 0.5);
    char figure[32];
    if (us >= 1000)
        snprintf(figure, sizeof figure, "%lu,%03lu", us / 1000, us % 1000);
    else
        snprintf(figure, sizeof figure, "%lu", us);
    snprintf(cell, size, "%s (%.2fx%s)", figure, time->times, doubt);
}

static void print_heading(const request *want, const measured *columns, size_t n) {
    const char *between = want->markdown ? " | " : "  ";
    printf("%s%-24s", want->markdown ? "| " : "", "microseconds");
    for (size_t i = 0; i < n; i++) {
        char name[64];
        const peer_scene *s = &columns[i].scene;
        snprintf(name, sizeof name, "%zu/%zu D %zu T %zu", s->heads, s->kv_heads, s->dim, s->positions);
        printf("%s%22s", between, name);
    }
    printf("%s%8s%s\n", between, "error", want->markdown ? " |" : "");
    if (want->markdown) {
        printf("| --- ");
        for (size_t i = 0; i <= n; i++)
            printf("| --: ");
        printf("|\n");
    }
}

static void print_side(const request *want, const measured *columns, size_t n, size_t side) {
    const char *between = want->markdown ? " | " : "  ";
    double error = -1.0;
    printf("%s%-24s", want->markdown ? "| " : "", peer_sides[side].name);
    for (size_t i = 0; i < n; i++) {
        char cell[96];
        print_cell(cell, sizeof cell, &columns[i].times[side]);
        printf("%s%22s", between, cell);
        error = columns[i].times[side].error > error ? columns[i].times[side].error : error;
    }
    char text[32] = "-";
    if (error >= 0.0) snprintf(text, sizeof text, "%.1e", error);
    printf("%s%8s%s\n", between, text, want->markdown ? " |" : "");
}

static void print_table(const request *want, const measured *columns, tq_isa isa) {
    const size_t n = N_SHAPES * want->n_lengths;
    size_t least = MAX_SAMPLES, most = 0;
    for (size_t i = 0; i < n; i++) {
        least = columns[i].samples < least ? columns[i].samples : least;
        most = columns[i].samples > most ? columns[i].samples : most;
    }
    printf("tqkv %s (%s), ggml %s", tq_version(), tq_isa_name(isa), ggml_version());
    for (size_t i = 0; i < N_PEER_SERVERS; i++)
        if (want->python[i]) printf(", %s", peer_server_version((peer_server)i));
    printf("; %zu thread%s, ", want->threads, want->threads == 1 ? "" : "s");
    if (least < most) printf("%zu to ", least);
    printf("%zu sample%s; in brackets the time over that of the default's formats\n\n", most,
           most == 1 ? "" : "s");
    print_heading(want, columns, n);
    for (size_t k = 0; k < N_PEER_SIDES; k++)
        if (peer_is_there(&peer_sides[k])) print_side(want, columns, n, k);
    putchar('\n');
}

int main(int argc, char **argv) {
    static measured columns[MAX_SCENES];
    request want = {.threads = 1, .lengths = {4096, 32768}, .n_lengths = N_LENGTHS};
    tq_isa isa;
    if (!take_options(argc, argv, &want)) {
        fprintf(stderr,
                "Usage: attention [--markdown] [--samples N] [--threads N] [--positions T]\n"
                "                 [--pytorch|--openvino|--onnxruntime PYTHON SCRIPT]...\n"
                "T at most %d\n",
                MAX_POSITIONS);
        return CLI_MISUSE;
    }
    if (tq_isa_active(&isa) != TQ_OK) {
        fprintf(stderr, "peers: %s\n", tq_last_error()->message);
        return CLI_MISUSE;
    }
    signal(SIGPIPE, SIG_IGN); /* a server that has gone is told of, not died of */
    peer_begin();
    int rc = start_servers(&want);
    if (rc == 0) rc = measure(&want, columns);
    if (rc == 0)
        print_table(&want, columns, isa);
    else
        fputs("peers: a side failed, or memory ran out (about 4 GiB are needed)\n", stderr);
    peer_servers_stop();
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}
