/* SPDX-License-Identifier: MIT
 * Names of norm rules on the command line and in reports. */
#ifndef TQKV_CLI_NAMES_H
#define TQKV_CLI_NAMES_H

#include <stdbool.h>

#include "tqkv/types.h"

const char *cli_norm_rule_name(tq_norm_rule rule);
bool cli_norm_rule_from_name(const char *name, tq_norm_rule *rule);

#endif
