/* SPDX-License-Identifier: MIT
 * Command-line options of a sub-command, on top of popt. */
#include "base/options.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "tqkv/codec.h"

static void fill_table(cli_args *args) {
    const size_t n = args->n_options;
    for (size_t i = 0; i < n; i++) {
        const cli_option *option = &args->options[i];
        args->table[i] = (struct poptOption){
            .longName = option->name,
            .shortName = option->letter,
            .argInfo = option->value_name ? POPT_ARG_STRING : POPT_ARG_NONE,
            .val = (int)i + 1,
            .descrip = option->help,
            .argDescrip = option->value_name,
        };
    }
    args->table[n] = (struct poptOption){.longName = "help",
                                         .shortName = 'h',
                                         .argInfo = POPT_ARG_NONE,
                                         .val = (int)n + 1,
                                         .descrip = "show this text"};
}

static void print_help(const cli_args *args, const cli_command *command) {
    char synopsis[256];
    /* popt prints the usage line and the aligned options; it has no place for prose. */
    snprintf(synopsis, sizeof synopsis, "%s\n\n%s\n", command->synopsis, command->summary);
    poptSetOtherOptionHelp(args->context, synopsis);
    poptPrintHelp(args->context, stdout, 0);
    printf("\nExamples:\n%s", command->examples);
}

static int take_option(cli_option *option, char *value) {
    if (option->given) {
        free(value);
        return cli_misuse("--%s is given twice", option->name);
    }
    option->given = true;
    option->value = value;
    return CLI_GO_ON;
}

static int check_operands(cli_args *args, const cli_command *command) {
    args->operands = poptGetArgs(args->context);
    while (args->operands && args->operands[args->n_operands])
        args->n_operands++;
    if (args->n_operands < command->min_operands)
        return cli_misuse("a file name is missing: tqkv %s %s", command->name, command->synopsis);
    if (args->n_operands > command->max_operands)
        return cli_misuse("'%s' is one argument too many", args->operands[command->max_operands]);
    return CLI_GO_ON;
}

int cli_parse(cli_args *args, const cli_command *command, int argc, const char **argv,
              cli_option *options, size_t n_options) {
    assert(n_options <= CLI_MAX_OPTIONS);
    memset(args, 0, sizeof *args);
    args->options = options;
    args->n_options = n_options;
    fill_table(args);
    args->context = poptGetContext(NULL, argc, argv, args->table, 0);
    if (!args->context) return cli_out_of_memory();

    int next;
    while ((next = poptGetNextOpt(args->context)) > 0) {
        if ((size_t)next == n_options + 1) {
            print_help(args, command);
            return CLI_DONE;
        }
        const int rc = take_option(&options[next - 1], poptGetOptArg(args->context));
        if (rc != CLI_GO_ON) return rc;
    }
    if (next < -1) {
        return cli_misuse("%s: %s", poptBadOption(args->context, POPT_BADOPTION_NOALIAS),
                          poptStrerror(next));
    }
    return check_operands(args, command);
}

void cli_args_free(cli_args *args) {
    for (size_t i = 0; i < args->n_options; i++) {
        free(args->options[i].value);
        args->options[i].value = NULL;
    }
    poptFreeContext(args->context);
    args->context = NULL;
}

int cli_parse_count(const cli_option *option, size_t *value) {
    const char *text = option->value;
    char *end = NULL;

    errno = 0;
    const unsigned long long whole = strtoull(text, &end, 10);
    /* strtoull() takes blanks and a minus sign too. */
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || whole > SIZE_MAX) {
        return cli_misuse("--%s: '%s' is not a whole number from 0 to %zu", option->name, text,
                          (size_t)SIZE_MAX);
    }
    *value = (size_t)whole;
    return CLI_GO_ON;
}

int cli_parse_float(const cli_option *option, float *value) {
    char *end = NULL;

    errno = 0;
    const float number = strtof(option->value, &end);
    if (end == option->value || *end != '\0' || errno != 0)
        return cli_misuse("--%s: '%s' is not a float32 number", option->name, option->value);
    *value = number;
    return CLI_GO_ON;
}

int cli_parse_codebook(const cli_option *bits, const cli_option *codebook, tq_format *format) {
    const char *version = codebook->given ? codebook->value : "v2";
    size_t n_bits = 0;
    char name[16];

    if (!bits->given) return cli_misuse("--bits N is missing");
    const int rc = cli_parse_count(bits, &n_bits);
    if (rc != CLI_GO_ON) return rc;
    if (strcmp(version, "v1") != 0 && strcmp(version, "v2") != 0)
        return cli_misuse("--codebook: '%s' is none; there are v1 and v2", version);
    const int is_v1 = version[1] == '1';
    snprintf(name, sizeof name, "tq%u%s", n_bits < 100 ? (unsigned)n_bits : 100u, is_v1 ? "-v1" : "");
    if (tq_format_from_name(name, format) != TQ_OK) {
        return cli_misuse("--bits: %zu is no size of a %s codebook; there are %s", n_bits, version,
                          is_v1 ? "4, 5, 6 and 8" : "2 to 8");
    }
    return CLI_GO_ON;
}
