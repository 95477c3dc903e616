/* SPDX-License-Identifier: MIT
 * The sub-commands: what main() can run, and what they return. */
#ifndef TQKV_CLI_COMMAND_H
#define TQKV_CLI_COMMAND_H

#include <stddef.h>

/* What the process ends with. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_MISUSE = 2 };

typedef struct cli_command {
    const char *name;
    const char *summary;
    const char *synopsis; /* what follows the name in a usage line */
    const char *examples; /* whole lines, shown under --help */
    size_t min_operands;
    size_t max_operands;
    int (*run)(const struct cli_command *command, int argc, const char **argv);
} cli_command;

extern const cli_command cli_encode_command;
extern const cli_command cli_decode_command;
extern const cli_command cli_info_command;
extern const cli_command cli_compare_command;
extern const cli_command cli_sweep_command;
extern const cli_command cli_requantize_command;
extern const cli_command cli_codebook_command;
extern const cli_command cli_formats_command;
extern const cli_command cli_kernels_command;
extern const cli_command cli_bench_command;
extern const cli_command cli_attend_command;
extern const cli_command cli_ablate_command;
extern const cli_command cli_eval_command;
extern const cli_command cli_generate_command;

#endif
