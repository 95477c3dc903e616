/* SPDX-License-Identifier: MIT
 * Names of norm rules on the command line and in reports. */
#include "names.h"

#include <stddef.h>
#include <string.h>

static const char *const norm_rules[] = {
    [TQ_NORM_PLAIN] = "plain", [TQ_NORM_MATCHED] = "matched", [TQ_NORM_UNBIASED] = "unbiased"};

const char *cli_norm_rule_name(tq_norm_rule rule) {
    return norm_rules[rule];
}

bool cli_norm_rule_from_name(const char *name, tq_norm_rule *rule) {
    for (size_t i = 0; i < sizeof norm_rules / sizeof norm_rules[0]; i++) {
        if (strcmp(norm_rules[i], name) == 0) {
            *rule = (tq_norm_rule)i;
            return true;
        }
    }
    return false;
}
