/* SPDX-License-Identifier: MIT
 * What the files of the extension module libtqkv._core share. Limited API of Python 3.11: one build
 * serves that and all later versions. Of the library it sees the public headers. */
#ifndef TQKV_PYTHON_CORE_H
#define TQKV_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tqkv/io.h"
#include "tqkv/tqkv.h"

/* errors.c */

/** Reads libtqkv.errors. -1 with an exception on failure. */
int core_errors_begin(void);

/** Raises what the library last said on this thread. Returns NULL. */
PyObject *core_raise(tq_status status);

/* What a call without a result returns: None; NULL where it was not ready for it, which has been raised,
 * or it failed. */
PyObject *core_done(bool ready, tq_status status);

/** Raises TqkvError with the words given, the library's way. Returns NULL. */
#define core_refuse(...) core_raise(tq_fail(__VA_ARGS__))

/* arguments.c */

/** Arguments of a METH_FASTCALL | METH_KEYWORDS call: names[n], of which the first `positional` may come
 * without theirs and the first `needed` must be there. What is not given, or None, is NULL in out[n]. -1
 * with a TypeError on failure. */
int core_arguments(const char *function, PyObject *const *args, Py_ssize_t n_args, PyObject *names_given,
                   const char *const *names, int n, int positional, int needed, PyObject **out);

/** Numbers of optional arguments: `usual` for NULL. -1 with an exception if they do not fit; a negative
 * number is TQ_E_POSITION with the field's name. */
int core_size(PyObject *o, const char *field, uint64_t usual, uint64_t *out);
int core_float(PyObject *o, float usual, float *out);
int core_bool(PyObject *o, bool usual, bool *out);

/* array.c, dlpack.c and result.c */

#define CORE_MAX_DIMS 5

/** What an array holds; the first three are tq_type's. */
typedef enum core_kind {
    CORE_F32 = TQ_F32,
    CORE_F16 = TQ_F16,
    CORE_BF16 = TQ_BF16,
    CORE_U8,
    CORE_U16,
    CORE_I32,
    CORE_I64,
    CORE_KINDS
} core_kind;

/** Kinds that an argument may have. */
#define CORE_BIT(kind) (1u << (kind))
#define CORE_FLOATS    (CORE_BIT(CORE_F32) | CORE_BIT(CORE_F16) | CORE_BIT(CORE_BF16))

/** An array of the caller's, where it lies: nothing is copied. Zero-initialised, it holds nothing. */
typedef struct core_array {
    const char *field;
    void *data;
    core_kind kind;
    size_t item;
    int n_dims;
    size_t shape[CORE_MAX_DIMS];
    size_t
        stride[CORE_MAX_DIMS]; /* in elements; of dimensions of 1 or less what lying side by side gives */
    size_t n;                  /* elements from the first to the last, both included; 0: there are none */
    PyObject *keeper;          /* of a DLPack capsule */
    PyObject *stream; /* borrowed; not NULL: it must lie on the CUDA device `device`, and is asked for
                         in the order of this stream. NULL: on the CPU */
    int device;
    Py_buffer buffer; /* buffer.obj: NULL if there is none */
} core_array;

/** "float32" and so on. */
const char *core_kind_name(core_kind kind);

/** Takes hold of an array: by the buffer protocol, by the view that a bfloat16 of ml_dtypes has as
 * uint16, or by DLPack, on the CPU; or with a->stream set by DLPack, on a CUDA device.
 *
 * kinds      bits of CORE_BIT()
 * writable   whether it is an output
 * least, most   dimensions
 *
 * -1 with an exception: TypeError for what is no array, TqkvError with the field's name for one of a
 * wrong type (TQ_E_FORMAT), dimensions (TQ_E_SIZE), strides that are negative, 0 or no whole elements, or
 * an innermost dimension that is not side by side (TQ_E_STRIDE), another device (TQ_E_DEVICE), one that
 * may not be written (TQ_E_UNSUPPORTED). */
int core_array_get(PyObject *o, core_array *a, const char *field, unsigned kinds, bool writable,
                   int least, int most);

/** Lets go. Fine for one that holds nothing. */
void core_array_release(core_array *a);

/** Checks strides and sizes once kind, item, n_dims, shape and byte strides are known. */
int core_array_finish(core_array *a, const int64_t *byte_strides);

/** DLPack's part of core_array_get(): fills in the array but for what core_array_finish() does. */
int core_dlpack_get(PyObject *o, core_array *a, bool writable, int64_t *byte_strides);
void core_dlpack_release(core_array *a);

/** Whether shape[at] is n; raises TQ_E_SIZE. */
int core_array_expect(const core_array *a, int at, size_t n, const char *what);

/** A new array for results, of like's library (torch's for a tensor, else NumPy's). `kind` a float or
 * CORE_U8, CORE_U16. NULL with an exception. */
PyObject *core_array_new(PyObject *like, core_kind kind, int n_dims, const size_t *shape);

/* pool.c and workspace.c */

/** Threads that calls work on, 1 to CORE_MAX_THREADS, the calling one counted. */
#define CORE_MAX_THREADS 256
void core_threads_set(unsigned n);
unsigned core_threads(void);

/** The pool as the library takes it; valid for ever. With one thread all is done on the calling one. */
const tq_parallel *core_parallel(void);

/** Memory of this thread for a call's workspace, aligned to 64; NULL: there is none. Until the next call
 * on this thread. */
void *core_workspace(size_t bytes);

/* codec.c, wide.c and files.c */

/** A codec out of a tuple (format, head_dim, norm_rule, scale_factor_d512). */
int core_codec(PyObject *tuple, tq_codec *codec);

/** A centre, float16 [S][G][D] side by side; none for NULL. */
int core_centre(PyObject *o, core_array *centre);

