/* SPDX-License-Identifier: MIT
 * The codec on NVIDIA GPUs: encode, decode, rotate and requantise vectors in device memory, on the
 * caller's stream. A library of its own, libtqkv_cuda; docs/format.md is its contract as it is the
 * CPU's.
 *
 * Every call checks its arguments on the host, enqueues its work on the stream and returns: it neither
 * allocates nor synchronises, and may be captured in a CUDA graph. What only the device sees (values that
 * are not finite, slots that do not exist) is told in device memory: tq_cuda_side.fault.
 *
 * Letters: G KV heads, D head dimension, n tokens. Pointers are device pointers unless it says host; a
 * stream is a cudaStream_t, NULL the default one. Sizes and strides of vectors are in elements, those of
 * codes and norms in bytes, which may be any. Structs (params, sides, codecs, batches, parameter blocks)
 * are host memory, read before the call returns, also while a graph is captured. A stream is one of the
 * handle's device.
 *
 * Accuracy class: exact. Codes and norms are the CPU's bytes, decoded float32 the CPU's bits, whatever
 * the card. Thread safety: a handle may be used by several threads; what shares an output must be ordered
 * by streams. */
#ifndef TQKV_CUDA_H
#define TQKV_CUDA_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/codec.h"
#include "tqkv/status.h"
#include "tqkv/types.h"
#include "tqkv/v1.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One device, and the tables of all formats in its memory (about 100 KiB). */
typedef struct tq_cuda tq_cuda;

/** How many CUDA devices this process sees; 0 where there is no driver. Host call. */
TQ_API int tq_cuda_count(void);

/** A device, as it is found. */
typedef struct tq_cuda_info {
    size_t size;           /**< sizeof(tq_cuda_info), set by the caller (TQ_E_SIZE) */
    char name[256];        /**< such as "NVIDIA H100 80GB HBM3" */
    int major, minor;      /**< compute capability */
    int served;            /**< not 0: tq_cuda_open() takes it; 0: it is too old */
    uint64_t memory_bytes; /**< all that it has, whoever uses it */
} tq_cuda_info;

/** Tells what a device is, without making it ready for work. Host call.
 *
 * TQ_E_NULL, TQ_E_SIZE, TQ_E_DEVICE (no such device, or an error of the driver, with its words); *info
 * untouched on failure. */
TQ_API tq_status tq_cuda_describe(int device, tq_cuda_info *info);

/** Prepares a device: uploads tables, once for all calls. Synchronises.
 *
 * device   ordinal, as cudaSetDevice() takes it
 * cuda     host, out; NULL on failure. For tq_cuda_close()
 *
 * TQ_E_NULL, TQ_E_DEVICE (no such device, one that is older than compute capability 8.0, or an error of
 * the driver, with its words), TQ_E_NO_MEMORY. The thread's current device stays what it was, here and in
 * all other calls. */
TQ_API tq_status tq_cuda_open(int device, tq_cuda **cuda);

/** Gives the tables back. Nothing may be under way that uses the handle. NULL: nothing to do. */
TQ_API void tq_cuda_close(tq_cuda *cuda);

/** The device's name, such as "NVIDIA H100 80GB HBM3"; host memory, valid as long as the handle. */
TQ_API const char *tq_cuda_name(const tq_cuda *cuda);

/** Keys, or values, of n tokens, and where they are to lie encoded. Zero-initialise and set what is
 * wanted. */
typedef struct tq_cuda_side {
    tq_codec codec;   /**< format, D, norm rule */
    tq_type src_type; /**< of src */
    const void *src;  /**< [n][G][D]; element (t, g, d) at src[t * src_token_stride + g * src_head_stride
                           + d] */
    size_t src_token_stride, src_head_stride; /**< elements; 0: [n][G][D] side by side */

    void *codes;                                                /**< [pages][G][page_rows][code_bytes] */
    size_t n_codes;                                             /**< bytes there */
    size_t code_row_stride, code_head_stride, code_page_stride; /**< bytes; 0: side by side */
    void *norms;                                                /**< likewise of norm_bytes */
    size_t n_norms;
    size_t norm_row_stride, norm_head_stride, norm_page_stride;

    const uint16_t *centre; /**< float16 [n_centres][G][D], as tq_view has it; NULL: none */
    size_t n_centres, centre_stretch;

    uint64_t *fault; /**< in and out: the lowest index in src of a value that cannot be encoded (not
                          finite, beyond TQ_MAX_ABS, the first of a vector whose norm is beyond
                          TQ_MAX_NORM, or the first of a vector whose slot does not exist). Set it to
                          UINT64_MAX before; it becomes less only. Of such a vector nothing is written.
                          NULL: nobody wants to know. Device
                          memory, aligned to 8 */
} tq_cuda_side;

