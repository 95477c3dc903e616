/* SPDX-License-Identifier: MIT
 * Names of ways to keep keys and values, such as "tq8/tq4+centre+recent=64". */
#include "base/kv_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "tqkv/codec.h"

/* One side, keys or values, of a name. */
typedef struct side {
    lm_store store;
    lm_block block; /* BLOCKS */
    char name[16];  /* CACHE: its format */
} side;

static const struct {
    const char *name;
    side side;
} plain_sides[] = {
    {"float32", {.store = LM_STORE_F32}},
    {"float16", {.store = LM_STORE_F16}},
    {"q8_0", {.store = LM_STORE_BLOCKS, .block = LM_Q8_0}},
    {"q5_0", {.store = LM_STORE_BLOCKS, .block = LM_Q5_0}},
    {"q4_0", {.store = LM_STORE_BLOCKS, .block = LM_Q4_0}},
    {"iq4_nl", {.store = LM_STORE_BLOCKS, .block = LM_IQ4_NL}},
};

static int parse_side(const char *whole, const char *text, side *s) {
    tq_format format;
    for (size_t i = 0; i < sizeof plain_sides / sizeof plain_sides[0]; i++) {
        if (strcmp(text, plain_sides[i].name) == 0) {
            *s = plain_sides[i].side;
            return CLI_DONE;
        }
    }
    *s = (side){.store = LM_STORE_CACHE};
    if (tq_format_from_name(text, &format) != TQ_OK)
        return cli_misuse(
            "'%s': there is no format '%s'; there are float32, float16, tq2 to tq8, tq4-v1, "
            "tq5-v1, tq6-v1, tq8-v1, q8_0, q5_0, q4_0 and iq4_nl",
            whole, text);
    snprintf(s->name, sizeof s->name, "%s", text);
    return CLI_DONE;
}

/* k-FORMAT, v-FORMAT or FORMAT[/VFORMAT]. */
static int parse_sides(const char *whole, char *text, side *k, side *v) {
    char *slash = strchr(text, '/');
    const bool alone = (text[0] == 'k' || text[0] == 'v') && text[1] == '-';
    if (alone && slash) return cli_misuse("'%s': k- and v- name one side, FORMAT/VFORMAT both", whole);
    if (slash) *slash = '\0';
    TRY(parse_side(whole, alone ? text + 2 : text, k));
    *v = *k;
    if (slash) TRY(parse_side(whole, slash + 1, v));
    if (alone) *(text[0] == 'k' ? v : k) = plain_sides[0].side;
    return CLI_DONE;
}

/* What a sequence can hold: both sides of one kind, or codes on one side and float32 on the other. */
static int join_sides(const char *whole, const side *k, const side *v, lm_kv *kv) {
    const bool codes = k->store == LM_STORE_CACHE || v->store == LM_STORE_CACHE;
    const bool mixed = k->store != v->store;
    if (mixed && (!codes || (k->store != LM_STORE_F32 && v->store != LM_STORE_F32)))
        return cli_misuse("'%s': float16 is for keys and values alike; a block format goes with "
                          "another, a tq format with another or with float32",
                          whole);
    *kv = (lm_kv){.store = codes ? LM_STORE_CACHE : k->store,
                  .k_dense = codes && k->store != LM_STORE_CACHE,
                  .v_dense = codes && v->store != LM_STORE_CACHE,
                  .k_block = k->block,
                  .v_block = v->block};
    return CLI_DONE;
}

/* Takes "+rotate" out of suffixes, once. */
static bool take_rotate(char *suffixes) {
    static const char rotate[] = "+rotate";
    char *at = strstr(suffixes, rotate);
    char *end = at ? at + strlen(rotate) : NULL;
    if (!at || (*end != '\0' && *end != '+')) return false;
    memmove(at, end, strlen(end) + 1);
    return true;
}

/* Takes "+edge=N" out of suffixes, once: *edge, or what it was. */
static int take_edge(const char *whole, char *suffixes, size_t *edge) {
    static const char word[] = "+edge=";
    char *at = strstr(suffixes, word), *end;
    if (!at) return CLI_DONE;
    const char *digits = at + strlen(word);
    const unsigned long n = strtoul(digits, &end, 10);
    if (*digits < '1' || *digits > '9' || (*end != '\0' && *end != '+') || n > 1000)
        return cli_misuse("'%s': +edge=N is a number of layers, 1 or more", whole);
    *edge = n;
    memmove(at, end, strlen(end) + 1);
    return CLI_DONE;
}

/* Formats and suffixes as the library reads them; a dense side takes the other's, which is not used, and
 * a way without codes any that has all suffixes. */
static int take_config(const char *whole, const side *k, const side *v, const char *suffixes, lm_kv *kv) {
    const char *k_name = k->name[0] ? k->name : v->name[0] ? v->name : "tq8";
    const char *v_name = v->name[0] ? v->name : k_name;
    char text[2 * CLI_KV_NAME_SIZE]; /* two sides of 15 letters at most, and suffixes */
    tq_cache_config c = {.size = sizeof c};
    snprintf(text, sizeof text, "%s/%s%s", k_name, v_name, suffixes);
    if (tq_cache_config_from_name(text, &c) != TQ_OK)
        return cli_misuse("'%s': %s", whole, tq_last_error()->message);
    kv->k_format = c.layer.k.format;
    kv->v_format = c.layer.v.format;
    kv->k_norm_rule = c.layer.k.norm_rule;
    kv->v_norm_rule = c.layer.v.norm_rule;
    kv->learn_centre = c.learn_centre;
    kv->centre_stretch = c.centre_stretch;
    kv->recent = c.recent;
    kv->sinks = c.sinks;
    return CLI_DONE;
}

