/* SPDX-License-Identifier: MIT
 * Names of ways to keep keys and values, such as "tq8/tq4+centre+recent=64". */
#ifndef TQKV_CLI_KV_NAME_H
#define TQKV_CLI_KV_NAME_H

#include <stddef.h>

#include "base/command.h"
#include "lm/lm.h"
#include "tqkv/cache.h"

enum { CLI_KV_NAME_SIZE = 96 };

/* The name of what tq_cache_config_default() gives. */
void cli_kv_default_name(char name[CLI_KV_NAME_SIZE]);

/* A name as tq_cache_config_from_name() reads it, and more: k-FORMAT or v-FORMAT for one side alone, the
 * other in float32; float32, float16, q8_0, q5_0, q4_0 and iq4_nl in the place of formats; +rotate for
 * the last four; +edge=N: so many of the first and of the last layers in tq8 on both sides; and
 * "default". CLI_DONE, or CLI_MISUSE after a message that says what is wrong with the name. */
int cli_parse_kv(const char *name, lm_kv *kv);

/* Whether the formats serve every layer of the model. If not, why: a text such as "tq4-v1 serves head
 * dimensions 256 and 512, and the model has 128". */
bool cli_kv_serves(const lm_kv *kv, const lm_model *model, char *why, size_t size);

/* Whether a layer's window holds less than a suffix asks for. If so, what it keeps instead: a text such
 * as "256 positions at most where a layer's window is 256". */
bool cli_kv_cut(const lm_kv *kv, const lm_model *model, char *text, size_t size);

/* The options that describe keys and values one by one. */
typedef struct cli_kv_options {
    const cli_option *k_format, *v_format, *recent, *sinks, *center;
} cli_kv_options;

/* The name that they add up to; "" if none is given. A side that is not named has the other's format;
 * both have the default ones if neither is. CLI_DONE or CLI_MISUSE. */
int cli_kv_name_from_options(const cli_kv_options *options, char name[CLI_KV_NAME_SIZE]);

#endif
