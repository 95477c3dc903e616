/* SPDX-License-Identifier: MIT
 * Tensors in files: .npy for plain ones, .safetensors for encoded ones and for a model's. Its own
 * library, libtqkv_io, on top of libtqkv (jansson, xxHash).
 *
 * Every field, size and checksum of a file is checked before anything is returned. A file is written
 * under a temporary name beside its place, flushed to disk and renamed: it is there whole or not at all.
 * A link is followed, if to a file that is there; devices and pipes are not written. A file that is
 * replaced keeps its permission bits, and its owner and group as far as the process may give them away
 * (tq_outputs_disowned()); access control lists, extended attributes and other hard links it loses. The
 * folder is flushed too, unless it may be written but not read, which fsync() needs: then a power cut may
 * bring the predecessor back, whole. After a failure tq_last_error() names the file, the field and the
 * byte offset. */
#ifndef TQKV_IO_H
#define TQKV_IO_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"
#include "tqkv/status.h"
#include "tqkv/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Reads a file: a regular one, or a pipe to its end. Every function here that takes the path of an input
 * begins so, and opens it once; who wants to look at the bytes before they are parsed calls this first.
 *
 * most    bytes are read at most; SIZE_MAX: all there are
 * bytes   out: [size], never NULL, for free(); untouched on failure
 * size    out: how many were read
 *
 * TQ_E_NULL, TQ_E_NO_MEMORY; TQ_E_IO, also for a device or a folder. */
TQ_API tq_status tq_file_read(const char *path, size_t most, uint8_t **bytes, size_t *size);

#define TQ_MAX_DIMS 32

/** A plain tensor, float32, C order, owned memory. */
typedef struct tq_tensor {
    size_t n_dims;             /**< 0: a scalar */
    size_t shape[TQ_MAX_DIMS]; /**< outermost first */
    size_t n_values;           /**< the product */
    float *data;               /**< [n_values]; never NULL after a read, also when n_values is 0 */
} tq_tensor;

/** Reads a .npy file, versions 1 to 3, '<f4' or '<f2' (widened), C order.
 *
 * out   written on success only; release with tq_tensor_free()
 *
 * TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY, TQ_E_FILE_MAGIC, _TRUNCATED, _HEADER, _TYPE, _SHAPE.
 * NaN and infinities are read as they are: the encoder refuses them with their index. */
TQ_API tq_status tq_npy_read(const char *path, tq_tensor *out);

/** The same from memory: bytes [size], not kept. name is used in messages. */
TQ_API tq_status tq_npy_parse(const char *name, const void *bytes, size_t size, tq_tensor *out);

/** Writes a .npy file, version 1, '<f4'.
 *
 * data    [shape] C order; may be NULL if the shape has no values
 * shape   n_dims sizes, outermost first; may be NULL for a scalar
 *
 * TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY; TQ_E_OVERFLOW, also for more than TQ_MAX_DIMS dimensions. */
TQ_API tq_status tq_npy_write(const char *path, const float *data, size_t n_dims, const size_t *shape);

/** Releases what a read returned, and empties it. NULL and empty ones are fine. */
TQ_API void tq_tensor_free(tq_tensor *tensor);

/** An encoded tensor: G heads of n_positions vectors in `capacity` slots, owned memory.
 *
 * Centres are those of tq_encode(), v2 formats only: one for all, or one for each stretch of L positions.
 * Stretches are counted from the beginning of the sequence, which a ring may have forgotten: the vector
 * at position p of the sequence lacks centre number p / L % n_centres. */
typedef struct tq_encoded {
    tq_codec codec;        /**< format, D, norm rule, scale factor */
    size_t n_kv_heads;     /**< G */
    size_t n_positions;    /**< vectors held per head, at most capacity */
    size_t capacity;       /**< C, slots per head */
    size_t ring_start;     /**< slot of the oldest vector; 0 unless a ring has wrapped */
    size_t n_codes;        /**< bytes: G * C * code_bytes */
    uint8_t *codes;        /**< [G][C][code_bytes] */
    size_t n_norms;        /**< bytes: G * C * norm_bytes */
    void *norms;           /**< [G][C][norm_bytes]: float16 of v2, float32 of v1, aligned as such */
    uint16_t *centre;      /**< float16 [n_centres][G][D], original domain; NULL: none */
    size_t n_centres;      /**< 0: none; 1 without stretches; else at least the stretches that the held
                                positions lie in, and at most those that `capacity` positions can lie in */
    size_t centre_stretch; /**< L; 0: one centre for all, or none */
    size_t first_position; /**< the oldest vector's, in the sequence; 0 without stretches */
} tq_encoded;

