/* SPDX-License-Identifier: MIT
 * The option --device, in builds with and without CUDA. */
#include "base/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/message.h"

int cli_take_device(const cli_option *option, int *number) {
    const char *text = option->value;
    *number = CLI_CPU;
    if (!option->given || strcmp(text, "cpu") == 0) return CLI_DONE;
    if (strncmp(text, "cuda", 4) != 0 || (text[4] != '\0' && text[4] != ':'))
        return cli_misuse("--device: '%s' is none; there are cpu, cuda and cuda:N", text);
    *number = 0;
    if (text[4] == '\0') return CLI_DONE;
    const char *digits = text + 5;
    const size_t length = strspn(digits, "0123456789");
    const long n = length == 0 || length > 4 ? -1 : strtol(digits, NULL, 10);
    if (n < 0 || digits[length] != '\0')
        return cli_misuse("--device: '%s': a device's number is a whole one from 0 to %d, as in cuda:0",
                          text, CLI_MAX_DEVICE);
    *number = (int)n;
    return CLI_DONE;
}

static const char *const accuracies[] = {"fast", "exact"}; /* in the order of tq_cuda_accuracy */

int cli_take_accuracy(const cli_option *option, int number, bool *exact) {
    size_t accuracy = 0;
    TRY(cli_take_word(option, accuracies, 2, &accuracy));
    *exact = accuracy == 1;
    if (option->given && number == CLI_CPU)
        return cli_misuse("--accuracy does nothing without --device cuda");
    return CLI_DONE;
}

const char *cli_accuracy_name(bool exact) {
    return accuracies[exact];
}
