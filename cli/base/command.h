/* SPDX-License-Identifier: MIT
 * The sub-commands: what main() can run, what they are told, and what they return. */
#ifndef TQKV_CLI_COMMAND_H
#define TQKV_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "tqkv/types.h"

/* What the process ends with; 0 is what success is, here as in the library. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_MISUSE = 2 };

/* Returns what the call returned unless it went well. TRY_STATUS() where both return a tq_status. */
#define TRY(call)                                                                                        \
    do {                                                                                                 \
        const int rc_ = (call);                                                                          \
        if (rc_ != CLI_DONE) return rc_;                                                                 \
    } while (0)
#define TRY_STATUS(call)                                                                                 \
    do {                                                                                                 \
        const tq_status status_ = (call);                                                                \
        if (status_ != TQ_OK) return status_;                                                            \
    } while (0)

enum { CLI_MAX_OPTIONS = 20 };

/* An option as a command knows it. */
typedef struct cli_option_spec {
    const char *name;
    char letter;            /* 0: long form only */
    const char *value_name; /* NULL: the option takes no value */
    const char *help;
} cli_option_spec;

/* And as it was given. */
typedef struct cli_option {
    const char *name;
    bool given;
    char *value; /* NULL if not given, or without a value */
} cli_option;

typedef struct cli_args {
    cli_option options[CLI_MAX_OPTIONS]; /* in the order of the command's */
    const char **operands;
    size_t n_operands;
    bool helped; /* --help was given, and is answered */
    struct poptContext_s *context;
} cli_args;

typedef struct cli_command {
    const char *name;
    const char *summary;
    const char *synopsis; /* what follows the name in a usage line */
    const char *examples; /* whole lines, shown under --help */
    size_t min_operands, max_operands;
    const cli_option_spec *specs;
    size_t n_specs;
    unsigned needed; /* options that must be given, 1 << index each */
    int (*run)(const cli_args *args);
} cli_command;

extern const cli_command cli_encode_command, cli_decode_command, cli_info_command, cli_compare_command,
    cli_sweep_command, cli_requantize_command, cli_codebook_command, cli_formats_command,
    cli_kernels_command, cli_bench_command, cli_attend_command, cli_ablate_command, cli_eval_command,
    cli_generate_command;

/* Reads the command line. CLI_DONE, or CLI_MISUSE after a message; an option given twice is wrong use.
 * Release with cli_args_free() in every case. */
int cli_parse(cli_args *args, const cli_command *command, int argc, const char **argv);
void cli_args_free(cli_args *args);

/* What options say; what is not given leaves the value as it is. CLI_DONE, or CLI_MISUSE after a message
 * that names the option. */
int cli_take_count(const cli_option *option, size_t least, size_t most, size_t *value);
int cli_take_float(const cli_option *option, float *value);
int cli_take_format(const cli_option *option, tq_format *format);

/* One of n words: its index. */
int cli_take_word(const cli_option *option, const char *const *words, size_t n, size_t *index);

/* --bits N and --codebook v1|v2 (v2 if not given) as the format whose codebook it is. */
int cli_take_codebook(const cli_option *bits, const cli_option *codebook, tq_format *format);

#endif