/** Allocates zeroed codes, norms and n_centres centres for codec, n_kv_heads and capacity.
 *
 * The arguments are copied into out, TQ_NORM_DEFAULT as the rule it stands for; n_positions, ring_start
 * and first_position become 0.
 * TQ_E_NULL, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_OVERFLOW, TQ_E_NO_MEMORY; out untouched on failure. */
TQ_API tq_status tq_encoded_alloc(tq_encoded *out, const tq_codec *codec, size_t n_kv_heads,
                                  size_t capacity, size_t n_centres, size_t centre_stretch);

/** Reads an encoded tensor (docs/format.md, "Files"). Files of v2 formats from before version 3, with
 * float32 norms, are refused (TQ_E_FILE_FIELD, "tqkv.version").
 *
 * out   written on success only; release with tq_encoded_free()
 *
 * TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY and every TQ_E_FILE_ status. */
TQ_API tq_status tq_encoded_read(const char *path, tq_encoded *out);

/** The same from memory: bytes [size], not kept. name is used in messages. */
TQ_API tq_status tq_encoded_parse(const char *name, const void *bytes, size_t size, tq_encoded *out);

/** Writes an encoded tensor: the same tensor gives the same bytes.
 *
 * TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY, TQ_E_OVERFLOW, TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_NORM_RULE,
 * TQ_E_SCALE_FACTOR; TQ_E_FILE_SHAPE if sizes, positions, ring, centres or stretches contradict the rest;
 * TQ_E_FILE_FIELD with the index of a norm that is negative or not finite, or of a centre that is not
 * finite. */
TQ_API tq_status tq_encoded_write(const char *path, const tq_encoded *encoded);

/** Encodes n more positions of every head. When slots run out the new ones take those of the oldest;
 * where the first position goes, an empty tensor's ring_start says, and with stretches its first_position
 * which one it is. The centre of a stretch must be in its place before the first position of it is put.
 *
 * src           [G][n][D] float32, original domain
 * n_src         floats there
 * head_stride   floats from a head to the next; 0: n * D
 *
 * n is at most the capacity, and the positions then held lie in at most n_centres stretches
 * (TQ_E_POSITION). TQ_E_NULL; TQ_E_FILE_SHAPE if the tensor contradicts itself; TQ_E_STRIDE if heads of
 * src collide; what tq_encode() returns, with indices in src. On failure n_positions, ring_start and
 * first_position are as before, and the slots that were to be written hold anything. */
TQ_API tq_status tq_encoded_put(tq_encoded *encoded, size_t n, const float *src, size_t n_src,
                                size_t head_stride);

/** Decodes n positions of every head from `first` on, 0 being the oldest.
 *
 * dst           [G][n][D] out
 * n_dst         floats there
 * head_stride   floats from a head to the next; 0: n * D
 *
 * Centres are added, in the domain asked for. TQ_E_NULL, TQ_E_POSITION if they are not all there,
 * TQ_E_FILE_SHAPE, TQ_E_STRIDE, what tq_decode() returns. */
TQ_API tq_status tq_encoded_get(const tq_encoded *encoded, size_t first, size_t n, tq_domain domain,
                                float *dst, size_t n_dst, size_t head_stride);

/** The tensor as tq_attention() takes it, n_positions of it. Valid as long as the tensor.
 *
 * Only `centre` is left out, since a view of values has none: their results lack it. The view of keys
 * takes the tensor's as it is; with stretches its segment begins at first_position. */
TQ_API tq_view tq_encoded_view(const tq_encoded *encoded);

/** Releases what a read or an allocation returned, and empties it. NULL and empty ones are fine. */
TQ_API void tq_encoded_free(tq_encoded *encoded);

/** A .safetensors file with any tensors, such as a model's weights, held in memory as it is. */
typedef struct tq_safetensors tq_safetensors;

#define TQ_MAX_RAW_DIMS 8

/** A tensor as it lies in the file. */
typedef struct tq_raw_tensor {
    const char *type;              /**< safetensors' name of it, such as "BF16" */
    size_t item_size;              /**< bytes of a value; 0: the file does not tell, see below */
    size_t n_dims;                 /**< 0: a scalar */
    size_t shape[TQ_MAX_RAW_DIMS]; /**< outermost first */
    size_t n_values;               /**< the product */
    size_t n_bytes;                /**< of all of them */
    const uint8_t *bytes;          /**< [n_bytes], little-endian, on no boundary */
    uint64_t at;                   /**< byte of the file where they start, for messages */
} tq_raw_tensor;

