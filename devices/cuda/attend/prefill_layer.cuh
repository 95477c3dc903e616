/* SPDX-License-Identifier: MIT
 * What is known of a layer whose calls have many rows a KV head, when its kernel is compiled. */
#ifndef TQ_CUDA_PREFILL_LAYER_CUH
#define TQ_CUDA_PREFILL_LAYER_CUH

#ifndef __CUDACC_RTC__
#include "attend/codes.cuh"
#endif

/* TEAM: warps that share a tile: one, which then works for itself, or all of a block. */
template <int D_, int E_, int KF, int VF, int TEAM_, int ANY_LAYOUT, int SHARED> struct prefill_layer {
    using K = format_of<KF, D_>;
    using V = format_of<VF, E_>;
    static constexpr int D = D_, E = E_, TEAM = TEAM_;
    static constexpr bool EXACT = false, SAME = KF == VF, SPLIT = !ANY_LAYOUT;
    static_assert(!SPLIT || (K::WHOLE && V::WHOLE), "rows are not of 16-byte pieces");
    static_assert(D <= 256 && E <= 256, "a warp has all coordinates of its rows");
    static constexpr int WARPS = 8, THREADS = WARPS * 32, TEAMS = WARPS / TEAM;
    static_assert(TEAM == 1 || TEAM == WARPS, "teams of one have no barrier, one team has the block's");
    /* Rows of a warp, in blocks of 16: as many sums of values as registers hold. */
    static constexpr int WARP_ROWS = TQ_PREFILL_WARP_ROWS(D, E), BLOCKS = WARP_ROWS / 16;
    static constexpr int ROWS = TEAM * WARP_ROWS;
    static constexpr int K_ENTRY = entry_bytes<K::KIND, false>(), V_ENTRY = entry_bytes<V::KIND, false>();
    static constexpr int V_TABLE = SAME ? 0 : 128, TABLES = 65536;
    /* Rows of codes, and of float16, an odd number of 16-byte pieces: eight of them lie in all banks. */
    static constexpr int K_ROW = (K::ROW + 15) / 16 * 16, V_ROW = (V::ROW + 15) / 16 * 16;
    static constexpr int K_STRIDE = (D / 8 | 1) * 16, V_STRIDE = (E / 8 | 1) * 16;
    /* A tile in float16: keys and values, and of all warps the next one's beside them; a warp by itself
     * has values where it had the keys. Numbers: a position's, for keys, for values, and for weights. */
    static constexpr int BUFFERS = TEAM > 1 ? 2 : 1;
    static __host__ __device__ constexpr int values_at(int n) {
        return TEAM > 1 ? n * K_STRIDE : 0;
    }
    static __host__ __device__ constexpr int numbers_at(int n) {
        return TEAM > 1 ? n * (K_STRIDE + V_STRIDE) : n * (K_STRIDE > V_STRIDE ? K_STRIDE : V_STRIDE);
    }
    static __host__ __device__ constexpr int buffer_bytes(int n) {
        return numbers_at(n) + n * 3 * 4;
    }
    static __host__ __device__ constexpr int stage_bytes(int n) {
        return n * (K_ROW + V_ROW + K::NORM + V::NORM);
    }
    /* Queries stay in registers where these are enough for them, scores and sums. */
    static __host__ __device__ constexpr bool held(int n) {
        return WARP_ROWS * (D / 2 + n + E) / 32 <= 208;
    }
    static __host__ __device__ constexpr int query_bytes(int n) {
        return held(n) ? 0 : ROWS * K_STRIDE;
    }
    static constexpr int ENDS = TEAM > 1 ? 0 : WARPS *WARP_ROWS * 2 * 4;
    static constexpr int STATIC = 4096; /* what is the system's, and variables with names, come first */
    static __host__ __device__ constexpr int room(int n) {
        return (SHARED * 1024 - STATIC - TABLES - ENDS - ROWS * 4 - query_bytes(n)) / TEAMS / 16 * 16;
    }
    static __host__ __device__ constexpr int stages(int n) {
        const int fit = (room(n) - BUFFERS * buffer_bytes(n)) / stage_bytes(n);
        return fit > 6 ? 6 : fit;
    }
    /* Positions of a tile: with those of two warps' rows queries are read half as often. */
    static constexpr int MOST = TEAM == 1 ? 16 : BLOCKS == 2 ? 64 : 32;
    static constexpr int POSITIONS = stages(MOST) >= BUFFERS || MOST == 16       ? MOST
                                     : stages(MOST / 2) >= BUFFERS || MOST == 32 ? MOST / 2
                                                                                 : 16;
    static constexpr bool HELD = held(POSITIONS);
    static constexpr int STAGES = stages(POSITIONS), STAGE = stage_bytes(POSITIONS);
    static_assert(STAGES >= BUFFERS, "a layer of this head dimension wants more shared memory");
    static constexpr int UNITS = POSITIONS / TILE,
                         SHARE = TEAM * 32 / UNITS; /* threads of 16 positions */
    static constexpr int V_AT = POSITIONS * K_ROW, NORMS_AT = V_AT + POSITIONS * V_ROW,
                         V_NORMS_AT = NORMS_AT + POSITIONS * K::NORM;
    static constexpr int BUFFER = buffer_bytes(POSITIONS), VALUES = values_at(POSITIONS),
                         NUMBERS = numbers_at(POSITIONS);
    static constexpr int TEAM_BYTES = BUFFERS * BUFFER + STAGES * STAGE;
    static constexpr int K_TILES = POSITIONS / 8, V_TILES = E / 8; /* columns of products */
    /* Coordinates that warps put together at once, over their tiles. */
    static __host__ __device__ constexpr int together(int e) {
        return E % e == 0 && WARP_ROWS * e * 4 <= TEAM_BYTES ? e : together(e / 2);
    }
    static constexpr int TOGETHER = TEAM > 1 ? E : together(64);
};

/* Shared memory of a block: [tables] [queries] [scales of rows] [teams: buffers, ring] [ends]. */
template <class L> struct prefill_memory {
    uint8_t *tables, *queries, *teams;
    float *scales;
    float *tops, *sums; /* [warps][rows] of teams of one */
    TQ_INLINE prefill_memory(uint8_t *shared) {
        tables = shared;
        queries = tables + L::TABLES;
        scales = (float *)(queries + L::query_bytes(L::POSITIONS));
        teams = (uint8_t *)(scales + L::ROWS);
        tops = (float *)(teams + L::TEAMS * L::TEAM_BYTES);
        sums = tops + L::WARPS * L::WARP_ROWS;
    }
    TQ_INLINE uint8_t *team(int t) const {
        return teams + t * L::TEAM_BYTES;
    }
};

/* Warps of a team have come as far, and see what the others wrote. */
template <class L> TQ_INLINE void team_meets() {
    if (L::TEAM > 1)
        __syncthreads();
    else
        __syncwarp();
}

#endif
