/* SPDX-License-Identifier: MIT
 * A kernel compiled at run time by NVRTC, for exactly the shapes that are wanted, and kept in a folder.
 *
 * NVRTC is found when it is first needed and never linked: libnvrtc.so.13, libnvrtc.so.12 and libnvrtc.so
 * where the loader looks, then the same in /usr/local/cuda/lib64. $TQKV_NVRTC names another one, and then
 * none but that. What was found stays for the life of the process; what was not is looked for again.
 *
 * The cache (kernel_file.h) is looked at first. Its key is all that a result depends on: text, name,
 * options, architecture, the versions of NVRTC and of the driver. So NVRTC must be there for a kernel out
 * of the cache too. No problem with the cache is an error: what cannot be read is compiled, what cannot
 * be written is compiled again next time.
 *
 * Calls may come from several threads and processes at once; who meets at an empty cache compiles twice.
 */
#ifndef TQ_CUDA_JIT_H
#define TQ_CUDA_JIT_H

#include "kernel_file.h"
#include "tqkv/cuda_attention.h"

typedef struct tq_cuda_jit_request {
    const char *source;         /* CUDA C++, which includes nothing */
    const char *name;           /* name expression of the kernel, such as "tq_attend<128, 4, 4>" */
    const char *const *options; /* [n_options] NVRTC's, without -arch */
    size_t n_options;
    int major, minor;      /* compute capability, of the device that runs it */
    const char *cache_dir; /* as in tq_cuda_attention_config */
} tq_cuda_jit_request;

typedef struct tq_cuda_jit_result {
    tq_cuda_kernel kernel;
    tq_cuda_origin origin; /* TQ_CUDA_CACHED or TQ_CUDA_COMPILED */
    double seconds;        /* that the call took */
} tq_cuda_jit_result;

/* The result is for tq_cuda_jit_free(); empty on failure. TQ_E_NULL; TQ_E_OVERFLOW; TQ_E_NO_MEMORY;
 * TQ_E_DEVICE if there is no NVRTC (and where it was looked for) or it refuses (in its words). */
tq_status tq_cuda_jit(const tq_cuda_jit_request *request, tq_cuda_jit_result *result);

/* NULL, or what is empty: nothing to do. */
void tq_cuda_jit_free(tq_cuda_jit_result *result);

#endif
