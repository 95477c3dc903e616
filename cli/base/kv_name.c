/* SPDX-License-Identifier: MIT
 * Names of ways to keep keys and values, such as "tq8/tq4+centre+recent=64". */
#include "base/kv_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "tqkv/codec.h"

/* One side, keys or values, of a name. */
typedef struct side {
    lm_store store;
    tq_format format;
    unsigned bits; /* BLOCKS */
} side;

static const struct {
    const char *name;
    side side;
} plain_sides[] = {
    {"float32", {LM_STORE_F32, 0, 0}},
    {"float16", {LM_STORE_F16, 0, 0}},
    {"q8_0", {LM_STORE_BLOCKS, 0, 8}},
    {"q4_0", {LM_STORE_BLOCKS, 0, 4}},
};

static int parse_side(const char *whole, const char *text, side *s) {
    for (size_t i = 0; i < sizeof plain_sides / sizeof plain_sides[0]; i++) {
        if (strcmp(text, plain_sides[i].name) == 0) {
            *s = plain_sides[i].side;
            return CLI_DONE;
        }
    }
    *s = (side){.store = LM_STORE_CACHE};
    if (tq_format_from_name(text, &s->format) == TQ_OK) return CLI_DONE;
    return cli_misuse("'%s': there is no format '%s'; there are float32, float16, tq2 to tq8, tq4-v1, "
                      "tq5-v1, tq6-v1, tq8-v1, q8_0 and q4_0",
                      whole, text);
}

/* What a sequence can hold: both sides of one kind, or codes on one side and float32 on the other. */
static int join_sides(const char *whole, const side *k, const side *v, lm_kv *kv) {
    const bool codes = k->store == LM_STORE_CACHE || v->store == LM_STORE_CACHE;
    const bool mixed = k->store != v->store;
    if (mixed && (!codes || (k->store != LM_STORE_F32 && v->store != LM_STORE_F32))) {
        return cli_misuse("'%s': float16, q8_0 and q4_0 are for keys and values alike; a tq format "
                          "goes with another or with float32",
                          whole);
    }
    kv->store = codes ? LM_STORE_CACHE : k->store;
    if (codes) {
        /* The dense side needs a format too; it is not used. */
        kv->k_dense = k->store != LM_STORE_CACHE;
        kv->v_dense = v->store != LM_STORE_CACHE;
        kv->k_format = kv->k_dense ? v->format : k->format;
        kv->v_format = kv->v_dense ? k->format : v->format;
    }
    kv->k_bits = k->bits;
    kv->v_bits = v->bits;
    return CLI_DONE;
}

/* k-FORMAT, v-FORMAT or FORMAT[/VFORMAT]. */
static int parse_formats(const char *whole, char *text, lm_kv *kv) {
    const side dense = {.store = LM_STORE_F32};
    side k, v;
    char *slash = strchr(text, '/');
    const bool alone = (text[0] == 'k' || text[0] == 'v') && text[1] == '-';
    if (alone && slash) return cli_misuse("'%s': k- and v- name one side, FORMAT/VFORMAT both", whole);
    if (slash) *slash = '\0';
    int rc = parse_side(whole, alone ? text + 2 : text, &k);
    v = k;
    if (rc == CLI_DONE && slash) rc = parse_side(whole, slash + 1, &v);
    if (rc != CLI_DONE) return rc;
    if (alone) *(text[0] == 'k' ? &v : &k) = dense;
    return join_sides(whole, &k, &v, kv);
}

/* What stands behind the '=' of a suffix, or the usual number without one. */
static int suffix_count(const char *whole, const char *value, size_t usual, size_t *count) {
    char *end = NULL;
    if (*count != 0) return cli_misuse("'%s': a suffix is there twice", whole);
    if (!value) {
        *count = usual;
        return CLI_DONE;
    }
    errno = 0;
    const unsigned long number = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || number == 0)
        return cli_misuse("'%s': '%s' is not a number of positions, 1 or more", whole, value);
    *count = number;
    return CLI_DONE;
}

static int parse_rule(const char *whole, tq_norm_rule rule, bool *seen, lm_kv *kv) {
    if (*seen) return cli_misuse("'%s': more than one norm rule", whole);
    *seen = true;
    kv->k_norm_rule = kv->v_norm_rule = rule;
    return CLI_DONE;
}

static int parse_suffix(const char *whole, char *text, bool *rule_seen, lm_kv *kv) {
    tq_norm_rule rule;
    char *value = strchr(text, '=');
    if (value) *value++ = '\0';
    if (strcmp(text, "centre") == 0) return suffix_count(whole, value, CLI_KV_CENTRE, &kv->learn_centre);
    if (strcmp(text, "recent") == 0) return suffix_count(whole, value, CLI_KV_RECENT, &kv->recent);
    if (strcmp(text, "sinks") == 0) return suffix_count(whole, value, CLI_KV_SINKS, &kv->sinks);
    if (!value && strcmp(text, "rotate") == 0 && !kv->rotate) {
        kv->rotate = 1;
        return CLI_DONE;
    }
    if (!value && tq_norm_rule_from_name(text, &rule) == TQ_OK)
        return parse_rule(whole, rule, rule_seen, kv);
    return cli_misuse("'%s': '+%s%s%s' is no suffix here; there are +centre[=N], +recent[=R], "
                      "+sinks[=S], +plain, +matched, +unbiased and +rotate",
                      whole, text, value ? "=" : "", value ? value : "");
}

/* A suffix that would do nothing, or that the format does not know, is a mistake. */
static int check_suffixes(const char *whole, const lm_kv *kv, bool rule_seen) {
    const bool cache = kv->store == LM_STORE_CACHE;
    if (!cache && (kv->recent || kv->sinks || kv->learn_centre || rule_seen)) {
        return cli_misuse("'%s': the centre, recent positions, sinks and norm rules belong to tq formats",
                          whole);
    }
    if (kv->rotate && kv->store != LM_STORE_BLOCKS)
        return cli_misuse("'%s': +rotate is for q8_0 and q4_0; tq formats rotate always", whole);
    if (cache && kv->learn_centre && kv->k_dense)
        return cli_misuse("'%s': the centre belongs to keys, which are float32 here", whole);
    if (cache && ((kv->learn_centre && TQ_IS_V1(kv->k_format)) ||
                  (rule_seen && (TQ_IS_V1(kv->k_format) || TQ_IS_V1(kv->v_format)))))
        return cli_misuse("'%s': v1 formats have no centre, and no norm rule to choose", whole);
    return CLI_DONE;
}

int cli_parse_kv(const char *name, lm_kv *kv) {
    char text[CLI_KV_NAME_SIZE];
    bool rule_seen = false;
    *kv = (lm_kv){.store = LM_STORE_F32};
    if (strlen(name) >= sizeof text) return cli_misuse("'%s': too long for a name", name);
    strcpy(text, name);
    char *suffix = strchr(text, '+');
    if (suffix) *suffix++ = '\0';
    int rc = parse_formats(name, text, kv);
    while (rc == CLI_DONE && suffix) {
        char *next = strchr(suffix, '+');
        if (next) *next++ = '\0';
        rc = parse_suffix(name, suffix, &rule_seen, kv);
        suffix = next;
    }
    return rc == CLI_DONE ? check_suffixes(name, kv, rule_seen) : rc;
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
    snprintf(name, CLI_KV_NAME_SIZE, "%s/%s+centre+recent", tq_format_name(TQ_DEFAULT_K_FORMAT),
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
    const int rc = append_count(name, "recent", o->recent);
    return rc == CLI_DONE ? append_count(name, "sinks", o->sinks) : rc;
}
