/* SPDX-License-Identifier: MIT
 * pack and unpack: every packing, every length of a row. */
#include "books.h"
#include "check_kernels.h"

typedef struct pack_data {
    const char *format;
    tq_codebook_tables plain, edge;
    size_t n;
    bytes_pattern pattern;
    uint8_t from[TQ_MAX_DIM], to[TQ_MAX_DIM];
} pack_data;

/* One direction, of which the other is the mirror image. */
typedef struct way {
    const char *from, *to;
    bool packs;
} way;

static void pack_case(run *r, const tq_kernels *kernel, const pack_data *d, const way *w,
                      unsigned place) {
    const size_t packed = row_bytes(&d->plain, d->n);
    const size_t from_n = w->packs ? d->n : packed, to_n = w->packs ? packed : d->n;
    const unsigned to_place = (place + rng_below(&r->rng, PLACES)) % PLACES;
    if (!run_case(r, "%s, n %zu, %s", d->format, d->n, bytes_pattern_name(d->pattern))) return;
    slot *const in = &r->slots[0], *const out = &r->slots[1];
    const uint8_t *from = slot_place(in, w->from, ELEMENT_BYTE, place, 1, from_n, from_n);
    uint8_t *to = slot_place(out, w->to, ELEMENT_BYTE, to_place, 1, to_n, to_n);
    slot_write(in, d->from);
    (w->packs ? kernel->pack : kernel->unpack)(&d->edge, d->n, from, to);
    run_expect(r, in, d->from, SAME_BYTES);
    run_expect(r, out, d->to, SAME_BYTES);
}

static void pack_length(run *r, const tq_kernels *kernel, pack_data *d, const way *w) {
    const size_t from_n = w->packs ? d->n : row_bytes(&d->plain, d->n);
    /* only unpack is asked to bear codes that are too large */
    const uint8_t mask = (uint8_t)(w->packs ? (1u << d->plain.bits) - 1 : 0xff);
    d->edge = edge_book(r, &d->plain, d->n % 32 ? PLACE_FIRST : PLACE_LAST);
    for (bytes_pattern p = 0; p < BYTES_PATTERNS && !r->failed; p++) {
        d->pattern = p;
        fill_bytes(p, &r->rng, d->from, from_n, mask);
        (w->packs ? tq_pack_scalar : tq_unpack_scalar)(&d->plain, d->n, d->from, d->to);
        for (unsigned place = p; place < PLACES; place += BYTES_PATTERNS)
            pack_case(r, kernel, d, w, place);
    }
}

static void check_way(run *r, const tq_kernels *kernel, const way *w) {
    static pack_data d;
    for (size_t i = 0; i < n_books(); i++)
        for (d.n = TQ_LANES; d.n <= TQ_MAX_DIM && !r->failed; d.n += TQ_LANES) {
            d.plain = *nth_book(i, &d.format);
            pack_length(r, kernel, &d, w);
        }
}

void check_pack(run *r, const tq_kernels *kernel) {
    check_way(r, kernel, &(way){"codes", "packed", true});
}

void check_unpack(run *r, const tq_kernels *kernel) {
    check_way(r, kernel, &(way){"packed", "codes", false});
}
