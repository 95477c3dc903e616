/* SPDX-License-Identifier: MIT
 * One side of the comparison of attention: somebody's code on a cache of somebody's format. */
#ifndef TQKV_BENCH_PEERS_ATTEND_H
#define TQKV_BENCH_PEERS_ATTEND_H

#include "scene.h"
#include "tqkv/types.h"

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

extern const peer_code peer_code_read, peer_code_ours, peer_code_ggml, peer_code_sdpa;

struct peer_attend {
    const char *name; /* of the row */
    const peer_code *code;
    /* what distinguishes sides that share code */
    tq_format k, v;    /* ours */
    int ggml_type;     /* ggml's */
    int per_head;      /* ggml's: each head's positions side by side; 0: as llama.cpp has it */
    const char *dtype; /* of PyTorch's */

    const peer_scene *scene; /* from begin() on */
    void *state;
};

/* Starts the server of bench/peers/sdpa.py, which all sides of PyTorch share. Returns 0 or, after a
 * message, -1. */
int peer_sdpa_start(const char *python, const char *script);
void peer_sdpa_stop(void);

/* "PyTorch VERSION, CAPABILITY" once started. */
const char *peer_sdpa_version(void);

#endif
