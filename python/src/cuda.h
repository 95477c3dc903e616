/* SPDX-License-Identifier: MIT
 * What the files of CUDA calls share: libtqkv_cuda, which is opened when the first CUDA tensor comes, and
 * arrays on a device. */
#ifndef TQKV_PYTHON_CUDA_H
#define TQKV_PYTHON_CUDA_H

#include "core.h"
#include "tqkv/cuda_attention.h"

/** What is called of the library: name, result, parameters. */
#define CORE_CUDA_CALLS(CALL)                                                                            \
    CALL(count, int, (void))                                                                             \
    CALL(describe, tq_status, (int, tq_cuda_info *))                                                     \
    CALL(open, tq_status, (int, tq_cuda **))                                                             \
    CALL(encode, tq_status, (tq_cuda *, const tq_cuda_encode_params *, void *))                          \
    CALL(decode, tq_status,                                                                              \
         (tq_cuda *, const tq_codec *, const tq_batch *, tq_domain, const void *, size_t, const void *,  \
          size_t, const uint16_t *, size_t, tq_type, void *, size_t, void *))                            \
    CALL(attention_plan, tq_status,                                                                      \
         (tq_cuda *, const tq_cuda_attention_config *, tq_cuda_attention **, tq_cuda_attention_info *))  \
    CALL(attention_free, void, (tq_cuda_attention *))                                                    \
    CALL(attention_run, tq_status,                                                                       \
         (const tq_cuda_attention *, const tq_cuda_attention_batch *, void *, size_t, void *))

/** The functions of libtqkv_cuda without their tq_cuda_; all NULL until it is opened. */
typedef struct core_cuda_library {
#define CALL(name, result, parameters) result(*name) parameters;
    CORE_CUDA_CALLS(CALL)
#undef CALL
    const tq_error *(*last_error)(void); /* its own: it has a libtqkv of its own */
} core_cuda_library;

/** The library. cuda_load() has been called: NULL with an exception if not. */
const core_cuda_library *core_cuda(void);

/** A device's handle, made with the first call for it and kept. NULL with an exception. */
tq_cuda *core_cuda_device(int device);

/** A status of libtqkv_cuda's as one of ours, with its words. */
tq_status core_cuda_status(tq_status status);

/** Where and when a call works: a device's number, and a stream that core_array_get() asks exporters for.
 */
typedef struct core_cuda_place {
    int device;
    PyObject *stream_given; /* borrowed */
    void *stream;
} core_cuda_place;

/** Reads (device, stream), the stream as DLPack has it: 1 is the default one. -1 with an exception. */
int core_cuda_place_get(PyObject *tuple, core_cuda_place *place);

/** core_array_get() of an array on the place's device: TqkvError DEVICE if it lies elsewhere. */
int core_cuda_array(PyObject *o, core_array *a, const char *field, unsigned kinds, bool writable,
                    int least, int most, const core_cuda_place *place);

/** The same of an array that lies side by side, or of None, which leaves it empty. */
int core_cuda_packed(PyObject *o, core_array *a, const char *field, unsigned kinds, int n_dims,
                     const core_cuda_place *place);

#endif
