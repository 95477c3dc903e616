/* SPDX-License-Identifier: MIT
 * NVRTC's interface as far as it is used, found when it is first asked for. Its header is not needed to
 * build this: these calls have been the same since CUDA 11.1. */
#ifndef TQ_CUDA_NVRTC_H
#define TQ_CUDA_NVRTC_H

#include <stddef.h>

#include "tqkv/status.h"

typedef struct _nvrtcProgram *tq_nvrtc_program;

/* Each returns 0, or a number for error_string(). */
typedef struct tq_nvrtc {
    int (*version)(int *major, int *minor);
    const char *(*error_string)(int error);
    int (*create)(tq_nvrtc_program *program, const char *source, const char *name, int n_headers,
                  const char *const *headers, const char *const *header_names);
    int (*destroy)(tq_nvrtc_program *program);
    int (*add_name)(tq_nvrtc_program program, const char *name);
    int (*compile)(tq_nvrtc_program program, int n_options, const char *const *options);
    int (*log_size)(tq_nvrtc_program program, size_t *n);
    int (*log)(tq_nvrtc_program program, char *log);
    int (*lowered_name)(tq_nvrtc_program program, const char *name, const char **lowered);
    int (*cubin_size)(tq_nvrtc_program program, size_t *n);
    int (*cubin)(tq_nvrtc_program program, char *cubin);
    int major, minor;
} tq_nvrtc;

/* *nvrtc is there for good, and for all threads. TQ_E_DEVICE: jit.h says where it is looked for. */
tq_status tq_nvrtc_find(const tq_nvrtc **nvrtc);

#endif
