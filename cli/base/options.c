/* SPDX-License-Identifier: MIT
 * Command-line options of a sub-command, on top of popt. */
#include <assert.h>
#include <errno.h>
#include <popt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "tqkv/codec.h"

static void fill_table(cli_args *args, const cli_command *command, struct poptOption *table) {
    const size_t n = command->n_specs;
    for (size_t i = 0; i < n; i++) {
        const cli_option_spec *spec = &command->specs[i];
        args->options[i].name = spec->name;
        table[i] = (struct poptOption){
            .longName = spec->name,
            .shortName = spec->letter,
            .argInfo = spec->value_name ? POPT_ARG_STRING : POPT_ARG_NONE,
            .val = (int)i + 1,
            .descrip = spec->help,
            .argDescrip = spec->value_name,
        };
    }
    table[n] = (struct poptOption){.longName = "help",
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
    return CLI_DONE;
}

static int check_operands(cli_args *args, const cli_command *command) {
    args->operands = poptGetArgs(args->context);
    while (args->operands && args->operands[args->n_operands])
        args->n_operands++;
    if (args->n_operands < command->min_operands)
        return cli_misuse("a file name is missing: tqkv %s %s", command->name, command->synopsis);
    if (args->n_operands > command->max_operands)
        return cli_misuse("'%s' is one argument too many", args->operands[command->max_operands]);
    return CLI_DONE;
}

static int check_needed(const cli_args *args, const cli_command *command) {
    for (size_t i = 0; i < command->n_specs; i++) {
        const cli_option_spec *spec = &command->specs[i];
        if (args->options[i].given || !(command->needed >> i & 1)) continue;
        return spec->letter ? cli_misuse("-%c %s is missing", spec->letter, spec->value_name)
                            : cli_misuse("--%s %s is missing", spec->name, spec->value_name);
    }
    return CLI_DONE;
}

static int refuse_option(const cli_args *args, const cli_command *command, int error) {
    const char *option = poptBadOption(args->context, POPT_BADOPTION_NOALIAS);
    const bool device = strcmp(option, "--device") == 0 || strncmp(option, "--device=", 9) == 0;
    if (device && error == POPT_ERROR_BADOPT)
        return cli_misuse(
            "--device: %s works on the CPU; encode, decode, attend, ablate and bench take it",
            command->name);
    return cli_misuse("%s: %s", option, poptStrerror(error));
}

int cli_parse(cli_args *args, const cli_command *command, int argc, const char **argv) {
    static struct poptOption table[CLI_MAX_OPTIONS + 2]; /* popt keeps pointing at it */
    assert(command->n_specs <= CLI_MAX_OPTIONS);
    *args = (cli_args){0};
    fill_table(args, command, table);
    args->context = poptGetContext(NULL, argc, argv, table, 0);
    if (!args->context) return cli_out_of_memory();

    int next;
    while ((next = poptGetNextOpt(args->context)) > 0) {
        if ((size_t)next == command->n_specs + 1) {
            print_help(args, command);
            args->helped = true;
            return CLI_DONE;
        }
        TRY(take_option(&args->options[next - 1], poptGetOptArg(args->context)));
    }
    if (next < -1) return refuse_option(args, command, next);
    TRY(check_operands(args, command));
    return check_needed(args, command);
}

void cli_args_free(cli_args *args) {
    for (size_t i = 0; i < CLI_MAX_OPTIONS; i++)
        free(args->options[i].value);
    poptFreeContext(args->context);
    *args = (cli_args){0};
}

int cli_take_count(const cli_option *option, size_t least, size_t most, size_t *value) {
    const char *text = option->value;
    char *end = NULL;

    if (!option->given) return CLI_DONE;
    errno = 0;
    const unsigned long long whole = strtoull(text, &end, 10);
    /* strtoull() takes blanks and a minus sign too. */
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || whole > SIZE_MAX)
        return cli_misuse("--%s: '%s' is not a whole number from 0 to %zu", option->name, text,
                          (size_t)SIZE_MAX);
    if (whole < least || whole > most)
        return cli_misuse("--%s: %llu is not from %zu to %zu", option->name, whole, least, most);
    *value = (size_t)whole;
    return CLI_DONE;
}

int cli_take_float(const cli_option *option, float *value) {
    char *end = NULL;

    if (!option->given) return CLI_DONE;
    errno = 0;
    const float number = strtof(option->value, &end);
    if (end == option->value || *end != '\0' || errno != 0)
        return cli_misuse("--%s: '%s' is not a float32 number", option->name, option->value);
    *value = number;
    return CLI_DONE;
}

int cli_take_format(const cli_option *option, tq_format *format) {
    if (option->given && tq_format_from_name(option->value, format) != TQ_OK)
        return cli_misuse("--%s: '%s' is none; 'tqkv formats' lists them", option->name, option->value);
    return CLI_DONE;
}

int cli_take_word(const cli_option *option, const char *const *words, size_t n, size_t *index) {
    char all[128] = "";
    if (!option->given) return CLI_DONE;
    for (size_t i = 0, used = 0; i < n; i++) {
        if (strcmp(option->value, words[i]) == 0) {
            *index = i;
            return CLI_DONE;
        }
        const char *before = i == 0 ? "" : i + 1 < n ? ", " : " and ";
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", before, words[i]);
        assert(used < sizeof all);
    }
    return cli_misuse("--%s: '%s' is none; there are %s", option->name, option->value, all);
}

int cli_take_codebook(const cli_option *bits, const cli_option *codebook, tq_format *format) {
    static const char *const versions[] = {"v1", "v2"};
    size_t n_bits = 0, version = 1;
    char name[16];

    TRY(cli_take_count(bits, 0, SIZE_MAX, &n_bits));
    TRY(cli_take_word(codebook, versions, 2, &version));
    const bool is_v1 = version == 0;
    snprintf(name, sizeof name, "tq%u%s", n_bits < 100 ? (unsigned)n_bits : 100u, is_v1 ? "-v1" : "");
    if (tq_format_from_name(name, format) != TQ_OK)
        return cli_misuse("--bits: %zu is no size of a %s codebook; there are %s", n_bits,
                          versions[version], is_v1 ? "4, 5, 6 and 8" : "2 to 8");
    return CLI_DONE;
}
