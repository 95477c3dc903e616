/* SPDX-License-Identifier: MIT
 * What the tensors of an encoded file must be: names, types, shapes and values (docs/format.md, "Files").
 */
#ifndef IO_LAYOUT_H
#define IO_LAYOUT_H

#include "container.h"
#include "tqkv/io.h"

/* The tensors in the order of their bytes: numbers of several bytes first, which so stay aligned. */
enum { TQIO_CENTRE, TQIO_NORMS, TQIO_CODES, TQIO_TENSORS };
extern const char *const tqio_tensor_names[TQIO_TENSORS];

/* What a row and the whole come to. */
typedef struct tqio_sizes {
    size_t code_bytes, norm_bytes; /* of a row */
    size_t norm_item;              /* of a norm */
    size_t n_codes, n_norms;       /* bytes of all */
    size_t n_centre;               /* numbers in all centres */
} tqio_sizes;

/* Bytes of a number of a centre. */
enum { TQIO_CENTRE_ITEM = sizeof(uint16_t) };

/* The sizes for the codec, G, C and the number of centres of e. TQ_E_FORMAT, TQ_E_HEAD_DIM,
 * TQ_E_OVERFLOW. */
tq_status tqio_sizes_of(const char *name, const tq_encoded *e, tqio_sizes *out);

/* Stretches in which n positions from the first on lie; 0 for none. */
size_t tqio_stretches(size_t stretch, size_t first, size_t n);

/* The tensors' names, types and shapes; the centre's whether or not there is one. */
void tqio_expected_entries(const tq_encoded *e, const tqio_sizes *sizes,
                           tqio_entry entries[TQIO_TENSORS]);

/* Norms are finite and not negative, centres are finite. at: bytes of the file where the tensors start,
 * for the message; NULL if there is no file yet. TQ_E_FILE_FIELD with the index of the value. */
tq_status tqio_check_values(const char *name, const tq_encoded *e, const tqio_sizes *sizes,
                            const uint64_t at[TQIO_TENSORS]);

#endif
