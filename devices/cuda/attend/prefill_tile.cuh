/* SPDX-License-Identifier: MIT
 * A tile of codes on its way: from memory to a stage, and from there to float16. */
#ifndef TQ_CUDA_PREFILL_TILE_CUH
#define TQ_CUDA_PREFILL_TILE_CUH

#ifndef __CUDACC_RTC__
#include "attend/piece.cuh"
#include "attend/prefill_layer.cuh"
#include "attend/rows.cuh"
#endif

/* Where a piece's units of 16 positions lie: those from `begin` to `end` in tiles of L::UNITS, of which a
 * team takes every so manieth. */
template <class L> struct prefill_units {
    const tq_attend_args &a;
    const piece &w;
    uint32_t begin, end;
    static constexpr uint32_t BEYOND = 0x7fffffff - TILE;

    TQ_INLINE uint32_t unit(uint32_t i, uint32_t u) const {
        return begin + i * (L::TEAMS * L::UNITS) + u;
    }
    TQ_INLINE uint32_t tile(uint32_t unit) const {
        return unit + (unit < w.seq.head ? w.seq.base : w.seq.skip);
    }
    TQ_INLINE uint32_t tiles() const {
        return end <= begin ? 0 : (end - begin - 1) / (L::TEAMS * L::UNITS) + 1;
    }
    /* The position of the first one; of none, one that is beyond all. */
    TQ_INLINE uint32_t position(uint32_t i, uint32_t u) const {
        const uint32_t n = unit(i, u);
        return n < end ? tile(n) * TILE + a.code_first : BEYOND;
    }
    /* What no row of the piece sees is left out: behind its last query, and before its first one's
     * window. Trees have bits for that. */
    TQ_INLINE prefill_units(const tq_attend_args &a_, const piece &w_, uint32_t team) : a(a_), w(w_) {
        const tq_attend_sequence &s = w.seq;
        const uint32_t head = s.head, base = s.base, skip = s.skip, first = a.code_first;
        begin = w.codes_begin, end = w.codes_end;
        if (a.tree == nullptr) {
            const int32_t now = (int32_t)(s.length - a.queries);
            const int32_t low = now + (int32_t)quotient(w.row0, a.group);
            const int32_t high = now + (int32_t)quotient(w.row0 + w.rows - 1, a.group);
            if (high < (int32_t)first) {
                end = a.causal || high < 0 ? begin : end;
            } else if (a.causal) {
                const uint32_t tiles = ((uint32_t)high - first) / TILE + 1;
                uint32_t units = tiles > base ? tiles - base : 0;
                if (units > head) units = max(head, tiles > skip ? tiles - skip : 0);
                end = min(end, units);
            }
            const bool past_sinks = head > 0 || a.sink_positions <= s.codes_from;
            const int64_t oldest = (int64_t)low - a.window + 1 - first; /* of slots */
            if (a.window > 0 && oldest > 0 && begin >= head && past_sinks)
                begin = max(begin, max((uint32_t)oldest / TILE, skip) - skip);
        }
        begin += team * L::UNITS;
    }
};

