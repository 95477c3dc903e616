/* SPDX-License-Identifier: MIT
 * The tqkv command: finds the sub-command and runs it. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "base/message.h"
#include "base/process.h"
#include "tqkv/cpu.h"
#include "tqkv/version.h"

static const cli_command *const commands[] = {
    &cli_encode_command,  &cli_decode_command,     &cli_info_command,     &cli_compare_command,
    &cli_sweep_command,   &cli_requantize_command, &cli_codebook_command, &cli_formats_command,
    &cli_kernels_command, &cli_bench_command,      &cli_attend_command,   &cli_ablate_command,
    &cli_eval_command,    &cli_generate_command,
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *stream) {
    fprintf(stream, "Usage: tqkv COMMAND [OPTION...] [FILE...]\n\n"
                    "Keeps a transformer's KV cache in 2 to 8 bits a value.\n\nCommands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(stream, "  %-12s%s\n", commands[i]->name, commands[i]->summary);
    fputs("\n'tqkv COMMAND --help' shows a command's options and examples.\n"
          "'tqkv --version' shows the version.\n"
          "Exit status: 0 done, 1 failed, 2 wrong use.\n",
          stream);
}

static const cli_command *find_command(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int run_command(const cli_command *command, int argc, char **argv) {
    char shown_name[64];
    cli_args args;
    snprintf(shown_name, sizeof shown_name, "tqkv %s", command->name);
    argv[1] = shown_name; /* what popt shows in the usage line */
    cli_set_command_name(command->name);
    /* Also for commands that would not notice: a wrong TQKV_ISA is a mistake everywhere. */
    tq_isa isa;
    if (tq_isa_active(&isa) != TQ_OK) return cli_misuse("%s", tq_last_error()->message);
    int rc = cli_parse(&args, command, argc - 1, (const char **)(void *)(argv + 1));
    if (rc == CLI_DONE && !args.helped) rc = command->run(&args);
    cli_args_free(&args);
    return rc;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return CLI_MISUSE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return CLI_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tqkv %s\n", tq_version());
        return CLI_DONE;
    }
    const cli_command *command = find_command(argv[1]);
    if (!command) return cli_misuse("there is no command '%s'", argv[1]);
    return run_command(command, argc, argv);
}

int main(int argc, char **argv) {
    if (cli_process_prepare() == -1) return cli_fail("cannot start: %s", strerror(errno));
    setlocale(LC_CTYPE, ""); /* names in the user's script; numbers stay in C's */
    const int rc = run(argc, argv);
    return rc == CLI_DONE ? cli_flush_output() : rc;
}
