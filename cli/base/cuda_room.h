/* SPDX-License-Identifier: MIT
 * Device memory of a call, what is copied there and back, and what is said where that fails: for the
 * sources that know of CUDA. */
#ifndef TQKV_CLI_CUDA_ROOM_H
#define TQKV_CLI_CUDA_ROOM_H

#include <cuda_runtime_api.h>

#include "base/device.h"
#include "tqkv/cuda.h"

struct cli_device {
    tq_cuda *cuda;
    int number;
    cli_device_timing *timing; /* NULL: nothing is timed */
};

/* Device memory of a call; zero-initialise and set the device. */
enum { CLI_ROOM_PARTS = 160 };
typedef struct cli_room {
    const cli_device *device;
    void *parts[CLI_ROOM_PARTS];
    size_t n;
} cli_room;

/* TQ_E_DEVICE with CUDA's words where it is no success. */
tq_status cli_check_cuda(const cli_device *device, cudaError_t error, const char *what);

/* What the library says of the device gets its name. Memory that ran out is the device's, not ours. */
tq_status cli_check_library(const cli_device *device, tq_status status);

/* Zeroed. */
tq_status cli_room_take(cli_room *r, size_t bytes, void **to);
void cli_room_free(cli_room *r);

tq_status cli_room_copy_in(const cli_room *r, void *to, const void *from, size_t bytes);

/* An error of a kernel that ran before is seen here. */
tq_status cli_room_copy_out(const cli_room *r, void *to, const void *from, size_t bytes);

/* Takes and copies; NULL stays NULL. */
tq_status cli_room_upload(cli_room *r, const void *from, size_t bytes, void **to);

/* The number of the stretch of a position held; 0 without stretches. */
size_t cli_stretch_of(const tq_encoded *e, size_t position);

/* Centres of the positions held, in their order: a ring of them may begin anywhere. n: values. */
tq_status cli_room_centres(cli_room *r, const tq_encoded *e, size_t *n, void **to);

#endif