/* Brings tiles of codes to stages. A thread has a share of the same 16 positions of each. */
template <class L> struct prefill_fetch {
    using K = typename L::K;
    using V = typename L::V;
    const tq_attend_args &a;
    const piece &w;
    const prefill_units<L> &units;
    uint8_t *ring;
    uint32_t page, row, u, mine; /* page and row of the next tile's unit */

    TQ_INLINE prefill_fetch(const tq_attend_args &a_, const piece &w_, const prefill_units<L> &units_,
                            uint8_t *ring_)
        : a(a_), w(w_), units(units_), ring(ring_), page(0), row(0) {
        const uint32_t t = threadIdx.x % (L::TEAM * 32);
        u = t / L::SHARE, mine = t % L::SHARE;
    }
    TQ_INLINE void locate(uint32_t slot) {
        if (a.tables == nullptr) {
            page = w.sequence, row = slot < a.page_rows ? slot : slot % a.page_rows;
            return;
        }
        const uint32_t n = a.page_shift >= 0 ? slot >> a.page_shift : slot / a.page_rows;
        page = (uint32_t)a.tables[(uint64_t)w.sequence * a.table_stride + n];
        row = slot - n * a.page_rows;
    }
    TQ_INLINE void look_ahead(uint32_t i) {
        const uint32_t n = units.unit(i, u);
        if (L::SPLIT && n < units.end) locate(units.tile(n) * TILE);
    }
    template <int PIECES, int ROW>
    TQ_INLINE void copy_pieces(uint32_t to, const uint8_t *from, uint32_t stride) const {
#pragma unroll
        for (int n0 = 0; n0 < TILE * PIECES; n0 += L::SHARE) {
            const int n = n0 + (int)mine;
            if (TILE * PIECES % L::SHARE != 0 && n >= TILE * PIECES) continue;
            copy_async<16>(to + n / PIECES * ROW + n % PIECES * 16,
                           from + (uint64_t)(n / PIECES) * stride + n % PIECES * 16);
        }
    }
    /* The share of a thread of a row's bytes, one of SUBS. */
    static TQ_INLINE void copy_anyhow(uint32_t to, const uint8_t *from, int bytes, uint32_t unit, int sub,
                                      int subs) {
        if (unit == 16)
            for (int at = sub * 16; at < bytes; at += subs * 16)
                copy_async<16>(to + at, from + at);
        else if (unit == 4)
            for (int at = sub * 4; at < bytes; at += subs * 4)
                copy_async<4>(to + at, from + at);
        else
            for (int at = sub; at < bytes; at += subs)
                store_shared_byte(to + at, from[at]);
    }
    /* Asks for tile i. */
    TQ_INLINE void issue(uint32_t i, uint32_t stage) {
        const uint32_t n = units.unit(i, u), at = u * TILE;
        if (n >= units.end) return;
        const tq_attend_sequence &seq = w.seq;
        uint32_t head = w.head;
        asm volatile("" : "+r"(head)); /* addresses are found anew: registers are for tiles */
        const uint8_t *const k = a.k.data + (uint64_t)head * a.k.head,
                             *const v = a.v.data + (uint64_t)head * a.v.head,
                             *const k_norms = a.k.norms + (uint64_t)head * a.k.norm_head,
                             *const v_norms = a.v.norms + (uint64_t)head * a.v.norm_head;
        const uint32_t to = shared_address(ring) + stage * L::STAGE;
        const uint32_t k_to = to + at * L::K_ROW, v_to = to + L::V_AT + at * L::V_ROW;
        const uint32_t k_norm_to = to + L::NORMS_AT + at * K::NORM,
                       v_norm_to = to + L::V_NORMS_AT + at * V::NORM;
        if constexpr (L::SPLIT) {
            copy_pieces<K::ROW / 16, L::K_ROW>(k_to, k + place_of(page, a.k.page, row, a.k.row), a.k.row);
            copy_pieces<V::ROW / 16, L::V_ROW>(v_to, v + place_of(page, a.v.page, row, a.v.row), a.v.row);
            constexpr uint32_t K_PIECES = TILE * K::NORM / 16, V_PIECES = TILE * V::NORM / 16;
            if (mine < K_PIECES)
                copy_async<16>(k_norm_to + mine * 16,
                               k_norms + place_of(page, a.k.norm_page, row, K::NORM) + mine * 16);
            else if (mine < K_PIECES + V_PIECES)
                copy_async<16>(v_norm_to + (mine - K_PIECES) * 16,
                               v_norms + place_of(page, a.v.norm_page, row, V::NORM) +
                                   (mine - K_PIECES) * 16);
            look_ahead(i + 1);
        } else {
            /* each row by itself; those that nobody sees are others */
            constexpr int SUBS = L::SHARE / TILE;
            const int r = (int)mine % TILE, sub = (int)mine / TILE;
            const uint32_t tile = units.tile(n);
            const uint32_t least = tile < seq.head + seq.base ? seq.codes_from : seq.seen_from;
            locate(min(max(tile * TILE + r, least - a.code_first), seq.codes_to - 1 - a.code_first));
            copy_anyhow(k_to + r * L::K_ROW, k + place_of(page, a.k.page, row, a.k.row), K::ROW, a.k.unit,
                        sub, SUBS);
            copy_anyhow(v_to + r * L::V_ROW, v + place_of(page, a.v.page, row, a.v.row), V::ROW, a.v.unit,
                        sub, SUBS);
            if (sub == 0)
                copy_anyhow(k_norm_to + r * K::NORM,
                            k_norms + place_of(page, a.k.norm_page, row, a.k.norm_row), K::NORM, 1, 0, 1);
            else if (sub == 1)
                copy_anyhow(v_norm_to + r * V::NORM,
                            v_norms + place_of(page, a.v.norm_page, row, a.v.norm_row), V::NORM, 1, 0, 1);
        }
    }
};

