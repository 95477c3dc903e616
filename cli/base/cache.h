/* SPDX-License-Identifier: MIT
 * Caches of given tensors: configurations by name, and a cache that grows over the tensors' positions. */
#ifndef TQKV_CLI_CACHE_H
#define TQKV_CLI_CACHE_H

#include "base/command.h"
#include "base/heads.h"
#include "base/kv_name.h"
#include "tqkv/cache.h"

/* A way to keep keys and values. */
typedef struct cli_way {
    char name[CLI_KV_NAME_SIZE]; /* as it was given */
    tq_cache_config config;      /* what the name says; all the rest 0 */
} cli_way;

enum { CLI_MAX_WAYS = 32 };

/* Reads a name as cli_parse_kv() does; only what a tq_cache keeps on both sides is taken. CLI_DONE, or
 * CLI_MISUSE after a message. */
int cli_take_way(const char *name, cli_way *way);

/* Reads names with commas between, each once. */
int cli_take_ways(const char *list, cli_way ways[CLI_MAX_WAYS], size_t *n);

/* Whether some positions are not encoded, or have a centre: a name with such a suffix. */
bool cli_way_ages(const tq_cache_config *config);

/* Positions below this one are encoded, or sinks, once a cache holds `length`. */
size_t cli_encoded_end(const tq_cache_config *config, size_t length);

/* Notes where a cache of so many positions has encoded none of them, although the name has a format. */
void cli_note_dense(const cli_way *way, const tq_cache_config *fit, size_t length);

/* A layer of heads of that dimension, up to so many positions; with a window a ring that holds a few
 * more than it. What is to stay in float16 or to be learned from is at most the window, since older
 * positions are gone. */
tq_cache_config cli_fit_config(const tq_cache_config *named, const cli_heads *keys, size_t window);

/* What a cache makes of vectors, without one: rounded to float16; and, less the centres that keys have,
 * encoded, all positions of them, whether or not they get there. Codes are made from what vectors are in
 * float16 if that is said of the configuration, else from what they were. */
tq_status cli_round_to_half(const float *from, size_t n, float *to);
bool cli_encodes_young(const tq_cache_config *config);
tq_status cli_encode_aged(const tq_cache_config *config, bool is_keys, const cli_heads *from,
                          tq_encoded *encoded);

/* A cache that takes its positions from tensors, in their order. */
typedef struct cli_cache {
    tq_cache *cache;
    const cli_heads *k, *v;
    void *workspace;
    size_t workspace_bytes;
} cli_cache;

/* Empty. Release with cli_cache_free() in every case. */
tq_status cli_cache_create(cli_cache *cache, const tq_cache_config *config, const cli_heads *k,
                           const cli_heads *v);
void cli_cache_free(cli_cache *cache);

/* Appends positions until there are `length`. */
tq_status cli_cache_grow(cli_cache *cache, size_t length);

/* Attention over segments, of which some or all may be empty, with a workspace that is kept. */
tq_status cli_cache_attend(cli_cache *cache, const tq_attention_params *params,
                           const tq_segment *segments, size_t n_segments, const float *q, float *out,
                           float *lse);

/* Attends with every query, causal ones when the cache is as long as it was for them: query i when it
 * holds the positions up to query_end - n + i. out [H][n][D]; lse [H][n], or NULL. */
tq_status cli_cache_replay(cli_cache *cache, const tq_attention_params *params, const float *q,
                           float *out, float *lse);

/* Query i of all, [H][1][D], and its results among those of all. */
void cli_take_query(const tq_attention_params *all, size_t i, const float *q, float *one);
void cli_put_result(const tq_attention_params *all, size_t i, const float *one, const float *one_lse,
                    float *out, float *lse);

/* Bits over the values of the positions held; centres are counted. */
tq_status cli_cache_bits(const cli_cache *cache, double *bits);

#endif