/** n values of any float type as float32, exactly. */
void core_widen(core_kind kind, size_t n, const void *values, float *to);

/** What tq_encode() takes, of float16 and bfloat16: tiles are widened on the way, and indices are those
 * of the whole. Without the GIL. */
tq_status core_encode_any(const tq_codec *codec, const tq_batch *batch, const core_array *src,
                          const core_array *centre, const core_array *codes, const core_array *norms);

/** tq_learn_centre() of keys [G][T][D] of any float type, to a centre [G][D] side by side, which failures
 * may leave half written. Without the GIL. */
tq_status core_learn_any(const core_array *keys, const core_array *centre);

/* views.c */

/** An encoded tensor in arrays of Python's. Zero-initialised, it holds nothing. */
typedef struct core_encoded {
    core_array codes, norms, centre;
    tq_encoded tensor; /* points into these; not for tq_encoded_free() */
} core_encoded;

/** Reads a tuple (codec, codes, norms, centre, n_positions, ring_start, centre_stretch, first_position):
 * codes uint8 [G][C][..], norms float16 [G][C] or float32 [G][C][..], centre float16 [S][G][D] or None.
 */
int core_encoded_begin(PyObject *parts, core_encoded *e);
void core_encoded_end(core_encoded *e);

/** Keys or values of attention: an encoded tensor, or an array. Zero-initialised, it holds nothing. */
typedef struct core_view {
    core_encoded encoded;
    core_array dense;
    tq_view view;
    size_t heads, length, first;
} core_view;

/** A view of an array [G][T][D], or of a tuple as above. */
int core_view_begin(PyObject *o, core_view *v, const char *field, bool is_key);
void core_view_end(core_view *v);

/* options.c */

/** What attention is told beside its arrays. Zero-initialised, it holds nothing. */
typedef struct core_options {
    float scale, softcap;
    bool causal, lse, partial;
    uint64_t window, sink_positions, query_end;
    tq_arithmetic arithmetic;
    core_array sinks, slopes;
    PyObject *out;
} core_options;

/** Names of the options, to be put behind a call's own arguments, and reading their values. */
#define CORE_OPTIONS                                                                                     \
    "scale", "causal", "window", "softcap", "sink_positions", "sinks", "slopes", "query_end", "lse",     \
        "partial", "out", "arithmetic"
enum { CORE_N_OPTIONS = 12 };
int core_options_get(PyObject *const *given, core_options *o);
void core_options_release(core_options *o);

/** Fills in what options say of a kind of layer. -1 with an exception on failure. */
int core_options_apply(const core_options *o, size_t n_heads, size_t head_dim, tq_attention_config *c);

/* run.c */

/** A run of attention. Zero-initialised, it holds nothing. */
typedef struct core_run {
    core_options options;
    core_array q, out, first, second; /* first: lse or max, second: sum */
    PyObject *like, *out_made, *first_made, *second_made;
    size_t n_heads, n_tokens;
    bool heads_first, squeezed;
    tq_attention_batch batch;
} core_run;

/** Takes queries [H][n][D] or [n][H][D], or of one query [H][D]. */
int core_run_begin(core_run *r, PyObject *q, bool heads_first);

/** Takes or makes the arrays of results, and fills in the batch and the config's types. */
int core_run_results(core_run *r, tq_attention_config *c, size_t v_dim);

/** Plans and runs. Without the GIL. */
tq_status core_run_do(core_run *r, const tq_attention_config *c, const tq_sequence *sequences, size_t n);

/** Lets go of all. The results, if good: out, (out, lse) or (acc, max, sum); else NULL. */
PyObject *core_run_end(core_run *r, bool good);

/* cache.c, cache_calls.c and cache_blocks.c */

/** A cache. What changes it takes the lock for writing, without the GIL, what reads it for reading. */
typedef struct core_cache {
    PyObject_HEAD tq_cache *cache;
    pthread_rwlock_t lock;
    PyObject *pool; /* kept */
    tq_cache_layer layer;
    size_t window, sinks; /* window: what is sure to be there; 0: all */
} core_cache;

extern PyTypeObject *core_cache_type;
extern PyMethodDef core_cache_methods[];

PyObject *core_cache_export(PyObject *self, PyObject *args);
PyObject *core_cache_import(PyObject *self, PyObject *block);
PyObject *core_cache_centre(PyObject *self, PyObject *position);
PyObject *core_cache_decode(PyObject *self, PyObject *args);
PyObject *core_block_info(PyObject *self, PyObject *block);

/** Keys and values of a call, [n][G][..], checked against the cache's layer. */
int core_cache_vectors(PyObject *k_given, PyObject *v_given, const core_cache *c, core_array *k,
                       core_array *v);

/** What attention on caches needs to know of one of them. -1 with an exception if the options contradict.
 */
int core_cache_plan(const core_cache *c, core_run *r, tq_attention_config *config);

/** What a kind's name says, or "default", of a global cache. -1 with an exception. */
int core_cache_kind(const char *name, uint32_t heads, uint32_t dim, uint64_t capacity,
                    tq_cache_config *c);

/** An empty object of a type, without a cache. */
core_cache *core_cache_alloc(PyTypeObject *type, const core_cache *like);

/* pages.c */

typedef struct core_pool {
    PyObject_HEAD tq_page_pool *pool;
    tq_cache_layer layer;
} core_pool;

extern PyTypeObject *core_pool_type;

/* The module's methods and types. */

extern PyMethodDef core_codec_methods[], core_file_methods[], core_attention_methods[],
    core_info_methods[], core_batch_methods[], core_cuda_methods[], core_cuda_codec_methods[],
    core_cuda_attention_methods[];

int core_cache_begin(PyObject *module);
int core_pool_begin(PyObject *module);

#endif
