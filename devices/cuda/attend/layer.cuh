/* SPDX-License-Identifier: MIT
 * What is known of a layer when its kernel is compiled: shapes, and how shared memory is shared out. */
#ifndef TQ_CUDA_LAYER_CUH
#define TQ_CUDA_LAYER_CUH

#ifndef __CUDACC_RTC__
#include "attend/codes.cuh"
#endif

template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int SHARED> struct layer {
    using K = format_of<KF, D_>;
    using V = format_of<VF, E_>;
    static constexpr int D = D_, E = E_;
    static constexpr bool EXACT = ACCURACY != TQ_ATTEND_FAST;
    static constexpr int TEAM = D > 576 || E > 576   ? 4
                                : D > 256 || E > 256 ? 2
                                                     : 1;         /* warps that share V */
    static constexpr bool FREE = ACCURACY == TQ_ATTEND_EXACT_FEW; /* low parts are in columns 4 to 7 */
    static constexpr bool TWICE = ACCURACY == TQ_ATTEND_EXACT;    /* or a second product */
    static_assert(TEAM == 1 || !FREE, "teams have low parts in a second product");
    static constexpr bool SPLIT = !ANY_LAYOUT; /* planes apart in a stage */
    static_assert(!SPLIT || (K::WHOLE && V::WHOLE), "rows are not of 16-byte pieces");
    /* Entries of the keys' table are beside those of the values': of 4 bytes one for each lane, of 8 for
     * each lane of a half warp, which loads are done by. */
    static constexpr int K_ENTRY = entry_bytes<K::KIND, EXACT>(), V_ENTRY = entry_bytes<V::KIND, EXACT>();
    static constexpr bool DOUBLE_KEYS = EXACT && (K::KIND == PAIRS || K::KIND == TRIPLES);
    static constexpr bool SAME = KF == VF;
    static constexpr int V_TABLE = SAME ? 0 : 128, TABLES = 65536;
    static constexpr int K_ROW = (K::ROW + 15) / 16 * 16, V_ROW = (V::ROW + 15) / 16 * 16;
    static constexpr int V_AT = TILE * K_ROW, NORMS_AT = V_AT + TILE * V_ROW;
    static constexpr int STAGE = NORMS_AT + (TILE * (K::NORM + V::NORM) + 15) / 16 * 16;
    static constexpr int K_STEPS = D / 16, V_TILES = E / 16;
    /* words of a member of a team: whole chunks, so that the last members may have fewer, or none */
    static constexpr int V_WORDS = words_of<V, 2>::ALL, CHUNK = words_of<V, 2>::CHUNK;
    static constexpr int MY_WORDS = (V_WORDS + TEAM * CHUNK - 1) / (TEAM * CHUNK) * CHUNK;
    static constexpr int MY_TILES = MY_WORDS * 4 < V_TILES ? MY_WORDS * 4 : V_TILES;
    /* operands of queries: in registers, in shared memory, or, of the largest heads, where they are */
    static constexpr bool QUERIES_HELD = TEAM == 1, QUERIES_SHARED = TEAM == 2;
    static constexpr int QUERY_BYTES = K_STEPS * 256 * (TWICE ? 2 : 1);
    static constexpr int EXCHANGE_WARP = TEAM > 1 ? TILE *COLUMNS * 4 : 0;
    static constexpr int PART = MY_TILES * 2 * 8 * COLUMNS * 4; /* a warp's last sums, over its ring */
    /* Shared memory below the tables and above them: rings lie on both sides. */
    static constexpr bool FIXED = SHARED >= 163 && TEAM == 1;
    static constexpr int STATIC = 4096; /* what is the system's, and variables with names, come first */
    static constexpr int BELOW = FIXED ? TABLES - STATIC : 0;
    static constexpr int ABOVE = SHARED * 1024 + (FIXED ? 1024 - 2 * TABLES : -STATIC - TABLES) -
                                 (QUERIES_SHARED ? QUERY_BYTES : 0);
    static __host__ __device__ constexpr int ring_bytes(int stages) {
        return stages * STAGE > PART ? stages * STAGE : PART;
    }
    static __host__ __device__ constexpr int warps_below(int stages) {
        return BELOW / ring_bytes(stages) / TEAM * TEAM;
    }
    static __host__ __device__ constexpr int stages(int warps) {
        int n = 3; /* more would only wait in the memory's queues, some blocks longer than others */
        while (n > 0 && (warps - warps_below(n)) * ring_bytes(n) > ABOVE - warps * EXCHANGE_WARP)
            n--;
        return n;
    }
    /* whose registers are enough */
    static constexpr int MOST_WARPS = TEAM > 1 || D > 128 || E > 128 ? 8 : D > 64 || E > 64 ? 12 : 16;
    static constexpr int WARPS = MOST_WARPS > 12 && stages(MOST_WARPS) > 2 ? MOST_WARPS
                                 : MOST_WARPS > 8 && stages(12) > 2        ? 12
                                 : stages(8) > 1                           ? 8
                                                                           : 4;
    static constexpr int THREADS = WARPS * 32;
    static constexpr int STAGES = stages(WARPS);
    static_assert(STAGES >= 1,
                  "a layer of this head dimension wants more shared memory than the card has");
    static constexpr int MEMBER = ring_bytes(STAGES); /* from a warp's ring to the next of its team */
    static constexpr int WARPS_BELOW = warps_below(STAGES) < WARPS ? warps_below(STAGES) : WARPS;
    /* Products with the centres of a piece's first stretches lie in what is left. */
    static constexpr int LEFT = (ABOVE - (WARPS - WARPS_BELOW) * MEMBER) / (COLUMNS * 4);
    static constexpr int BIAS_ROWS = !FIXED || LEFT < 0           ? 0
                                     : LEFT < TQ_ATTEND_BIAS_ROWS ? LEFT
                                                                  : TQ_ATTEND_BIAS_ROWS;
};

#endif
