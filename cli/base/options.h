/* SPDX-License-Identifier: MIT
 * Command-line options of a sub-command, on top of popt. */
#ifndef TQKV_CLI_OPTIONS_H
#define TQKV_CLI_OPTIONS_H

#include <popt.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/command.h"
#include "tqkv/types.h"

enum { CLI_MAX_OPTIONS = 16, CLI_GO_ON = -1 };

typedef struct cli_option {
    const char *name;
    char letter;            /* 0: long form only */
    const char *value_name; /* NULL: the option takes no value */
    const char *help;
    bool given;
    char *value; /* owned, freed by cli_args_free() */
} cli_option;

typedef struct cli_args {
    poptContext context;
    struct poptOption table[CLI_MAX_OPTIONS + 2];
    cli_option *options;
    size_t n_options;
    const char **operands;
    size_t n_operands;
} cli_args;

/* Reads the command line. CLI_GO_ON, or the exit status to end with: CLI_DONE after --help, CLI_MISUSE
 * after a message. An option given twice is wrong use. Release with cli_args_free() in every case. */
int cli_parse(cli_args *args, const cli_command *command, int argc, const char **argv,
              cli_option *options, size_t n_options);

void cli_args_free(cli_args *args);

/* Whole, strict numbers. CLI_GO_ON, or CLI_MISUSE after a message that names the option. */
int cli_parse_count(const cli_option *option, size_t *value);
int cli_parse_float(const cli_option *option, float *value);

/* --bits N and --codebook v1|v2 (v2 if not given) as the format whose codebook it is. */
int cli_parse_codebook(const cli_option *bits, const cli_option *codebook, tq_format *format);

#endif
