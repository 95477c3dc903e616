/* SPDX-License-Identifier: MIT
 * Any bytes as the name of a cache's configuration: refused, with the place and nothing changed, or what
 * it says has a name that says it too. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tqkv/cache.h"

static void check_again(const tq_cache_config *config) {
    const size_t counts[] = {config->centre_stretch, config->recent, config->sinks};
    const char *const words[] = {"centre", "recent", "sinks"};
    const bool one_for_all = config->learn_centre > 0 && config->centre_stretch == 0;
    const tq_norm_rule rule = config->layer.k.norm_rule;
    tq_cache_config again = {.size = sizeof again, .capacity = 7, .window = 5};
    char name[160];
    int used = snprintf(name, sizeof name, "%s/%s%s%s", tq_format_name(config->layer.k.format),
                        tq_format_name(config->layer.v.format), rule == TQ_NORM_DEFAULT ? "" : "+",
                        rule == TQ_NORM_DEFAULT ? "" : tq_norm_rule_name(rule));
    for (size_t i = 0; i < 3; i++)
        if (counts[i] > 0)
            used += snprintf(name + used, sizeof name - (size_t)used, "+%s=%zu", words[i], counts[i]);
    if (one_for_all) snprintf(name + used, sizeof name - (size_t)used, "+centre=all");
    REQUIRE(tq_cache_config_from_name(name, &again) == TQ_OK);
    REQUIRE(memcmp(&again, config, sizeof again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const tq_cache_config before = {.size = sizeof before, .capacity = 7, .window = 5};
    tq_cache_config config = before;
    char *name = malloc(size + 1); /* of its very size, so that a read beyond it shows */
    REQUIRE(name != NULL);
    memcpy(name, bytes, size);
    name[size] = '\0';
    const tq_status status = tq_cache_config_from_name(name, &config);
    if (status == TQ_OK) {
        check_again(&config);
    } else {
        REQUIRE(tq_last_error()->status == status);
        REQUIRE(strcmp(tq_last_error()->field, "name") == 0);
        REQUIRE(tq_last_error()->index <= strlen(name));
        REQUIRE(memcmp(&config, &before, sizeof config) == 0);
    }
    free(name);
    return 0;
}