/* Codes 8 w to 8 w + 7 of a row, in the order of their bits. */
template <class F> TQ_INLINE void load_eight(const uint8_t *row, int w, uint32_t (&part)[3]) {
    part[0] = part[1] = part[2] = 0;
    if constexpr (F::BYTES) {
        const uint2 x = *(const uint2 *)(row + w * 8);
        part[0] = x.x, part[1] = x.y;
        return;
    }
    int plane_at = 0;
#pragma unroll
    for (int i = 0; i < F::PLANES; i++) {
        const uint8_t *const p = row + plane_at + w * F::width(i);
        part[i] = F::width(i) == 4 ? *(const uint32_t *)p : F::width(i) == 2 ? *(const uint16_t *)p : *p;
        plane_at += F::bytes(i);
    }
}

/* A side of a stage to float16: rows of DIM, in the order of codes. */
template <class L, class F, int DIM, int ROW, int STRIDE>
TQ_INLINE void decode_rows(const table<false> &t, const uint8_t *from, uint8_t *to) {
    constexpr int WORDS = DIM / 8, THREADS = L::TEAM * 32;
    const int thread = threadIdx.x % THREADS;
#pragma unroll 4
    for (int n0 = 0; n0 < L::POSITIONS * WORDS; n0 += THREADS) {
        const int n = n0 + thread, row = n / WORDS, w = n % WORDS;
        if (L::POSITIONS * WORDS % THREADS != 0 && n >= L::POSITIONS * WORDS) break;
        uint32_t part[3];
        load_eight<F>(from + row * ROW, w, part);
        uint32_t x[8];
        look_up<F, false>(t, part, x);
        *(uint4 *)(to + row * STRIDE + w * 16) = make_uint4(x[0], x[1], x[2], x[3]);
    }
}

/* What a tile's positions are multiplied by, [3][positions]: products with keys; logarithms of values,
 * or more; weights. A norm that is not finite is a score that is not a number. */
template <class L> TQ_INLINE void decode_norms(const uint8_t *stage, float *numbers, float usual) {
    using K = typename L::K;
    using V = typename L::V;
    const int n = threadIdx.x % (L::TEAM * 32);
    if (n >= L::POSITIONS) return;
    const uint8_t *const k = stage + L::NORMS_AT + n * K::NORM, *const v =
                                                                    stage + L::V_NORMS_AT + n * V::NORM;
    const float x = K::NORM == 2 ? half_low(*(const uint16_t *)k) : *(const float *)k;
    const float y = V::NORM == 2 ? half_low(*(const uint16_t *)v) : *(const float *)v;
    numbers[n] = x + (x - x);
    numbers[L::POSITIONS + n] = fmaxf(log_of_2(fabsf(y)), V::NORM == 2 ? -24.0f : -60.0f);
    numbers[2 * L::POSITIONS + n] = y * usual;
}

#endif
