/* SPDX-License-Identifier: MIT
 * Libraries for Python: processes of their own that take samples when told to, and time them themselves,
 * so that talking to them costs nothing. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attend.h"

typedef struct process {
    pid_t id;
    FILE *to, *from;
    const char *script;
    char version[128];
    const peer_scene *scene; /* that it has, if any */
} process;

static process servers[N_PEER_SERVERS];

static int lost(const process *p, const char *what) {
    fprintf(stderr, "peers: %s: %s\n", p->script, what);
    return -1;
}

/* An answer is a line; its end is cut off. */
static int answer(process *p, char *line, size_t size) {
    if (fflush(p->to) != 0 || !fgets(line, (int)size, p->from)) return lost(p, "it has stopped");
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
    perror(python);
    _exit(127);
}

/* Those that are started later must not keep its pipe open. */
static void keep(FILE *stream) {
    if (stream) fcntl(fileno(stream), F_SETFD, FD_CLOEXEC);
}

int peer_server_start(peer_server which, const char *python, const char *script) {
    process *p = &servers[which];
    int to[2], from[2];
    p->script = script;
    if (pipe(to) != 0 || pipe(from) != 0) return lost(p, "no pipes are left");
    p->id = fork();
    if (p->id == 0) become(python, script, to, from);
    close(to[0]);
    close(from[1]);
    p->to = fdopen(to[1], "w");
    p->from = fdopen(from[0], "r");
    if (p->id == -1 || !p->to || !p->from) return lost(p, "it cannot be started");
    keep(p->to);
    keep(p->from);
    return answer(p, p->version, sizeof p->version);
}

void peer_servers_stop(void) {
    for (size_t i = 0; i < N_PEER_SERVERS; i++) {
        process *p = &servers[i];
        if (p->id <= 0) continue;
        fclose(p->to);
        fclose(p->from);
        waitpid(p->id, NULL, 0);
        p->id = 0;
    }
}

const char *peer_server_version(peer_server which) {
    return servers[which].id > 0 ? servers[which].version : NULL;
}

/* Hands over the scene, once for all sides. */
static int server_begin(peer_attend *side, const peer_scene *s) {
    process *p = &servers[side->server];
    const size_t n_q = s->heads * s->dim, n_kv = s->kv_heads * s->positions * s->dim;
    char line[128];
    side->scene = s;
    if (p->scene == s) return 0;
    fprintf(p->to, "scene %zu %zu %zu %zu %zu\n", s->heads, s->kv_heads, s->dim, s->positions,
            s->threads);
    fwrite(s->q, sizeof *s->q, n_q, p->to);
    fwrite(s->k, sizeof *s->k, n_kv, p->to);
    fwrite(s->v, sizeof *s->v, n_kv, p->to);
    if (answer(p, line, sizeof line) != 0) return -1;
    p->scene = s;
    if (line[0])
        fprintf(stderr, "# %s: %zu/%zu heads, D %zu, T %zu: %s\n", p->version, s->heads, s->kv_heads,
                s->dim, s->positions, line);
    return 0;
}

static int server_run(peer_attend *side, size_t passes, double *seconds) {
    process *p = &servers[side->server];
    char line[128];
    fprintf(p->to, "run %s %zu\n", side->kind, passes);
    if (answer(p, line, sizeof line) != 0) return -1;
    return sscanf(line, "%lf", seconds) == 1 ? 0 : lost(p, line);
}

static int server_result(peer_attend *side, float *out) {
    process *p = &servers[side->server];
    const size_t n = side->scene->heads * side->scene->dim;
    fprintf(p->to, "result %s\n", side->kind);
    return fflush(p->to) == 0 && fread(out, sizeof *out, n, p->from) == n ? 0 : lost(p, "it has stopped");
}

static void server_end(peer_attend *side) {
    servers[side->server].scene = NULL;
}

const peer_code peer_code_server = {
    .begin = server_begin, .run = server_run, .result = server_result, .end = server_end};