/** n tokens to encode, each to a slot of its own. Zero-initialise, set `size` and what is wanted. */
typedef struct tq_cuda_encode_params {
    size_t size;     /**< sizeof(tq_cuda_encode_params) (TQ_E_SIZE) */
    size_t n_tokens; /**< n; 0: nothing to do */
    size_t n_kv_heads;
    const tq_cuda_side *k, *v; /**< host; either may be NULL. Equal D: one launch for both */

    size_t page_rows; /**< positions of a page; 0: there are no pages, slots count through one array */
    size_t n_slots;   /**< slots that there are, of all pages together */
    const int64_t *slots; /**< device [n]: the slot of token t, page slot / page_rows, row
                               slot % page_rows; negative: the token is left out (padding). NULL: token t
                               goes to slot (first_slot + t) % n_slots, as in a ring */
    uint64_t first_slot;
    const int64_t *positions; /**< device [n]: absolute positions, for centres of stretches. NULL: token t
                                   stands at first_position + t */
    uint64_t first_position;
} tq_cuda_encode_params;

/** Encodes n tokens of keys and values.
 *
 * TQ_E_NULL, TQ_E_SIZE (size, n_slots, n_codes, n_norms, n_centres), TQ_E_HEADS, TQ_E_POSITION (more
 * tokens than slots without `slots`), TQ_E_FORMAT, TQ_E_HEAD_DIM, TQ_E_NORM_RULE, TQ_E_SCALE_FACTOR,
 * TQ_E_STRIDE, TQ_E_OVERLAP, TQ_E_OVERFLOW; TQ_E_DEVICE with the driver's words. On failure nothing is
 * enqueued.
 *
 * Cost: reads each vector once. Source: as tq_encode(). */
TQ_API tq_status tq_cuda_encode(tq_cuda *cuda, const tq_cuda_encode_params *params, void *stream);

/** Decodes G x T vectors, as tq_decode() does, to any type.
 *
 * codec, batch, domain   as for tq_decode(); batch->parallel is not looked at
 * codes, norms           device
 * centre                 device, [S][G][D] float16; NULL: none
 * type                   of dst; float16 and bfloat16 are rounded to nearest, ties to even
 * dst                    device, out, aligned as its type
 *
 * Errors as for tq_decode(), TQ_E_FORMAT (type), TQ_E_DEVICE. On failure nothing is enqueued. */
TQ_API tq_status tq_cuda_decode(tq_cuda *cuda, const tq_codec *codec, const tq_batch *batch,
                                tq_domain domain, const void *codes, size_t n_codes, const void *norms,
                                size_t n_norms, const uint16_t *centre, size_t n_centre, tq_type type,
                                void *dst, size_t n_dst, void *stream);

/** Rotates n_rows float32 vectors into the rotated domain or back, as tq_rotate() does; dst may be src.
 */
TQ_API tq_status tq_cuda_rotate(tq_cuda *cuda, const tq_codec *codec, tq_domain to, size_t n_rows,
                                const float *src, float *dst, void *stream);

/** Replaces each value by the nearest centroid, as tq_requantize() does; NaN stays NaN. dst may be src.
 */
TQ_API tq_status tq_cuda_requantize(tq_cuda *cuda, tq_format format, const float *src, float *dst,
                                    size_t n, void *stream);

/** The reference's decoders on their own parameter blocks (host): one position of every head to
 * dst [G][D]. Arguments and errors as for tq_dequantize_kv() and tq_dequantize_hb_kv(). */
TQ_API tq_status tq_cuda_dequantize_kv(tq_cuda *cuda, const tq_dequantize_kv_params *params,
                                       const uint8_t *packed, size_t packed_bytes, const float *norms,
                                       size_t n_norms, float *dst, size_t n_dst, void *stream);
TQ_API tq_status tq_cuda_dequantize_hb_kv(tq_cuda *cuda, const tq_dequantize_hb_kv_params *params,
                                          const uint8_t *packed, size_t packed_bytes, const float *norms,
                                          size_t n_norms, float *dst, size_t n_dst, void *stream);

#ifdef __cplusplus
}
#endif
#endif
