/* SPDX-License-Identifier: MIT
 * A device, and formats as its kernels take them. */
#ifndef TQ_CUDA_DEVICE_H
#define TQ_CUDA_DEVICE_H

#include <driver_types.h>

#include "format/plan.h"
#include "launch.h"
#include "tqkv/cuda.h"

struct tq_cuda {
    int device;
    char name[256]; /* as long as CUDA has them */
    int major, minor;
    unsigned multiprocessors;
    size_t shared_bytes; /* that a block may have */
    uint8_t *tables;     /* device memory: books of the formats, their cells, cas of rotations, and
                            attention's entries */
    float factors[TQ_CUDA_BOOKS]; /* of the entries */
};

/* A format at a head dimension, checked as encoders and decoders do, with the device's tables. */
tq_status tq_cuda_plan_init(const tq_cuda *cuda, const tq_codec *codec, tq_plan *plan, tq_cuda_plan *out);

/* A format's table for attention (attend/tables.h), and what its centroids were multiplied by. */
const uint32_t *tq_cuda_entries(const tq_cuda *cuda, tq_format format, float *factor);

/* The current device while a call lasts. */
typedef struct tq_cuda_scope {
    int before;
} tq_cuda_scope;
tq_status tq_cuda_enter(tq_cuda_scope *scope, const tq_cuda *cuda);
/* Goes back; the error of a launch, or what it could not be gone back for. */
tq_status tq_cuda_leave(const tq_cuda_scope *scope, int error);

tq_status tq_cuda_fail(cudaError_t error, const char *what);

#endif
