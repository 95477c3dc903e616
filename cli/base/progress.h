/* SPDX-License-Identifier: MIT
 * A progress bar on standard error: on a terminal only, and only for work of more than a second. */
#ifndef TQKV_CLI_PROGRESS_H
#define TQKV_CLI_PROGRESS_H

#include <stddef.h>

/* Starts measuring work of `total` units. */
void cli_progress_begin(const char *label, size_t total);

/* Tells that `units` more are done; draws when it is time to. Any task may. */
void cli_progress_add(size_t units);

/* Wipes the bar. Harmless when there is none. */
void cli_progress_end(void);

#endif