/** Reads a .safetensors file: tensors of any dtype without gaps or overlaps, at most TQ_MAX_RAW_DIMS
 * dimensions, a header of at most 100,000,000 bytes, no U+0000 in a key of it.
 *
 * A tensor whose dtype is not one of BOOL, U8, I8, F8_E4M3, F8_E5M2, F8_E8M0, U16, I16, F16, BF16, U32,
 * I32, F32, U64, I64, F64 and C64 is taken as it lies: item_size is what its shape makes of its bytes,
 * and 0 if that is no whole number (values of less than a byte) or if it has no values.
 *
 * out   NULL on failure; release with tq_safetensors_free()
 *
 * TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY, TQ_E_FILE_MAGIC, _TRUNCATED, _HEADER, _TYPE, _SHAPE. */
TQ_API tq_status tq_safetensors_read(const char *path, tq_safetensors **out);

/** The same from memory: bytes [size], copied. name is used in messages. */
TQ_API tq_status tq_safetensors_parse(const char *name, const void *bytes, size_t size,
                                      tq_safetensors **out);

/** Finds a tensor. out: written on success only, valid as long as the file. TQ_E_NULL; TQ_E_FILE_FIELD if
 * there is none of that name. */
TQ_API tq_status tq_safetensors_tensor(const tq_safetensors *file, const char *name, tq_raw_tensor *out);

/** The name of tensor number `index`, in the header's order; NULL beyond the last one, and for a file
 * that is NULL. Valid as long as the file. Cost: O(index). */
TQ_API const char *tq_safetensors_name(const tq_safetensors *file, size_t index);

/** The string under key in __metadata__, valid as long as the file; NULL if there is none.
 *
 * length   its bytes in UTF-8; may be NULL. U+0000 may be among them, which strlen() takes for the end.
 */
TQ_API const char *tq_safetensors_metadata(const tq_safetensors *file, const char *key, size_t *length);

/** Releases what a read returned. NULL is fine. */
TQ_API void tq_safetensors_free(tq_safetensors *file);

/** Files that come into place together, or none of them: the results of one piece of work. */
typedef struct tq_outputs tq_outputs;

/** One of these files: opened before the work, written once after it. */
typedef struct tq_output tq_output;

/** Begins an empty set. Not for several threads at once; in a forked child it can only be ended, which
 * leaves the parent's files alone.
 *
 * out   NULL on failure; release with tq_outputs_end()
 *
 * TQ_E_NULL, TQ_E_NO_MEMORY. */
TQ_API tq_status tq_outputs_begin(tq_outputs **out);

/** Makes a folder unless it is there; tq_outputs_end() takes it away again if it is empty and nothing was
 * committed. TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY. */
TQ_API tq_status tq_outputs_folder(tq_outputs *outputs, const char *path);

/** Opens an output: creates its temporary file, so that what cannot be written is known before the work.
 *
 * out   written on success only; valid until tq_outputs_end()
 *
 * TQ_E_NULL, TQ_E_IO, TQ_E_NO_MEMORY; TQ_E_OVERLAP if the set has an output that is the same file, by
 * whatever name. */
TQ_API tq_status tq_outputs_open(tq_outputs *outputs, const char *path, tq_output **out);

/** What tq_npy_write() and tq_encoded_write() do, into an output, with their statuses; and bytes [size]
 * as they are. An output is written once. After a failure, end the set. */
TQ_API tq_status tq_output_npy(tq_output *output, const float *data, size_t n_dims, const size_t *shape);
TQ_API tq_status tq_output_encoded(tq_output *output, const tq_encoded *encoded);
TQ_API tq_status tq_output_bytes(tq_output *output, const void *bytes, size_t size);

/** Brings all outputs into place; each has been written. On failure the files that were to be replaced
 * are as before, unless it was a folder that could not be flushed at the end. Signals wait meanwhile:
 * what kills at once (SIGKILL, a power cut) may come between two renames, and then predecessors lie
 * beside their places under temporary names. TQ_E_NULL, TQ_E_IO. */
TQ_API tq_status tq_outputs_commit(tq_outputs *outputs);

/** The path of an output whose predecessor has an owner or group which this process may not give to it;
 * NULL if there is none. Valid until tq_outputs_end(). */
TQ_API const char *tq_outputs_disowned(const tq_outputs *outputs);

/** Removes what was not committed, and releases the set. NULL is fine. */
TQ_API void tq_outputs_end(tq_outputs *outputs);

/** Removes the temporary files of outputs and writes of this process that are under way.
 * Async-signal-safe: call it from a handler of SIGTERM and the like before the process ends. It waits
 * while another thread is within tq_outputs_commit(); what another thread begins to open after that may
 * stay. A forked child leaves its parent's files alone. */
TQ_API void tq_io_discard_pending(void);

#ifdef __cplusplus
}
#endif
#endif
