/* SPDX-License-Identifier: MIT
 * What there is to do, as the device's lengths tell: which positions of a sequence lie where and are seen
 * by any query, and how tiles are shared out among blocks. */
#ifndef TQ_CUDA_LINE_CUH
#define TQ_CUDA_LINE_CUH

#ifndef __CUDACC_RTC__
#include "attend/instructions.cuh"
#endif

TQ_INLINE uint32_t tiles_of(uint32_t positions) {
    return (positions + TILE - 1) / TILE;
}

TQ_INLINE tq_attend_sequence sequence_of(const tq_attend_args &a, uint32_t b) {
    tq_attend_sequence s = {};
    const int32_t given = a.lengths[b], coded = a.coded_lengths == nullptr ? 0 : a.coded_lengths[b];
    s.length = min((uint32_t)max(given, 0), a.max_length);
    const uint32_t sinks = min(a.n_sinks, s.length);
    s.codes_to = s.length;
    if (a.recent.k != nullptr && a.coded_lengths != nullptr)
        s.codes_to = min((uint32_t)max(coded, (int32_t)sinks), s.length);
    s.recent_from = s.codes_to;
    s.codes_from = max(a.code_first, sinks);
    if (a.tables == nullptr && s.codes_to > a.code_first + a.page_rows)
        s.codes_from = max(s.codes_from, s.codes_to - a.page_rows);
    /* of what is before the window only sinks are seen */
    const int64_t oldest = (int64_t)s.length - a.queries - a.window + 1;
    uint32_t seen_from = a.window == 0 || oldest < 0 ? 0 : (uint32_t)oldest;
    if (a.tree != nullptr) seen_from = min(seen_from, s.length - min(s.length, a.n_tree));
    if (s.codes_from < s.codes_to) {
        s.base = (s.codes_from - a.code_first) / TILE;
        const uint32_t end = tiles_of(s.codes_to - a.code_first);
        s.seen_from = max(s.codes_from, seen_from);
        uint32_t first = (s.seen_from - a.code_first) / TILE;
        if (seen_from > 0 && a.sink_positions > s.codes_from)
            s.head = tiles_of(min(a.sink_positions, s.codes_to) - a.code_first) - s.base;
        if (first <= s.base + s.head) first = s.base + s.head;
        s.skip = first - s.head;
        s.codes = s.head + (first < end ? end - first : 0);
    }
    if (a.sink.k != nullptr && (sinks > seen_from || a.sink_positions > 0)) s.sinks = sinks;
    if (a.sink_positions <= s.recent_from) s.recent_from = max(s.recent_from, min(seen_from, s.length));
    s.dense = s.sinks + s.length - s.recent_from;
    return s;
}

/* Parts that the float16 of a sequence is worked on in: of 32 positions, or more where there are many. */
TQ_INLINE uint32_t dense_parts_of(const tq_attend_sequence &s) {
    return min((s.dense + 31) / 32, (uint32_t)TQ_ATTEND_DENSE_PARTS);
}

/* `total`: units of all items; least and most: of an item. */
TQ_INLINE tq_attend_cut cut_of(uint32_t total, uint32_t least, uint32_t most, uint32_t items,
                               uint32_t multiprocessors) {
    /* Blocks of less than half a tile a warp would not be worth their part of the end. */
    constexpr uint32_t FEW = 8;
    tq_attend_cut cut = {};
    if (least == most && items <= multiprocessors) {
        cut.split = max(1u, min(multiprocessors / items, most / FEW));
        cut.blocks = most == 0 ? 0 : items * cut.split;
        cut.each = most / cut.split, cut.rest = most % cut.split;
    } else {
        cut.blocks = min(multiprocessors, (total + FEW - 1) / FEW);
        cut.each = cut.blocks == 0 ? 0 : total / cut.blocks;
        cut.rest = cut.blocks == 0 ? 0 : total % cut.blocks;
    }
    return cut;
}

/* The block whose part of the line unit u is. */
TQ_INLINE uint32_t owner_of(const tq_attend_cut &cut, uint32_t u) {
    const uint32_t longer = cut.rest * (cut.each + 1);
    return u < longer ? u / (cut.each + 1) : cut.rest + (u - longer) / cut.each;
}

/* Blocks that have codes of an item, `units` of the line from `start` on. */
struct parts_of_codes {
    uint32_t first, blocks;
    TQ_INLINE parts_of_codes(const tq_attend_cut &cut, uint32_t item, uint32_t start, uint32_t units) {
        first = blocks = 0;
        if (units == 0) return;
        first = cut.split > 0 ? item * cut.split : owner_of(cut, start);
        blocks = cut.split > 0 ? cut.split : owner_of(cut, start + units - 1) - first + 1;
    }
};

/* Of this lane and those below it. */
TQ_INLINE uint32_t sum_to_lane(uint32_t x) {
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        const uint32_t other = __shfl_up_sync(~0u, x, d);
        if ((threadIdx.x & 31) >= d) x += other;
    }
    return x;
}

/* The line of up to 32 sequences lies in a warp: each lane has one, and the unit behind its last. */
struct line {
    tq_attend_sequence mine;
    uint32_t end;
    tq_attend_cut cut;
    TQ_INLINE line(const tq_attend_args &a, uint32_t multiprocessors) {
        const uint32_t lane = threadIdx.x & 31, items = a.kv_heads * a.row_blocks;
        const bool there = lane < a.sequences;
        mine = sequence_of(a, there ? lane : 0);
        const uint32_t units = there ? mine.codes : 0;
        const uint32_t least = __reduce_min_sync(~0u, there ? units : ~0u);
        const uint32_t most = __reduce_max_sync(~0u, units);
        end = sum_to_lane(units * items);
        cut = cut_of(__shfl_sync(~0u, end, 31), least, most, a.sequences * items, multiprocessors);
    }
};

#endif
