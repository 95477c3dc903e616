/* SPDX-License-Identifier: MIT
 * Plain tensors from files: .npy, or one of a .safetensors file, as FILE:NAME. */
#ifndef TQKV_CLI_TENSOR_H
#define TQKV_CLI_TENSOR_H

#include "base/input.h"
#include "tqkv/io.h"

/* Reads a .npy file, or the tensor NAME of the .safetensors file in FILE:NAME: F32, F16 or BF16. NAME may
 * be left away where the file holds one alone. CLI_DONE, or CLI_FAILED after a message; one about a name
 * that is not there says which are. tensor: release with tq_tensor_free() after CLI_DONE. */
int cli_read_tensor(const char *path, tq_tensor *tensor);

/* The same of a file that was read. */
int cli_parse_tensor(const cli_input *input, tq_tensor *tensor);

#endif
