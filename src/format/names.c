/* SPDX-License-Identifier: MIT
 * Formats and norm rules by name. */
#include <string.h>

#include "base/arch.h"
#include "tqkv/codec.h"

static const struct {
    const char *name;
    tq_format format;
} names[] = {
    {"tq2", TQ_TQ2},       {"tq3", TQ_TQ3},       {"tq4", TQ_TQ4},       {"tq5", TQ_TQ5},
    {"tq6", TQ_TQ6},       {"tq7", TQ_TQ7},       {"tq8", TQ_TQ8},       {"tq4-v1", TQ_TQ4_V1},
    {"tq5-v1", TQ_TQ5_V1}, {"tq6-v1", TQ_TQ6_V1}, {"tq8-v1", TQ_TQ8_V1},
};

enum { N_FORMATS = sizeof names / sizeof names[0] };

const tq_format *tq_formats(size_t *count) {
    static const tq_format all[N_FORMATS] = {TQ_TQ2, TQ_TQ3,    TQ_TQ4,    TQ_TQ5,    TQ_TQ6,   TQ_TQ7,
                                             TQ_TQ8, TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};
    if (count != NULL) *count = N_FORMATS;
    return all;
}

const char *tq_format_name(tq_format format) {
    for (size_t i = 0; i < N_FORMATS; i++)
        if (names[i].format == format) return names[i].name;
    return NULL;
}

unsigned tq_format_bits(tq_format format) {
    return tq_format_name(format) == NULL ? 0 : (unsigned)format & 0xff;
}

tq_status tq_format_from_name(const char *name, tq_format *format) {
    if (name == NULL || format == NULL)
        return tq_fail(TQ_E_NULL, 0, name == NULL ? "name" : "format", "the name or its place is NULL");
    for (size_t i = 0; i < N_FORMATS; i++)
        if (strcmp(names[i].name, name) == 0) {
            *format = names[i].format;
            return TQ_OK;
        }
    return tq_fail(TQ_E_FORMAT, 0, "format",
                   "no format '%.40s': there are tq2 to tq8, and tq4-v1, tq5-v1, "
                   "tq6-v1, tq8-v1",
                   name);
}

static const char *const rules[] = {
    [TQ_NORM_PLAIN] = "plain", [TQ_NORM_MATCHED] = "matched", [TQ_NORM_UNBIASED] = "unbiased"};

enum { N_RULES = sizeof rules / sizeof rules[0] };

tq_norm_rule tq_norm_rule_of(tq_format format, tq_norm_rule rule) {
    if (rule != TQ_NORM_DEFAULT || tq_format_name(format) == NULL) return rule;
    return TQ_IS_V1(format) ? TQ_NORM_PLAIN : TQ_NORM_MATCHED;
}

const char *tq_norm_rule_name(tq_norm_rule rule) {
    return (unsigned)rule < N_RULES ? rules[rule] : NULL;
}

tq_status tq_norm_rule_from_name(const char *name, tq_norm_rule *rule) {
    if (name == NULL || rule == NULL)
        return tq_fail(TQ_E_NULL, 0, name == NULL ? "name" : "rule", "the name or its place is NULL");
    for (unsigned i = TQ_NORM_DEFAULT + 1; i < N_RULES; i++)
        if (strcmp(rules[i], name) == 0) {
            *rule = (tq_norm_rule)i;
            return TQ_OK;
        }
    return tq_fail(TQ_E_NORM_RULE, 0, "norm_rule",
                   "no norm rule '%.40s': there are plain, matched and unbiased", name);
}
