/* SPDX-License-Identifier: MIT
 * PyTorch's scaled_dot_product_attention: a process of its own that takes samples when told to, and times
 * them itself, so that talking to it costs it nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attend.h"

static struct {
    pid_t process;
    FILE *to, *from;
    char version[128];
    const peer_scene *scene; /* that it has, if any */
} server;

static int lost(const char *what) {
    fprintf(stderr, "peers: sdpa.py: %s\n", what);
    return -1;
}

/* An answer is a line; its end is cut off. */
static int answer(char *line, size_t size) {
    if (fflush(server.to) != 0 || !fgets(line, (int)size, server.from)) return lost("it has stopped");
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

static void become(const char *python, const char *script, const int to[2], const int from[2]) {
    if (dup2(to[0], STDIN_FILENO) != -1 && dup2(from[1], STDOUT_FILENO) != -1) {
        close(to[0]);
        close(to[1]);
        close(from[0]);
        close(from[1]);
        execl(python, python, script, (char *)NULL);
    }
    perror("peers: the Python of PyTorch");
    _exit(127);
}

int peer_sdpa_start(const char *python, const char *script) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) return lost("no pipes are left");
    server.process = fork();
    if (server.process == 0) become(python, script, to, from);
    close(to[0]);
    close(from[1]);
    server.to = fdopen(to[1], "w");
    server.from = fdopen(from[0], "r");
    if (server.process == -1 || !server.to || !server.from) return lost("it cannot be started");
    return answer(server.version, sizeof server.version);
}

void peer_sdpa_stop(void) {
    if (server.process > 0) {
        fclose(server.to);
        fclose(server.from);
        waitpid(server.process, NULL, 0);
        server.process = 0;
    }
}

const char *peer_sdpa_version(void) {
    return server.version;
}

/* Hands over the scene, once for all sides. */
static int sdpa_begin(peer_attend *side, const peer_scene *s) {
    const size_t n_q = s->heads * s->dim, n_kv = s->kv_heads * s->positions * s->dim;
    char line[128];
    side->scene = s;
    if (server.scene == s) return 0;
    fprintf(server.to, "scene %zu %zu %zu %zu %zu\n", s->heads, s->kv_heads, s->dim, s->positions,
            s->threads);
    fwrite(s->q, sizeof *s->q, n_q, server.to);
    fwrite(s->k, sizeof *s->k, n_kv, server.to);
    fwrite(s->v, sizeof *s->v, n_kv, server.to);
    if (answer(line, sizeof line) != 0) return -1;
    server.scene = s;
    fprintf(stderr, "# PyTorch, %zu/%zu heads, D %zu, T %zu: fastest %s\n", s->heads, s->kv_heads, s->dim,
            s->positions, line);
    return 0;
}

static int sdpa_run(peer_attend *side, size_t passes, double *seconds) {
    char line[128];
    fprintf(server.to, "run %s %zu\n", side->dtype, passes);
    if (answer(line, sizeof line) != 0) return -1;
    return sscanf(line, "%lf", seconds) == 1 ? 0 : lost(line);
}

static int sdpa_result(peer_attend *side, float *out) {
    const size_t n = side->scene->heads * side->scene->dim;
    fprintf(server.to, "result %s\n", side->dtype);
    return fflush(server.to) == 0 && fread(out, sizeof *out, n, server.from) == n
               ? 0
               : lost("it has stopped");
}

static void sdpa_end(peer_attend *side) {
    (void)side;
    server.scene = NULL;
}

const peer_code peer_code_sdpa = {
    .begin = sdpa_begin, .run = sdpa_run, .result = sdpa_result, .end = sdpa_end};
