/* SPDX-License-Identifier: MIT
 * Which rows an evaluation has: a list of names and groups made into ways to keep keys and values. */
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"

/* In the order of tables. 'main', what people choose between, are those without a star. */
static const char *const names[] = {
    "float32",
    "float16",
    "tq8",
    "tq8+centre",
    CLI_EVAL_DEFAULT,
    /* what each helper of the default is worth */
    "tq6/tq4+recent+sinks",
    "tq6/tq4+centre+sinks",
    "tq6/tq4+centre+recent",
    "*tq6/tq4+centre=all+recent+sinks",
    "*tq6/tq4+centre+recent+sinks+edge=1",
    /* and other formats with them */
    "tq6/tq5+centre+recent+sinks",
    "tq5+centre+recent+sinks",
    "tq4+centre+recent+sinks",
    "tq3+centre+recent+sinks",
    "*tq7",
    "*tq6",
    "*tq5",
    "tq4",
    "*tq3",
    "*tq2",
    "*tq8/tq4",
    "*tq8-v1",
    "*tq6-v1",
    "*tq5-v1",
    "*tq4-v1",
    "*k-tq4",
    "*v-tq4",
    "*k-tq4+centre",
    "*tq6+centre",
    "*tq4+centre",
    "*tq4+centre=all",
    "*tq4+recent",
    "*tq4+centre+recent",
    "*tq4+plain",
    "*tq4+unbiased",
    "q8_0",
    "q8_0+rotate",
    "*q5_0",
    "q5_0+rotate",
    "q4_0",
    "q4_0+rotate",
    "q4_0+rotate+recent+sinks",
    "q4_0+rotate+centre+recent+sinks",
    "*iq4_nl",
    "iq4_nl+rotate",
};

/* Rows of a group that the model cannot serve, for one note about all. */
typedef struct left_out {
    char names[256];
    char why[128];
} left_out;

static int add_name(cli_eval *eval, const char *name, left_out *out) {
    char why[128];
    cli_eval_row row = {0};
    if (cli_eval_find(eval, name)) return CLI_DONE;
    TRY(cli_parse_kv(name, &row.kv));
    if (!cli_kv_serves(&row.kv, eval->model, why, sizeof why)) {
        if (!out) return cli_misuse("'%s': %s", name, why);
        const size_t length = strlen(out->names);
        snprintf(out->names + length, sizeof out->names - length, "%s%s", length ? ", " : "", name);
        memcpy(out->why, why, sizeof why);
        return CLI_DONE;
    }
    if (eval->n_rows == CLI_EVAL_MAX_ROWS) return cli_misuse("more than %d formats", CLI_EVAL_MAX_ROWS);
    snprintf(row.name, sizeof row.name, "%s", name);
    eval->rows[eval->n_rows++] = row;
    return CLI_DONE;
}

static int add_group(cli_eval *eval, bool all) {
    left_out out = {"", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const bool starred = names[i][0] == '*';
        if (all || !starred) TRY(add_name(eval, names[i] + starred, &out));
    }
    if (out.names[0]) cli_note("%s: %s", out.names, out.why);
    return CLI_DONE;
}

int cli_eval_add_rows(cli_eval *eval, const char *list) {
    TRY(add_name(eval, "float32", NULL));
    for (const char *from = list, *comma; from; from = comma ? comma + 1 : NULL) {
        char name[CLI_KV_NAME_SIZE];
        comma = strchr(from, ',');
        const size_t length = comma ? (size_t)(comma - from) : strlen(from);
        if (length == 0 || length >= sizeof name)
            return cli_misuse("'%s': a name between commas is %s", list, length ? "too long" : "missing");
        memcpy(name, from, length);
        name[length] = '\0';
        const bool all = strcmp(name, "all") == 0;
        TRY(all || strcmp(name, "main") == 0 ? add_group(eval, all) : add_name(eval, name, NULL));
    }
    return CLI_DONE;
}
