/* SPDX-License-Identifier: MIT
 * Codes, one a byte, to packed rows and back. */
#include <string.h>

#include "format/planes.h"
#include "kernels/kernels.h"

static void pack_pairs(size_t n, const uint8_t *codes, uint8_t *packed) {
    for (size_t i = 0; i < n; i += 2)
        packed[i / 2] = (uint8_t)(codes[i] | codes[i + 1] << 4);
}

static void unpack_pairs(size_t n, const uint8_t *packed, uint8_t *codes) {
    for (size_t i = 0; i < n; i++)
        codes[i] = packed[i / 2] >> (i % 2 * 4) & 15;
}

/* No field crosses a byte: widths are powers of two and fields start at multiples of them. */
static void pack_planes(unsigned bits, size_t n, const uint8_t *codes, uint8_t *packed) {
    memset(packed, 0, n * bits / 8);
    unsigned low = 0;
    for (const unsigned char *w = tq_plane_widths(bits); low < bits; low += *w++) {
        const unsigned group = tq_plane_group(*w, n), mask = (1u << *w) - 1;
        for (size_t i = 0; i < n; i++) {
            const size_t bit = tq_plane_bit(*w, group, i);
            packed[bit / 8] |= (uint8_t)((codes[i] >> low & mask) << bit % 8);
        }
        packed += n * *w / 8;
    }
}

static void unpack_planes(unsigned bits, size_t n, const uint8_t *packed, uint8_t *codes) {
    memset(codes, 0, n);
    unsigned low = 0;
    for (const unsigned char *w = tq_plane_widths(bits); low < bits; low += *w++) {
        const unsigned group = tq_plane_group(*w, n), mask = (1u << *w) - 1;
        for (size_t i = 0; i < n; i++) {
            const size_t bit = tq_plane_bit(*w, group, i);
            codes[i] |= (uint8_t)((packed[bit / 8] >> bit % 8 & mask) << low);
        }
        packed += n * *w / 8;
    }
}

void tq_pack_scalar(const tq_codebook_tables *book, size_t n, const uint8_t *codes, uint8_t *packed) {
    switch (book->packing) {
    case TQ_PACK_BYTES:
        memcpy(packed, codes, n);
        break;
    case TQ_PACK_PAIRS:
        pack_pairs(n, codes, packed);
        break;
    case TQ_PACK_PLANES:
        pack_planes(book->bits, n, codes, packed);
        break;
    }
}

void tq_unpack_scalar(const tq_codebook_tables *book, size_t n, const uint8_t *packed, uint8_t *codes) {
    switch (book->packing) {
    case TQ_PACK_BYTES:
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint8_t)(packed[i] & ((1u << book->bits) - 1));
        break;
    case TQ_PACK_PAIRS:
        unpack_pairs(n, packed, codes);
        break;
    case TQ_PACK_PLANES:
        unpack_planes(book->bits, n, packed, codes);
        break;
    }
}
