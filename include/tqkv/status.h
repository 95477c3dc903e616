/* SPDX-License-Identifier: MIT
 * What every call returns, and what the last failure on this thread was about. */
#ifndef TQKV_STATUS_H
#define TQKV_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "tqkv/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Result of a call. Values are pinned for ever, in tens by family. */
typedef enum tq_status {
    TQ_OK = 0,

    /* arguments */
    TQ_E_NULL = 10,     /**< a pointer that is needed is NULL */
    TQ_E_SIZE = 11,     /**< a buffer is smaller than its shape asks for */
    TQ_E_OVERLAP = 12,  /**< an output overlaps an input or another output */
    TQ_E_OVERFLOW = 13, /**< the sizes multiply to more than an address can hold */
    TQ_E_STRIDE = 14,   /**< a stride is shorter than what it steps over */

    /* formats */
    TQ_E_FORMAT = 20,        /**< no such format */
    TQ_E_HEAD_DIM = 21,      /**< the format does not serve this head dimension */
    TQ_E_BITS = 22,          /**< no codebook of that many bits */
    TQ_E_NORMS_PER_POS = 23, /**< norms_per_pos does not fit head_dim */
    TQ_E_SCALE_FACTOR = 24,  /**< scale_factor_d512 is zero, negative or not finite */
    TQ_E_NORM_RULE = 25,     /**< no such norm rule, or not one of this format's */
    TQ_E_HEADS = 26,         /**< num_kv_heads is zero, or does not divide the query heads */
    TQ_E_DOMAIN = 27,        /**< neither rotated nor original */
    TQ_E_MASK = 28,          /**< no such mask type */
    TQ_E_SCALE = 29,         /**< the attention scale is 0 */

    /* positions */
    TQ_E_POSITION = 30, /**< a position lies outside the cache */
    TQ_E_POLICY = 31,   /**< no such cache policy, or something that this one has not */

    /* data */
    TQ_E_NOT_FINITE = 40, /**< NaN or infinity in the input; tq_last_error() names the index */
    TQ_E_RANGE = 41,      /**< a value beyond TQ_MAX_ABS, or a vector's norm beyond TQ_MAX_NORM;
                               tq_last_error() names the index */
    TQ_E_CODE = 42,       /**< a code that does not fit in the format's bits */

    /* system */
    TQ_E_NO_MEMORY = 50,
    TQ_E_IO = 51, /**< the operating system refused to open, read, write or rename a file */

    /* files */
    TQ_E_FILE_MAGIC = 60,     /**< not a file of this kind */
    TQ_E_FILE_TRUNCATED = 61, /**< the file ends early, or goes on past its end */
    TQ_E_FILE_HEADER = 62,    /**< the header cannot be read */
    TQ_E_FILE_TYPE = 63,      /**< an element type or order that is not supported */
    TQ_E_FILE_SHAPE = 64,     /**< a shape that contradicts the others */
    TQ_E_FILE_FIELD = 65,     /**< a metadata field is missing or wrong */
    TQ_E_FILE_CHECKSUM = 66,  /**< the data are not those that were written */

    /* machine */
    TQ_E_ISA = 70,         /**< no such instruction set, or not on this machine */
    TQ_E_UNSUPPORTED = 71, /**< this build of the library lacks it */
    TQ_E_DEVICE = 72       /**< no such device, or its driver refused; the message has its words */
} tq_status;

/** The status's name as written above, such as "TQ_E_SIZE". Unknown values give "TQ_E_?". */
TQ_API const char *tq_status_name(tq_status status);

/** What went wrong, for a person. Filled by every call that fails. */
typedef struct tq_error {
    tq_status status;  /**< what the failing call returned; TQ_OK if none failed yet on this thread */
    uint64_t index;    /**< element of the array that is at fault, byte offset in the file, or the number
                            that was refused or is wanted; else 0 */
    char field[32];    /**< the argument, tensor or metadata field at fault; "" if none */
    char message[224]; /**< one line: what is wrong, where, and what would be right */
} tq_error;

/** The last failure on this thread.
 *
 * Valid until the next call of the library fails on the same thread. Calls that succeed leave it alone.
 * Thread safety: the record is thread-local. Never NULL. */
TQ_API const tq_error *tq_last_error(void);

#if defined(__GNUC__)
#define TQ_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TQ_PRINTF(text, first)
#endif

/** Records a failure on this thread and returns status: for libraries built on this one.
 *
 * status, index, field   as in tq_error; field must not be NULL
 * format                 printf's; what does not fit in tq_error's message is cut off
 *
 * The arguments may point into the record of the failure before. Field and message are made printable as
 * tq_printable() does it: names of files and words out of them may hold anything. */
TQ_API tq_status tq_fail(tq_status status, uint64_t index, const char *field, const char *format, ...)
    TQ_PRINTF(4, 5);

/** Makes text from outside, such as a file's name, fit to be shown on a terminal, in place.
 *
 * Each control character (C0, DEL, C1), line or paragraph separator, mark that turns the direction of
 * writing, and byte that is not UTF-8 becomes '?'; all other characters of UTF-8 stay as they are.
 *
 * text   ends with a NUL; not NULL; becomes shorter or stays as long as it is
 *
 * Returns text. */
TQ_API char *tq_printable(char *text);

#ifdef __cplusplus
}
#endif
#endif
