/* SPDX-License-Identifier: MIT
 * What a process needs before it opens its first file: safe standard streams and signal handlers. */
#ifndef TQKV_CLI_PROCESS_H
#define TQKV_CLI_PROCESS_H

/* Returns 0, or -1 with errno set. */
int cli_process_prepare(void);

#endif
