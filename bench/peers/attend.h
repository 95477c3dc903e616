/* SPDX-License-Identifier: MIT
 * One side of the comparison of attention: somebody's code on a cache of somebody's format. */
#ifndef TQKV_BENCH_PEERS_ATTEND_H
#define TQKV_BENCH_PEERS_ATTEND_H

#include "scene.h"
#include "tqkv/attention.h"

typedef struct peer_attend peer_attend;

/* All but end() return 0 or, after a message, -1. */
typedef struct peer_code {
    /* Makes the cache. end() in both cases. */
    int (*begin)(peer_attend *side, const peer_scene *scene);
    /* Computes the step `passes` times and tells the seconds that took. */
    int (*run)(peer_attend *side, size_t passes, double *seconds);
    /* The result of the last run, [heads][dim]. NULL: there is none to check, it is a limit. */
    int (*result)(peer_attend *side, float *out);
    void (*end)(peer_attend *side);
} peer_code;

extern const peer_code peer_code_read, peer_code_ours, peer_code_ggml, peer_code_server;

/* Libraries that answer from processes of their own: bench/peers/serve.py says how. */
typedef enum peer_server { PEER_PYTORCH, PEER_OPENVINO, PEER_ONNXRUNTIME, N_PEER_SERVERS } peer_server;

struct peer_attend {
    const char *name; /* of the row */
    const peer_code *code;
    /* what distinguishes sides that share code */
    tq_format k, v; /* ours */
    tq_arithmetic arithmetic;
    int ggml_type; /* ggml's */
    int per_head;  /* ggml's: each head's positions side by side; 0: as llama.cpp has it */
    peer_server server;
    const char *kind;      /* the server's name of it */
    size_t most_positions; /* 0: it serves any number */

    const peer_scene *scene; /* from begin() on */
    void *state;
};

/* Starts a script that serves, for all sides of that server. Returns 0 or, after a message, -1. */
int peer_server_start(peer_server which, const char *python, const char *script);
void peer_servers_stop(void);

/* Such as "PyTorch VERSION, CAPABILITY", once started; NULL: it was not. */
const char *peer_server_version(peer_server which);

#endif
