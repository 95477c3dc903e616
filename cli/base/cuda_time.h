/* SPDX-License-Identifier: MIT
 * Times work on a CUDA device by events, beside copies within its memory. */
#ifndef TQKV_CLI_CUDA_TIME_H
#define TQKV_CLI_CUDA_TIME_H

#include "base/cuda_room.h"

/* Enqueues the work on set number `set` of its data, on the default stream. */
typedef tq_status cli_launch(void *work, size_t set);

/* How many sets of so many bytes go round before a cache of the device has room for one again, and no
 * more than CLI_MOST_SETS. */
enum { CLI_MOST_SETS = 32 };
tq_status cli_count_sets(const cli_device *device, size_t bytes, size_t *n);

/* Fills in the device's timing, if it has one: sets are gone round. */
tq_status cli_time_launches(cli_room *r, cli_launch *launch, void *work, size_t n_sets);

#endif