/* A suffix that would do nothing is a mistake. */
static int check_suffixes(const char *whole, const lm_kv *kv, const char *suffixes) {
    if ((kv->store == LM_STORE_F32 || kv->store == LM_STORE_F16) && suffixes[0])
        return cli_misuse("'%s': the centre, recent positions and sinks belong to tq formats and blocks",
                          whole);
    if (kv->store != LM_STORE_CACHE && kv->k_norm_rule != TQ_NORM_DEFAULT)
        return cli_misuse("'%s': norm rules belong to tq formats", whole);
    if (kv->rotate && kv->store != LM_STORE_BLOCKS)
        return cli_misuse("'%s': +rotate is for blocks such as q8_0; tq formats rotate always", whole);
    if (kv->edge && (kv->store != LM_STORE_CACHE || kv->k_dense || kv->v_dense))
        return cli_misuse("'%s': +edge is for tq formats on both sides", whole);
    if (kv->learn_centre && kv->k_dense)
        return cli_misuse("'%s': the centre belongs to keys, which are float32 here", whole);
    return CLI_DONE;
}

int cli_parse_kv(const char *name, lm_kv *kv) {
    char text[CLI_KV_NAME_SIZE], suffixes[CLI_KV_NAME_SIZE] = "";
    side k, v;
    if (strcmp(name, "default") == 0) {
        cli_kv_default_name(text);
        return cli_parse_kv(text, kv);
    }
    if (strlen(name) >= sizeof text) return cli_misuse("'%s': too long for a name", name);
    strcpy(text, name);
    char *plus = strchr(text, '+');
    if (plus) {
        strcpy(suffixes, plus);
        *plus = '\0';
    }
    const bool rotate = take_rotate(suffixes);
    size_t edge = 0;
    TRY(take_edge(name, suffixes, &edge));
    TRY(parse_sides(name, text, &k, &v));
    TRY(join_sides(name, &k, &v, kv));
    TRY(take_config(name, &k, &v, suffixes, kv));
    kv->rotate = rotate;
    kv->edge = edge;
    return check_suffixes(name, kv, suffixes);
}

bool cli_kv_serves(const lm_kv *kv, const lm_model *model, char *why, size_t size) {
    if (kv->store != LM_STORE_CACHE) return true;
    const size_t n_layers = lm_model_shape(model).n_layers;
    for (size_t layer = 0; layer < n_layers; layer++) {
        tq_codec codec = {.head_dim = lm_model_layer(model, layer).head_dim, .scale_factor_d512 = 1.0f};
        for (int values = 0; values < 2; values++) {
            codec.format = values ? kv->v_format : kv->k_format;
            if (tq_row_size(&codec, NULL, NULL) != TQ_OK) {
                snprintf(why, size, "not for this model: head_dim %u (%s serves %s)",
                         (unsigned)codec.head_dim, tq_format_name(codec.format),
                         TQ_IS_V1(codec.format) ? "256 and 512" : "multiples of 16 from 32 to 1024");
                return false;
            }
        }
    }
    return true;
}

bool cli_kv_cut(const lm_kv *kv, const lm_model *model, char *text, size_t size) {
    const size_t n_layers = lm_model_shape(model).n_layers;
    const size_t wanted = kv->recent > kv->learn_centre ? kv->recent : kv->learn_centre;
    size_t used = 0, last = wanted;
    for (size_t i = 0; i < n_layers && used < size; i++) {
        const lm_layer_shape layer = lm_model_layer(model, i);
        const size_t held = lm_layer_holds(&layer, wanted);
        if (held < wanted && held != last) {
            used += (size_t)snprintf(text + used, size - used,
                                     "%s%zu positions at most where a layer's window is %zu",
                                     used ? ", " : "", held, held);
            last = held;
        }
    }
    return used > 0;
}

void cli_kv_default_name(char name[CLI_KV_NAME_SIZE]) {
    snprintf(name, CLI_KV_NAME_SIZE, "%s/%s+centre+recent+sinks", tq_format_name(TQ_DEFAULT_K_FORMAT),
             tq_format_name(TQ_DEFAULT_V_FORMAT));
}

static int append_count(char *name, const char *suffix, const cli_option *option) {
    size_t count = 0;
    TRY(cli_take_count(option, 0, SIZE_MAX, &count));
    const size_t length = strlen(name);
    if (count > 0) snprintf(name + length, CLI_KV_NAME_SIZE - length, "+%s=%zu", suffix, count);
    return CLI_DONE;
}

int cli_kv_name_from_options(const cli_kv_options *o, char name[CLI_KV_NAME_SIZE]) {
    const char *k = o->k_format->given ? o->k_format->value : o->v_format->value;
    const char *v = o->v_format->given ? o->v_format->value : k;
    name[0] = '\0';
    if (!o->k_format->given && !o->v_format->given && !o->recent->given && !o->sinks->given &&
        !o->center->given)
        return CLI_DONE;
    k = k ? k : tq_format_name(TQ_DEFAULT_K_FORMAT);
    v = v ? v : tq_format_name(TQ_DEFAULT_V_FORMAT);
    if (strpbrk(k, "+/,") || strpbrk(v, "+/,") || strlen(k) + strlen(v) > CLI_KV_NAME_SIZE / 3)
        return cli_misuse("--k-format and --v-format take the name of one format each: '%s', '%s'", k, v);
    const bool alike = strcmp(k, v) == 0;
    snprintf(name, CLI_KV_NAME_SIZE, "%s%s%s%s", k, alike ? "" : "/", alike ? "" : v,
             o->center->given ? "+centre" : "");
    TRY(append_count(name, "recent", o->recent));
    return append_count(name, "sinks", o->sinks);
}
