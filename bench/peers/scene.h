/* SPDX-License-Identifier: MIT
 * A decode step that all sides of the comparison compute: one query a head over a cache. */
#ifndef TQKV_BENCH_PEERS_SCENE_H
#define TQKV_BENCH_PEERS_SCENE_H

#include <stddef.h>

/* Scores are scaled by 1 / sqrt(dim). */
typedef struct peer_scene {
    size_t heads, kv_heads, dim, positions;
    size_t threads;
    float scale;
    float *q;     /* [heads][dim] */
    float *k, *v; /* [kv_heads][positions][dim] */
    double *want; /* [heads][dim] the result in float64 */
} peer_scene;

/* Normally distributed queries, keys and values, and the result, for the four sizes and the threads that
 * are set. Returns 0, or -1 when memory runs out; peer_scene_free() in both cases. */
int peer_scene_begin(peer_scene *scene);
void peer_scene_free(peer_scene *scene);

/* Bytes of keys and values as float16. */
size_t peer_scene_f16_bytes(const peer_scene *scene);

/* The length of (got - want) over that of want, got being [heads][dim]. */
double peer_scene_error(const peer_scene *scene, const float *got);

#endif
