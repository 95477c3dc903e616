/* SPDX-License-Identifier: MIT
 * The cache folder: a file for each kernel that was compiled. May be removed at any time.
 *
 * A file, numbers little-endian:
 *
 *     magic "tqkvjit\n"                      8 bytes
 *     version of this format                 u32
 *     0                                      u32
 *     bytes of key, name and cubin           3 u64
 *     key, name, cubin
 *     XXH3-64 of all bytes before            u64
 *
 * Its own name is only a hash of the key: it is believed if the key that it holds is the key byte for
 * byte, and everything else is as it was written. Files appear whole, by a rename, so that processes that
 * read and write at once never see half of one. They hold code: who may write to the folder decides what
 * runs, and a folder that is made is its owner's alone. */
#ifndef TQ_CUDA_KERNEL_FILE_H
#define TQ_CUDA_KERNEL_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* A compiled kernel. */
typedef struct tq_cuda_kernel {
    void *cubin; /* [n], malloc()ed */
    size_t n;
    char *name; /* that the cubin has it under, malloc()ed */
} tq_cuda_kernel;

/* Leaves it empty. */
void tq_cuda_kernel_free(tq_cuda_kernel *kernel);

/* All that a kernel depends on. */
typedef struct tq_cuda_key {
    const char *bytes;
    size_t n;
} tq_cuda_key;

/* Of the environment; NULL if it is not set, or must not be heeded since the program runs with the rights
 * of somebody else than who called it. */
const char *tq_cuda_environment(const char *name);

/* Where the kernel of this key is kept, for free(). NULL: nowhere, or no memory.
 *
 * cache_dir   as in tq_cuda_attention_config; $TQKV_CUDA_CACHE may be "" too. $XDG_CACHE_HOME and $HOME
 *             that are no absolute paths are passed over */
char *tq_cuda_kernel_path(const char *cache_dir, const tq_cuda_key *key);

/* False, and nothing in *kernel, if it is not there as it should be. */
bool tq_cuda_kernel_load(const char *path, const tq_cuda_key *key, tq_cuda_kernel *kernel);

/* Makes the folder if there is none. False if it could not be kept; then nothing is left behind. */
bool tq_cuda_kernel_store(const char *path, const tq_cuda_key *key, const tq_cuda_kernel *kernel);

#endif
