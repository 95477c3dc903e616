/* SPDX-License-Identifier: MIT
 * Attention of a few query rows over codes, on tensor cores. nvcc compiles this text ahead for common
 * layers, NVRTC for the others, behind attend.h: it includes nothing else.
 *
 * One block an SM. A warp takes tiles of 16 positions, each by itself, with a ring of tiles of its own in
 * shared memory; warps meet at the end of a piece of work. Keys are the rows of a product with eight
 * columns of queries, so that codes may come in any order that the queries follow; values, transposed,
 * those of a product with the weights. A byte of codes becomes float16 by one load from a table that has
 * a copy for every lane: no two lanes meet in a bank.
 *
 * Heads beyond 256 dimensions are shared by a team of warps: each has the scores of its own positions and
 * a part of the values' coordinates of all. Then the whole block goes in step. */
#ifndef TQ_CUDA_ATTEND_CUH
#define TQ_CUDA_ATTEND_CUH

#define TQ_INLINE __device__ __forceinline__

#ifndef TQ_ATTEND_MOST_WARPS
#define TQ_ATTEND_MOST_WARPS 12
#endif

constexpr int COLUMNS = TQ_ATTEND_COLUMNS, TILE = TQ_ATTEND_TILE;
constexpr float LOG2_E = 1.44269504f;
#define INF __int_as_float(0x7f800000)

/* ---- instructions */

TQ_INLINE uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
TQ_INLINE uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    return __byte_perm(a, b, selector);
}
/* Bits of a where the mask has ones, of b elsewhere. */
TQ_INLINE uint32_t select(uint32_t mask, uint32_t a, uint32_t b) {
    return (a & mask) | (b & ~mask);
}
/* Two float16: the low half is a. */
TQ_INLINE uint32_t pack(float a, float b) {
    uint32_t d;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(b), "f"(a));
    return d;
}
TQ_INLINE float half_low(uint32_t x) {
    float f;
    asm("{.reg .b16 l, h;\n mov.b32 {l, h}, %1;\n cvt.f32.f16 %0, l;}" : "=f"(f) : "r"(x));
    return f;
}
TQ_INLINE float half_high(uint32_t x) {
    float f;
    asm("{.reg .b16 l, h;\n mov.b32 {l, h}, %1;\n cvt.f32.f16 %0, h;}" : "=f"(f) : "r"(x));
    return f;
}
TQ_INLINE float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TQ_INLINE float log_of_2(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TQ_INLINE void product(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                       uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
TQ_INLINE uint32_t transpose(uint32_t a) {
    uint32_t d;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}
template <int N> TQ_INLINE void copy_async(uint32_t to, const void *from) {
    if constexpr (N == 16)
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from));
}
TQ_INLINE void copies_commit() {
    asm volatile("cp.async.commit_group;");
}
template <int N> TQ_INLINE void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
/* Of what ran before in the stream with the programmatic attribute. */
TQ_INLINE void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/* Brings what is at p to the cache that loads look at first: all of it lies in two sectors at most. */
TQ_INLINE void touch(const tq_attend_sequence *p) {
    uint32_t x;
    asm volatile("ld.global.ca.u32 %0, [%1];" : "=r"(x) : "l"(p));
    asm volatile("ld.global.ca.u32 %0, [%1];" : "=r"(x) : "l"((const uint8_t *)p + sizeof *p - 4));
    (void)x;
}
TQ_INLINE void let_next_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* ---- formats */

enum {
    PAIRS,
    TRIPLES,
    QUADS,
    SINGLES
}; /* codes that an entry of the table stands for: TRIPLES are two */

template <int F, int DIM> struct format_of {
    static constexpr bool V1 = F & 0x100;
    static constexpr int BITS = F & 0xff, VECTORS = DIM / 16;
    static constexpr bool BYTES = V1 ? BITS != 4 : BITS == 8, LINEAR = V1 || BITS == 8;
    /* vectors of a block, docs/format.md; bytes have those that make pieces of 16 */
    static constexpr int GROUP = BYTES ? (VECTORS % 4 == 0 ? 4 : 1)
                                       : (VECTORS % 8 == 0   ? 8
                                          : VECTORS % 4 == 0 ? 4
                                          : VECTORS % 2 == 0 ? 2
                                                             : 1);
    static constexpr int BLOCKS = VECTORS / GROUP;
    static constexpr int PLANES = BYTES ? 1 : BITS == 7 ? 3 : BITS == 3 || BITS == 5 || BITS == 6 ? 2 : 1;
    static __host__ __device__ constexpr int width(int plane) {
        return BYTES ? 8 : plane == 0 ? (BITS < 4 ? 2 : 4) : plane == 1 && BITS >= 6 ? 2 : 1;
    }
    static __host__ __device__ constexpr int bytes(int plane) {
        return DIM * width(plane) / 8;
    }
    static constexpr int ROW = BYTES ? DIM : DIM * BITS / 8;
    static constexpr int KIND = BYTES || BITS > 4 ? SINGLES
                                : BITS == 4       ? PAIRS
                                : BITS == 3       ? TRIPLES
                                                  : QUADS;
    static constexpr int NORM = V1 ? (DIM == 512 ? 8 : 4) : 2;
    static constexpr bool WHOLE =
        bytes(PLANES - 1) % 16 == 0 && ROW % 16 == 0; /* planes of 16-byte pieces */
};

/* Where byte `at` of a plane of row r lies in a stage. Rows in pieces of 16 bytes are swizzled, so that
 * threads that read `span` bytes of several rows at once find them in different banks. */
template <class F, bool SPLIT> TQ_INLINE constexpr int place(int plane, int r, int at, int span) {
    int base = 0;
    for (int i = 0; i < plane; i++)
        base += SPLIT ? F::bytes(i) * TILE : F::bytes(i);
    if (!SPLIT) return r * ((F::ROW + 15) / 16 * 16) + base + at;
    const int row = F::bytes(plane), line = row < 128 ? row : 128;
    if ((row & (row - 1)) == 0 && line > span) {
        const int rows = 128 / line, turns = line / span;
        at ^= r / rows % turns * span;
    }
    return base + r * row + at;
}

/* The bits of a thread, of 4 (keys) or 2 (values) lanes, in words of eight codes. */
template <class F, int LANES> struct words_of {
    static constexpr int CODES = LANES * F::GROUP;            /* of a block */
    static constexpr int CHUNK = CODES >= 8 ? CODES / 8 : 1;  /* words that are loaded together */
    static constexpr int BLOCKS = CODES >= 8 ? 1 : 8 / CODES; /* blocks that make them */
    static constexpr int ALL = (F::VECTORS * LANES + 7) / 8;  /* words */
    static constexpr int PARTS = F::BYTES ? 2 : F::PLANES;    /* registers of a word */
    uint32_t part[CHUNK][3];

    template <bool SPLIT> TQ_INLINE void load(const uint8_t *stage, int row, int chunk, int lane) {
#pragma unroll
        for (int w = 0; w < CHUNK; w++)
            part[w][0] = part[w][1] = part[w][2] = 0;
#pragma unroll
        for (int plane = 0; plane < F::PLANES; plane++) {
            const int width = F::width(plane), bits = CODES * width;
            const int piece = bits / 8, span = LANES == 4 ? 4 * piece : piece >= 4 ? 32 : 16;
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                const int block = chunk * BLOCKS + b;
                if (block >= F::BLOCKS) break;
                const int at = block * 2 * width * F::GROUP + lane * width * F::GROUP / 8;
                const uint8_t *const p = stage + place<F, SPLIT>(plane, row, at, span);
                uint32_t x[4] = {0, 0, 0, 0};
                if (bits == 128) {
                    const uint4 v = *(const uint4 *)p;
                    x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
                } else if (bits == 64) {
                    const uint2 v = *(const uint2 *)p;
                    x[0] = v.x, x[1] = v.y;
                } else if (bits == 32) {
                    x[0] = *(const uint32_t *)p;
                } else if (bits == 16) {
                    x[0] = *(const uint16_t *)p;
                } else if (bits == 8) {
                    x[0] = *p;
                } else {
                    x[0] = *p >> (lane * width * F::GROUP % 8) & ((1u << bits) - 1);
                }
                if (F::BYTES) { /* a word is two registers */
                    if (CODES >= 8) {
#pragma unroll
                        for (int w = 0; w < CHUNK; w++)
                            part[w][0] = x[2 * w], part[w][1] = x[2 * w + 1];
                    } else if (bits == 32) {
                        part[0][b] = x[0];
                    } else {
                        part[0][b / 2] |= x[0] << (b % 2 * 16);
                    }
                } else if (CODES >= 8) {
                    const int each = 8 * width; /* bits of a word */
#pragma unroll
                    for (int w = 0; w < CHUNK; w++)
                        part[w][plane] = each == 32 ? x[w] : x[w * each / 32] >> (w * each % 32);
                } else {
                    part[0][plane] |= x[0] << (b * bits);
                }
            }
        }
    }
};

/* Fields of two bits, four of them from bit 0 on, to bits 4 and 5 of four bytes; other bits are rubbish.
 */
TQ_INLINE uint32_t spread_2(uint32_t x) {
    return select(0x00ff00ffu, (x & 0x33u) * 0x00010010u, (x & 0xccu) * 0x00400400u);
}
/* Even or odd ones of eight bits to bit 4 of four bytes, or to bit 6. */
TQ_INLINE uint32_t spread_1(uint32_t x, int odd, int to) {
    return odd ? (x & 0xaau) * (to == 4 ? 0x00208208u : 0x00820820u)
               : (x & 0x55u) * (to == 4 ? 0x00410410u : 0x01041040u);
}
/* Nibbles of 16 bits, a byte each. */
TQ_INLINE uint32_t spread_4(uint32_t x) {
    const uint32_t y = permute(x, 0, 0x1100);
    return select(0x000f000fu, y, y >> 4);
}

/* Eight codes of which each is a byte of an index: even ones in x, odd ones in y; of bytes, as they
 * come. Bits above those of the format are rubbish, which the table does not mind. */
template <class F> struct singles {
    uint32_t x, y;
    TQ_INLINE singles(const uint32_t (&part)[3]) {
        if constexpr (F::BYTES) {
            x = part[0], y = part[1];
            return;
        }
        x = part[0], y = part[0] >> 4;
        if constexpr (F::BITS == 5) {
            x = select(0x0f0f0f0fu, x, spread_1(part[1], 0, 4));
            y = select(0x0f0f0f0fu, y, spread_1(part[1], 1, 4));
        } else {
            const uint32_t two = permute(part[1], 0, 0x1100);
            x = select(0x0f0f0f0fu, x, select(0x00ff00ffu, two << 4, two));
            y = select(0x0f0f0f0fu, y, select(0x00ff00ffu, two << 2, two >> 2));
            if constexpr (F::BITS == 7) {
                x = select(0x3f3f3f3fu, x, spread_1(part[2], 0, 6));
                y = select(0x3f3f3f3fu, y, spread_1(part[2], 1, 6));
            }
        }
    }
    TQ_INLINE uint32_t reg(int i) const {
        return F::BYTES ? (i < 4 ? x : y) : (i % 2 == 0 ? x : y);
    }
    TQ_INLINE int byte(int i) const {
        return F::BYTES ? i % 4 : i / 2;
    }
};

/* ---- tables: entries 256 bytes apart, so that one byte permutation makes an address */

template <int KIND, bool EXACT> __host__ __device__ constexpr int entry_bytes() {
    return KIND == QUADS || (EXACT && KIND != SINGLES) ? 8 : 4;
}

/* Where a block may have 128 KiB and more, the tables lie at an address that is a multiple of 64 KiB: its
 * upper half is that of a lane's offset, and nothing is left to add. */
template <bool FIXED> struct table {
    uint32_t base, lane; /* of the tables, unless fixed; of this lane's copy */
    TQ_INLINE uint32_t at(uint32_t word, int byte) const {
        const uint32_t offset = permute(word, lane, 0x7604 | byte << 4);
        return FIXED ? offset : base + offset;
    }
    TQ_INLINE uint32_t get(uint32_t word, int byte) const {
        uint32_t x;
        asm("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(at(word, byte)));
        return x;
    }
    TQ_INLINE uint2 get_2(uint32_t word, int byte) const {
        uint2 x;
        asm("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(at(word, byte)));
        return x;
    }
};
TQ_INLINE uint32_t low_halves(uint32_t a, uint32_t b) {
    return permute(a, b, 0x5410);
}

/* ---- the layer */

template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int DENSE_, int SHARED>
struct layer {
    using K = format_of<KF, D_>;
    using V = format_of<VF, E_>;
    static constexpr int D = D_, E = E_;
    static constexpr bool EXACT = ACCURACY != TQ_ATTEND_FAST, DENSE = DENSE_;
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
    static constexpr bool SAME = KF == VF;
    static constexpr int V_TABLE = SAME ? 0 : 128, TABLES = 65536;
    static constexpr int K_ROW = (K::ROW + 15) / 16 * 16, V_ROW = (V::ROW + 15) / 16 * 16;
    static constexpr int V_AT = TILE * K_ROW, NORMS_AT = V_AT + TILE * V_ROW;
    static constexpr int STAGE = NORMS_AT + (TILE * (K::NORM + V::NORM) + 15) / 16 * 16;
    static constexpr int K_STEPS = D / 16, V_TILES = E / 16;
    static constexpr int V_WORDS = words_of<V, 2>::ALL, MY_WORDS = (V_WORDS + TEAM - 1) / TEAM;
    static constexpr int MY_TILES = MY_WORDS * 4 < V_TILES ? MY_WORDS * 4 : V_TILES;
    /* operands of queries: in registers, in shared memory, or, of the largest heads, where they are */
    static constexpr bool QUERIES_HELD = TEAM == 1, QUERIES_SHARED = TEAM == 2;
    static constexpr int QUERY_BYTES = K_STEPS * 256 * (TWICE ? 2 : 1);
    static constexpr int EXCHANGE_WARP = TEAM > 1 ? TILE *COLUMNS * 4 : 0;
    static constexpr int PART = MY_TILES * 2 * 8 * COLUMNS * 4; /* a warp's last sums, over its ring */
    /* Shared memory below the tables and above them: rings lie on both sides. */
    static constexpr bool FIXED = SHARED >= 163 && TEAM == 1;
    static constexpr int BELOW = FIXED ? TABLES - 3072 : 0;
    static constexpr int ABOVE =
        SHARED * 1024 + (FIXED ? 1024 - 2 * TABLES : -3072 - TABLES) - (QUERIES_SHARED ? QUERY_BYTES : 0);
    static __host__ __device__ constexpr int ring_bytes(int stages) {
        return stages * STAGE > PART ? stages * STAGE : PART;
    }
    static __host__ __device__ constexpr int warps_below(int stages) {
        return BELOW / ring_bytes(stages) / TEAM * TEAM;
    }
    static __host__ __device__ constexpr int stages(int warps) {
        int n = 6;
        while (n > 0 && (warps - warps_below(n)) * ring_bytes(n) > ABOVE - warps * EXCHANGE_WARP)
            n--;
        return n;
    }
    static constexpr int MOST_WARPS = TEAM > 1 || D > 128 || E > 128 ? 8 : TQ_ATTEND_MOST_WARPS;
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
    static constexpr int KINDS =
        DENSE ? 2 : 1; /* of sums: codes' are rotated, those of float16 may not be */
};

/* ---- keys */

/* The right sides of products with queries, and what rounding left of them. */
template <class L> struct operands {
    uint2 held[L::QUERIES_HELD ? L::K_STEPS * (L::TWICE ? 2 : 1) : 1];
    const uint2 *from; /* of this lane */
    TQ_INLINE uint2 high(int step) const {
        return L::QUERIES_HELD ? held[L::QUERIES_HELD ? step : 0] : from[step * 32];
    }
    TQ_INLINE uint2 low(int step) const {
        return high(L::K_STEPS + step);
    }
};

/* Eight codes of two rows times two steps of queries. */
template <class L, class W>
TQ_INLINE void key_word(const table<L::FIXED> &t, const W &x, const W &y, int w, const uint32_t (&q)[4],
                        const uint32_t (&low)[4], int steps, float (&s)[4]) {
    using F = typename L::K;
    uint32_t a[8], b[8]; /* four operands; eight where entries have two */
    constexpr bool DOUBLE = L::EXACT && (F::KIND == PAIRS || F::KIND == TRIPLES);
    auto look = [&](const uint32_t(&part)[3], uint32_t(&to)[8]) {
        if constexpr (F::KIND == SINGLES) {
            const singles<F> index(part);
#pragma unroll
            for (int i = 0; i < 8; i++)
                to[i] = t.get(index.reg(i), index.byte(i));
            if constexpr (!L::EXACT)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    to[i] = low_halves(to[2 * i], to[2 * i + 1]);
        } else if constexpr (F::KIND == QUADS) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const uint2 e = t.get_2(part[0], i);
                to[2 * i] = e.x, to[2 * i + 1] = e.y;
            }
        } else {
            const uint32_t index =
                F::KIND == PAIRS ? part[0] : select(0x0f0f0f0fu, spread_4(part[0]), spread_2(part[1]));
#pragma unroll
            for (int i = 0; i < 4; i++)
                if constexpr (DOUBLE) {
                    const uint2 e = t.get_2(index, i);
                    to[i] = e.x, to[4 + i] = e.y;
                } else {
                    to[i] = t.get(index, i);
                }
        }
    };
    look(x.part[w], a);
    look(y.part[w], b);
#pragma unroll
    for (int j = 0; j < 2; j++) {
        if (j >= steps) break;
        const uint32_t q0 = q[2 * j], q1 = q[2 * j + 1], l0 = low[2 * j], l1 = low[2 * j + 1];
        if constexpr (F::KIND == SINGLES && L::EXACT) {
            /* an entry is a code's high and low part: each takes the same query */
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const uint32_t qh = h ? q1 : q0, lh = h ? l1 : l0;
                const int i = 4 * j + 2 * h;
                product(s, a[i], b[i], a[i + 1], b[i + 1], permute(qh, 0, 0x1010),
                        permute(qh, 0, 0x3232));
                if constexpr (L::TWICE)
                    product(s, a[i], b[i], a[i + 1], b[i + 1], permute(lh, 0, 0x1010),
                            permute(lh, 0, 0x3232));
            }
        } else {
            const int i = 2 * j;
            product(s, a[i], b[i], a[i + 1], b[i + 1], q0, q1);
            if constexpr (L::TWICE) product(s, a[i], b[i], a[i + 1], b[i + 1], l0, l1);
            if constexpr (DOUBLE) product(s, a[4 + i], b[4 + i], a[5 + i], b[5 + i], q0, q1);
        }
    }
}

/* Products of the 16 keys of a stage with the columns, in two sums: v1's norms of two halves. */
template <class L>
TQ_INLINE void key_products(const table<L::FIXED> &t, const uint8_t *stage, int g, int tid,
                            const operands<L> &q, float (&s)[2][4]) {
    using W = words_of<typename L::K, 4>;
    constexpr int CHUNKS = (W::ALL + W::CHUNK - 1) / W::CHUNK;
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        W x, y; /* slots g and 8 + g of the stage: positions in the order that weights want */
        x.template load<L::SPLIT>(stage, g, c, 4 * tid);
        y.template load<L::SPLIT>(stage, 8 + g, c, 4 * tid);
#pragma unroll
        for (int w = 0; w < W::CHUNK; w++) {
            const int word = c * W::CHUNK + w, step = 2 * word;
            if (step >= L::K_STEPS) break;
            uint32_t now[4] = {0, 0, 0, 0}, less[4] = {0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < 2; j++) {
                if (step + j >= L::K_STEPS) break;
                const uint2 v = q.high(step + j);
                now[2 * j] = v.x, now[2 * j + 1] = v.y;
                if constexpr (L::TWICE) {
                    const uint2 u = q.low(step + j);
                    less[2 * j] = u.x, less[2 * j + 1] = u.y;
                }
            }
            const int half = L::K::NORM == 8 ? (step >= L::K_STEPS / 2) : (word & 1);
            key_word<L>(t, x, y, w, now, less, L::K_STEPS - step, s[half]);
        }
    }
}

/* ---- values */

/* Weights of 16 positions as the right side of a product, with what rounding left. */
struct weights {
    uint32_t high[2], low[2];
};

template <class L>
TQ_INLINE void value_product(float (&o)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                             const weights &b) {
    product(o, a0, a1, a2, a3, b.high[0], b.high[1]);
    if constexpr (L::TWICE) product(o, a0, a1, a2, a3, b.low[0], b.low[1]);
}

/* Word `w` of four positions' codes: up to four tiles of 16 coordinates. */
template <class L, class W>
TQ_INLINE void value_word(const table<L::FIXED> &t, const W (&x)[4], int w, const weights &b, int tiles,
                          float (&o)[L::MY_TILES][4], int at) {
    using F = typename L::V;
    if constexpr (F::KIND == SINGLES) {
        const singles<F> index[4] = {singles<F>(x[0].part[w]), singles<F>(x[1].part[w]),
                                     singles<F>(x[2].part[w]), singles<F>(x[3].part[w])};
        auto look = [&](int r, int i) { return t.get(index[r].reg(i), index[r].byte(i)); };
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i >= tiles) break;
            if constexpr (L::EXACT) {
                /* a position's high and low part take the same weight */
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const uint32_t a0 = look(2 * h, 2 * i), a1 = look(2 * h, 2 * i + 1),
                                   a2 = look(2 * h + 1, 2 * i), a3 = look(2 * h + 1, 2 * i + 1);
                    product(o[at + i], a0, a1, a2, a3, permute(b.high[h], 0, 0x1010),
                            permute(b.high[h], 0, 0x3232));
                    if constexpr (L::TWICE)
                        product(o[at + i], a0, a1, a2, a3, permute(b.low[h], 0, 0x1010),
                                permute(b.low[h], 0, 0x3232));
                }
            } else {
                value_product<L>(o[at + i], low_halves(look(0, 2 * i), look(1, 2 * i)),
                                 low_halves(look(0, 2 * i + 1), look(1, 2 * i + 1)),
                                 low_halves(look(2, 2 * i), look(3, 2 * i)),
                                 low_halves(look(2, 2 * i + 1), look(3, 2 * i + 1)), b);
            }
        }
        return;
    }
    /* Codes of two positions side by side, as keys have two coordinates: even ones and odd ones. */
    uint32_t e[2], f[2]; /* positions 0 and 1; 2 and 3 */
    if constexpr (F::KIND == PAIRS) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t u = x[2 * h].part[w][0], v = x[2 * h + 1].part[w][0];
            e[h] = select(0x0f0f0f0fu, u, v << 4), f[h] = select(0x0f0f0f0fu, u >> 4, v);
        }
    } else {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t u = x[2 * h].part[w][0], v = x[2 * h + 1].part[w][0];
            e[h] = select(0x3333u, u, v << 2), f[h] = select(0x3333u, u >> 2, v);
            if constexpr (F::KIND == TRIPLES) {
                const uint32_t m = x[2 * h].part[w][1], n = x[2 * h + 1].part[w][1];
                e[h] = select(0x0f0f0f0fu, spread_4(e[h]), spread_2(select(0x55u, m, n << 1)));
                f[h] = select(0x0f0f0f0fu, spread_4(f[h]), spread_2(select(0x55u, m >> 1, n)));
            }
        }
    }
    if constexpr (F::KIND == QUADS) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint2 a0 = t.get_2(e[0], i), a1 = t.get_2(f[0], i), a2 = t.get_2(e[1], i),
                        a3 = t.get_2(f[1], i);
            if (2 * i < tiles) value_product<L>(o[at + 2 * i], a0.x, a1.x, a2.x, a3.x, b);
            if (2 * i + 1 < tiles) value_product<L>(o[at + 2 * i + 1], a0.y, a1.y, a2.y, a3.y, b);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i >= tiles) break;
            if constexpr (L::EXACT) {
                const uint2 a0 = t.get_2(e[0], i), a1 = t.get_2(f[0], i), a2 = t.get_2(e[1], i),
                            a3 = t.get_2(f[1], i);
                value_product<L>(o[at + i], a0.x, a1.x, a2.x, a3.x, b);
                product(o[at + i], a0.y, a1.y, a2.y, a3.y, b.high[0], b.high[1]);
            } else {
                value_product<L>(o[at + i], t.get(e[0], i), t.get(f[0], i), t.get(e[1], i),
                                 t.get(f[1], i), b);
            }
        }
    }
}

/* A warp's coordinates of the 16 values of a stage. */
template <class L>
TQ_INLINE void value_products(const table<L::FIXED> &t, const uint8_t *stage, int g, int tid, int member,
                              const weights &b, float (&o)[L::MY_TILES][4]) {
    using W = words_of<typename L::V, 2>;
    constexpr int CHUNKS = (L::MY_WORDS + W::CHUNK - 1) / W::CHUNK;
    static_assert(L::TEAM == 1 || L::MY_WORDS % W::CHUNK == 0 || W::CHUNK == 1, "");
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        const int chunk = L::TEAM == 1 ? c : member * CHUNKS + c;
        if (L::TEAM > 1 && chunk * W::CHUNK >= L::V_WORDS) break;
        W x[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            x[j].template load<L::SPLIT>(stage + L::V_AT, tid + 4 * j, chunk, 2 * g);
#pragma unroll
        for (int w = 0; w < W::CHUNK; w++) {
            const int word = c * W::CHUNK + w;
            if (word * 4 >= L::MY_TILES) break;
            const int left = L::MY_TILES - word * 4; /* what other members lack is never read */
            value_word<L>(t, x, w, b, left, o, word * 4);
        }
    }
}

/* Which thread g has coordinate n, as its value e. */
template <class F> TQ_INLINE void value_index(int n, int &g, int &e) {
    const int block = n / (16 * F::GROUP), in = n % (16 * F::GROUP);
    const int lane = F::LINEAR ? in / F::GROUP : n % 16, k = F::LINEAR ? in % F::GROUP : in / 16;
    g = lane / 2, e = (block * 2 + lane % 2) * F::GROUP + k;
}

/* A sum that was never added to is 0, whatever its factor. */
TQ_INLINE float scaled(float x, float factor) {
    return factor == 0.0f && x == x && fabsf(x) != INF ? 0.0f : x * factor;
}

/* ---- rows to a stage */

/* Factors of 32 bits, products of 64. */
TQ_INLINE uint64_t place_of(uint32_t page, uint32_t page_stride, uint32_t row, uint32_t row_stride) {
    return (uint64_t)page * page_stride + (uint64_t)row * row_stride;
}

/* Rows in pieces of 16 bytes, keys' in the order of products: lane l takes piece l, 32 + l .. of a tile.
 * Where its first one lies: */
template <class F> TQ_INLINE uint64_t lane_offset(uint32_t stride, int lane) {
    constexpr int PIECES = F::ROW / 16;
    return (uint64_t)(lane / PIECES) * stride + lane % PIECES * 16;
}
template <class F, int LANES>
TQ_INLINE void copy_rows(uint32_t to, const uint8_t *from, uint32_t stride, int lane) {
    constexpr int PIECES = F::ROW / 16;
    const int first_row = lane / PIECES;
#pragma unroll
    for (int n0 = 0; n0 < TILE * PIECES; n0 += 32) {
        const int n = n0 + lane, row = n / PIECES, c = n % PIECES;
        if (TILE * PIECES % 32 != 0 && n >= TILE * PIECES) continue;
        const int slot = LANES == 4 ? (row & 8) | (row & 3) << 1 | (row >> 2 & 1) : row;
        int begin = 0, at = 0;
#pragma unroll
        for (int i = 0; i < F::PLANES; i++) {
            const int piece = words_of<F, LANES>::CODES * F::width(i) / 8;
            if (c * 16 >= begin)
                at = place<F, true>(i, slot, c * 16 - begin,
                                    LANES == 4   ? 4 * piece
                                    : piece >= 4 ? 32
                                                 : 16);
            begin += F::bytes(i);
        }
        const uint8_t *const p =
            32 % PIECES == 0 ? from + (uint64_t)(n0 / PIECES) * stride
                             : from + (int64_t)(row - first_row) * stride + (c - lane % PIECES) * 16;
        copy_async<16>(to + at, p);
    }
}

/* The same, a row at a time, from wherever it lies: lane n knows where row n does. */
template <int BYTES, bool KEYS>
TQ_INLINE void copy_rows_anyhow(uint32_t to, const tq_attend_codes &c, uint64_t row_at, int lane) {
#pragma unroll 1
    for (int n = 0; n < TILE; n++) {
        const uint8_t *const p = c.data + __shfl_sync(~0u, row_at, n);
        const int slot = KEYS ? (n & 8) | (n & 3) << 1 | (n >> 2 & 1) : n;
        const uint32_t s = to + slot * ((BYTES + 15) / 16 * 16);
        if (c.unit == 16)
            for (int at = lane * 16; at < BYTES; at += 512)
                copy_async<16>(s + at, p + at);
        else if (c.unit == 4)
            for (int at = lane * 4; at < BYTES; at += 128)
                copy_async<4>(s + at, p + at);
        else
            for (int at = lane; at < BYTES; at += 32)
                asm volatile("st.shared.u8 [%0], %1;" ::"r"(s + at), "r"((uint32_t)p[at]) : "memory");
    }
}

/* ---- what rows see */

struct view {
    uint32_t codes_from, codes_to, recent_from, length;
    uint32_t tree_from;
    uint32_t sequence;
};

/* Whether a query sees position p, which is there. Out of line: few tiles are in part in sight. */
__device__ __noinline__ static bool sees(const tq_attend_args &a, const view &v, uint32_t query,
                                         uint32_t p) {
    if (a.tree != nullptr && p >= v.tree_from) {
        const uint32_t bit = p - v.tree_from + (a.n_tree > v.length ? a.n_tree - v.length : 0);
        const uint64_t word =
            a.tree[((uint64_t)v.sequence * a.queries + query) * a.tree_words + bit / 64];
        return word >> bit % 64 & 1;
    }
    const uint32_t at = v.length - a.queries + query; /* may be below 0, and wraps */
    if ((int32_t)at < 0) return !a.causal && a.window == 0;
    if (a.causal && p > at) return false;
    return a.window == 0 || p + a.window > at || p < a.sink_positions;
}

/* cap tanh(x / cap), x in natural units, times log2(e). */
template <bool EXACT> TQ_INLINE float cap_score(float x, float inverse, float capped) {
    const float y = x * inverse;
    float t;
    if constexpr (EXACT) {
        const float q = y * y, e = power_of_2(2.0f * LOG2_E * fabsf(y));
        const float series =
            y * (1.0f + q * (-1.0f / 3 + q * (2.0f / 15 + q * (-17.0f / 315 + q * (62.0f / 2835)))));
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(t) : "f"(e + 1.0f));
        t = q < 0.09f ? series : copysignf(fmaf(-2.0f, t, 1.0f), y);
    } else {
        asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(y));
    }
    return t * capped;
}

/* ---- the kernel */

/* Tiles of float16 among the first units behind those of codes. */
TQ_INLINE uint32_t tiles_before(uint32_t units, uint32_t cost) {
    return units <= TQ_ATTEND_DENSE_UNITS ? 0 : (units - TQ_ATTEND_DENSE_UNITS + cost - 1) / cost;
}
/* x / y of x below 2^20, faster than the division of integers. */
TQ_INLINE uint32_t quotient(uint32_t x, uint32_t y) {
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"((float)y));
    return (uint32_t)(((float)x + 0.5f) * inverse);
}

/* What float16 weights are multiplied by: they are no more than 2^8 of the reference and what rounding
 * adds. Where scores are so large that float32 loses the values' scales beside them, weights may be of
 * any scale. */
template <class F> struct weight_scale {
    static constexpr float USUAL = 0x1p+5f, LARGE = F::NORM == 2 ? 0x1p-17f : 0x1p-75f;
    static TQ_INLINE bool is_large(float top) {
        return fabsf(top) >= 0x1p+24f && top != -INF;
    }
    static TQ_INLINE float of(float top) {
        return is_large(top) ? LARGE : USUAL;
    }
    static TQ_INLINE float inverse(float top) {
        return is_large(top) ? 1.0f / LARGE : 1.0f / USUAL;
    }
    static TQ_INLINE float change(float old, float now) {
        return is_large(old) == is_large(now) ? 1.0f : is_large(now) ? LARGE / USUAL : USUAL / LARGE;
    }
};

/* What a warp has of its columns: sums of values, the reference of the weights, and their sum. Teams have
 * one column a thread of the latter two. */
template <class L> struct running {
    float o[L::MY_TILES][4];
    float top[2], sum[2];

    TQ_INLINE void clear() {
#pragma unroll
        for (int i = 0; i < L::MY_TILES; i++)
            o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.0f;
        top[0] = top[1] = -INF;
        sum[0] = sum[1] = 0.0f;
    }
    TQ_INLINE void shrink(float f0, float f1) {
#pragma unroll
        for (int i = 0; i < L::MY_TILES; i++)
            o[i][0] *= f0, o[i][1] *= f1, o[i][2] *= f0, o[i][3] *= f1;
    }
    /* of sums of weights, and of values */
    static TQ_INLINE float factor(float old, float now) {
        return old == -INF ? 0.0f : power_of_2(old - now);
    }
    static TQ_INLINE float value_factor(float old, float now) {
        return factor(old, now) * weight_scale<typename L::V>::change(old, now);
    }
    /* The reference follows the largest term only when it must: weights stay below 2^14 as float16. */
    TQ_INLINE void grow(float t0, float t1) {
        if (!__any_sync(~0u, t0 > top[0] + 8.0f || t1 > top[1] + 8.0f)) return;
#pragma unroll
        for (int d = 4; d <= 16; d *= 2) {
            t0 = fmaxf(t0, __shfl_xor_sync(~0u, t0, d));
            t1 = fmaxf(t1, __shfl_xor_sync(~0u, t1, d));
        }
        t0 = fmaxf(t0, top[0]), t1 = fmaxf(t1, top[1]);
        const float f0 = factor(top[0], t0), f1 = factor(top[1], t1);
        sum[0] *= f0, sum[1] *= f1;
        shrink(value_factor(top[0], t0), value_factor(top[1], t1));
        top[0] = t0, top[1] = t1;
    }
    TQ_INLINE void grow_team(float t) {
        if (!__any_sync(~0u, t > top[0] + 8.0f)) return;
        t = fmaxf(t, __shfl_xor_sync(~0u, t, 1));
        t = fmaxf(t, __shfl_xor_sync(~0u, t, 2));
        t = fmaxf(t, top[0]);
        const int tid = threadIdx.x & 3;
        sum[0] *= factor(top[0], t);
        const float f = value_factor(top[0], t);
        top[0] = t;
        shrink(__shfl_sync(~0u, f, tid * 8), __shfl_sync(~0u, f, tid * 8 + 4));
    }
    TQ_INLINE float reference(int i) const {
        return top[i] == -INF ? 0.0f : top[i];
    }
};
template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int DENSE_, int SHARED>
__global__ void __launch_bounds__(layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, DENSE_, SHARED>::THREADS, 1)
    tq_attend(const __grid_constant__ tq_attend_args a) {
    using L = layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, DENSE_, SHARED>;
    using K = typename L::K;
    using V = typename L::V;
    constexpr int WARPS = L::WARPS, STAGES = L::STAGES, TEAM = L::TEAM;
    constexpr int MEMBER = L::MEMBER;
    constexpr int ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    extern __shared__ __align__(1024) uint8_t smem[];
    __shared__ float tops[WARPS][COLUMNS], sums[WARPS][COLUMNS], scales[COLUMNS];
    __shared__ view in_sight;
    /* [rings] [tables] [rings] [operands] [exchange] */
    uint8_t *const tables = smem + (L::FIXED ? L::TABLES - shared_address(smem) : 0);
    uint8_t *const above = tables + L::TABLES;
    uint2 *const shared_q = (uint2 *)(above + (WARPS - L::WARPS_BELOW) * MEMBER);
    float *const exchange = (float *)((uint8_t *)shared_q + (L::QUERIES_SHARED ? L::QUERY_BYTES : 0));
    auto ring_of = [&](int w) {
        return w < L::WARPS_BELOW ? smem + w * MEMBER : above + (w - L::WARPS_BELOW) * MEMBER;
    };
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tid = lane & 3;
    const int member = warp % TEAM;
    /* Row g of a product of keys is position order(g) of eight, so that weights, transposed, have a
     * thread's positions 4 apart. */
    const int order = (g >> 1) | (g & 1) << 2;
    uint8_t *const ring = ring_of(warp);
    const uint32_t ring_at = shared_address(ring);

    let_next_launch();
    for (int base = warp * 32; base < 256;
         base += WARPS * 32) { /* a lane brings an entry, all write it */
        constexpr int FIRST = L::EXACT ? 2 : 0;
        const uint2 k = *(const uint2 *)(a.k.table + (base + lane) * 4 + FIRST);
        const uint2 v = *(const uint2 *)(a.v.table + (base + lane) * 4 + FIRST);
#pragma unroll 8
        for (int i = 0; i < 32; i++) {
            uint8_t *const to = tables + (base + i) * 256;
            const uint32_t kx = __shfl_sync(~0u, k.x, i), ky = __shfl_sync(~0u, k.y, i);
            if (L::K_ENTRY == 8)
                *(uint2 *)(to + lane % 16 * 8) = make_uint2(kx, ky);
            else
                *(uint32_t *)(to + lane * 4) = kx;
            if (L::SAME) continue;
            const uint32_t vx = __shfl_sync(~0u, v.x, i), vy = __shfl_sync(~0u, v.y, i);
            if (L::V_ENTRY == 8)
                *(uint2 *)(to + L::V_TABLE + lane % 16 * 8) = make_uint2(vx, vy);
            else
                *(uint32_t *)(to + L::V_TABLE + lane * 4) = vx;
        }
    }
    const uint32_t upper = L::FIXED ? L::TABLES : 0, tables_at = shared_address(tables);
    const table<L::FIXED> keys = {tables_at, upper | (uint32_t)lane * L::K_ENTRY % 128};
    const table<L::FIXED> values = {tables_at, upper | L::V_TABLE | (uint32_t)lane * L::V_ENTRY % 128};
    wait_for_launch_before();

    /* What few sequences are is brought near while their starts come. */
    const uint32_t first_ends = lane < a.sequences ? a.starts[lane + 1] : ~0u;
    if (lane < a.sequences) touch(a.plan + lane);
    const tq_attend_cut cut = *a.cut;
    if (blockIdx.x >= cut.blocks) return;
    const uint32_t part = cut.split == 0 ? blockIdx.x : blockIdx.x % cut.split;
    uint32_t unit = part * cut.each + min(part, cut.rest);
    if (cut.split != 0) unit += blockIdx.x / cut.split * (cut.each * cut.split + cut.rest);
    const uint32_t unit_end = unit + cut.each + (part < cut.rest ? 1 : 0);

#pragma unroll 1
    while (unit < unit_end) {
        /* a piece: some tiles of a sequence, KV head and block of rows */
        uint32_t b = __popc(__ballot_sync(~0u, first_ends <= unit));
        for (uint32_t i = 32; i < a.sequences; i += 32)
            b += __popc(__ballot_sync(~0u, i + lane < a.sequences && a.starts[i + lane + 1] <= unit));
        const tq_attend_sequence seq = a.plan[b];
        const uint32_t start = a.starts[b];
        const uint32_t units = tq_attend_units(&seq, a.dense_cost);
        const uint32_t nth = (unit - start) / units;
        const uint32_t first = unit - start - nth * units;
        const uint32_t last = min(units, first + (unit_end - unit));
        const uint32_t item = b * a.kv_heads * a.row_blocks + nth;
        const uint32_t head = quotient(nth, a.row_blocks), row0 = (nth - head * a.row_blocks) * ROWS;
        const int rows_here = min((uint32_t)ROWS, a.rows - row0);
        unit += last - first;
        const uint32_t c0 = min(first, seq.codes), c1 = min(last, seq.codes);
        uint32_t d0 = 0, d1 = 0;
        if (L::DENSE)
            d0 = tiles_before(first - c0, a.dense_cost), d1 = tiles_before(last - c1, a.dense_cost);

        /* columns of this thread's scores */
        const int col = L::FREE ? tid * 2 % 4 : tid * 2;
        const uint32_t index0 = min(row0 + col, a.rows - 1), index1 = min(row0 + col + 1, a.rows - 1);
        const uint32_t query0 = quotient(index0, a.group), query1 = quotient(index1, a.group);
        float slope0 = 0.0f, slope1 = 0.0f;
        if (a.slopes != nullptr) {
            slope0 = a.slopes[head * a.group + index0 % a.group] * LOG2_E;
            slope1 = a.slopes[head * a.group + index1 % a.group] * LOG2_E;
        }
        /* Positions that all rows see. What each sees is looked at in shared memory, for few tiles. */
        uint32_t full_from, full_to;
        {
            const int32_t now = (int32_t)(seq.length - a.queries);
            const int32_t low = now + (int32_t)quotient(row0, a.group);
            const int32_t high = now + (int32_t)quotient(min(row0 + ROWS, a.rows) - 1, a.group);
            const uint32_t tree_from = a.tree == nullptr ? ~0u : seq.length - min(seq.length, a.n_tree);
            full_to =
                min(a.causal ? (uint32_t)max(low + 1, 0) : seq.length, min(tree_from, seq.codes_to));
            full_from = a.window == 0 ? 0 : (uint32_t)max(high - (int32_t)a.window + 1, 0);
            if (a.window != 0 && low < 0) full_to = 0;
            full_from = max(full_from, seq.codes_from);
            if (threadIdx.x == 0)
                in_sight = {seq.codes_from, seq.codes_to, seq.recent_from, seq.length, tree_from, b};
        }

#pragma unroll 1
        for (int kind = L::KINDS - 1; kind >= 0; kind--) { /* float16 first */
            const bool dense = L::DENSE && kind == 1;
            if (L::DENSE &&
                (dense ? d0 == d1 : c0 == c1)) { /* nothing of it: the merge knows by its sum */
                float *const tail = a.partial + ((uint64_t)(item + blockIdx.x) * L::KINDS + kind + 1) *
                                                    COLUMNS * (L::E + 2);
                if (threadIdx.x < COLUMNS)
                    tail[(int)threadIdx.x - 2 * COLUMNS] = -INF, tail[(int)threadIdx.x - COLUMNS] = 0.0f;
                continue;
            }
            /* Operands of the queries: asked for behind the first tiles where they are not shared. */
            operands<L> q;
            const uint32_t *const from =
                (dense ? a.queries_dense : a.queries_k) + (uint64_t)item * a.query_words;
            const float *const score_scales = (const float *)(from + L::QUERY_BYTES / 4) + col;
            q.from = (const uint2 *)from + lane;
            if constexpr (L::QUERIES_SHARED) {
                for (int i = threadIdx.x; i < L::QUERY_BYTES / 16; i += L::THREADS)
                    ((uint4 *)shared_q)[i] = ((const uint4 *)from)[i];
                q.from = shared_q + lane;
            }
            auto hold_queries = [&] {
                if constexpr (L::QUERIES_HELD)
#pragma unroll
                    for (int i = 0; i < L::K_STEPS * (L::TWICE ? 2 : 1); i++)
                        q.held[i] = q.from[i * 32];
            };
            running<L> r;
            r.clear();
            __syncthreads(); /* tables are there; sums of the last piece have been read */

            /* Caps, distances and masks, of positions p and p + 8. */
            auto finish_scores = [&](float(&s)[4], uint32_t p, bool some, uint32_t from, uint32_t to) {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    s[i] = fabsf(s[i]) == INF ? INF - INF : s[i]; /* too large: NaN, not unseen */
                if (a.softcap > 0.0f)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        s[i] = cap_score<L::EXACT>(s[i], 1.0f / a.softcap, a.softcap * LOG2_E);
                if (a.slopes != nullptr) {
                    const uint32_t now = seq.length - a.queries;
                    s[0] -= slope0 * fabsf((float)(int32_t)(now + query0 - p));
                    s[1] -= slope1 * fabsf((float)(int32_t)(now + query1 - p));
                    s[2] -= slope0 * fabsf((float)(int32_t)(now + query0 - p - 8));
                    s[3] -= slope1 * fabsf((float)(int32_t)(now + query1 - p - 8));
                }
                if (!some) return;
                if (p < from || p >= to || !sees(a, in_sight, query0, p)) s[0] = -INF;
                if (p < from || p >= to || !sees(a, in_sight, query1, p)) s[1] = -INF;
                if (p + 8 < from || p + 8 >= to || !sees(a, in_sight, query0, p + 8)) s[2] = -INF;
                if (p + 8 < from || p + 8 >= to || !sees(a, in_sight, query1, p + 8)) s[3] = -INF;
            };

            /* Scores to weights to sums. scale(m, row): what the value of a row of member m's tile is
             * multiplied by; largest(m, row): the same as a logarithm, or more; products(m, weights). */
            auto spend = [&](const float(&s)[4], bool some, auto scale, auto largest, auto products) {
                weights w;
                if constexpr (TEAM == 1) {
                    const float u = largest(0, order), v = largest(0, order + 8);
                    r.grow(fmaxf(s[0] + u, s[2] + v), fmaxf(s[1] + u, s[3] + v));
                    const float m0 = r.reference(0), m1 = r.reference(1);
                    float p[4] = {power_of_2(s[0] - m0), power_of_2(s[1] - m1), power_of_2(s[2] - m0),
                                  power_of_2(s[3] - m1)};
                    r.sum[0] += p[0] + p[2], r.sum[1] += p[1] + p[3];
                    const float x = scale(0, order), y = scale(0, order + 8);
                    const float w0 = weight_scale<V>::of(m0), w1 = weight_scale<V>::of(m1);
                    p[0] *= x * w0, p[1] *= x * w1, p[2] *= y * w0, p[3] *= y * w1;
                    if (some) /* what is not seen may have any scale */
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            p[i] = s[i] == -INF ? 0.0f : p[i];
                    if (L::FREE && tid >= 2)
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            p[i] -= half_low(pack(p[i], 0.0f));
                    const uint32_t h0 = pack(p[0], p[1]), h1 = pack(p[2], p[3]);
                    w.high[0] = transpose(h0), w.high[1] = transpose(h1);
                    if constexpr (L::TWICE) {
                        w.low[0] = transpose(pack(p[0] - half_low(h0), p[1] - half_high(h0)));
                        w.low[1] = transpose(pack(p[2] - half_low(h1), p[3] - half_high(h1)));
                    }
                    products(0, w);
                } else {
                    float *const mine = exchange + warp * TILE * COLUMNS;
                    *(float2 *)(mine + order * COLUMNS + tid * 2) = make_float2(s[0], s[1]);
                    *(float2 *)(mine + (order + 8) * COLUMNS + tid * 2) = make_float2(s[2], s[3]);
                    __syncthreads();
                    const float *const team = exchange + (warp - member) * TILE * COLUMNS;
                    float y[TEAM * 4], t = -INF;
#pragma unroll
                    for (int i = 0; i < TEAM * 4; i++) {
                        const int row = tid + i % 4 * 4;
                        y[i] = team[i / 4 * TILE * COLUMNS + row * COLUMNS + g];
                        t = fmaxf(t, y[i] + largest(i / 4, row));
                    }
                    r.grow_team(t);
#pragma unroll
                    for (int m = 0; m < TEAM; m++) {
                        float z[4];
#pragma unroll
                        for (int j = 0; j < 4; j++) {
                            const float score = y[m * 4 + j], p = power_of_2(score - r.reference(0));
                            r.sum[0] += p;
                            z[j] = score == -INF
                                       ? 0.0f
                                       : p * scale(m, tid + 4 * j) * weight_scale<V>::of(r.reference(0));
                        }
                        w.high[0] = pack(z[0], z[1]), w.high[1] = pack(z[2], z[3]);
                        if constexpr (L::TWICE) {
                            w.low[0] = pack(z[0] - half_low(w.high[0]), z[1] - half_high(w.high[0]));
                            w.low[1] = pack(z[2] - half_low(w.high[1]), z[3] - half_high(w.high[1]));
                        }
                        products(m, w);
                    }
                }
            };

            if (!dense) {
                /* Warps take turns, or, where keys have centres, tiles that follow each other. Teams'
                 * last turns may have none for some. */
                const uint32_t share = (c1 - c0) / WARPS, longer = (c1 - c0) % WARPS;
                const uint32_t count =
                    TEAM > 1 ? share + (longer > 0) : share + ((uint32_t)warp < longer);
                const bool runs = TEAM == 1 && a.bias != nullptr; /* of a stretch, as far as it goes */
                const uint32_t begin = c0 + (runs ? warp * share + min((uint32_t)warp, longer) : warp);
                const uint32_t step = runs ? 1 : WARPS;
                auto tile_at = [&](uint32_t i) {
                    const uint32_t j = begin + i * step;
                    return TEAM > 1 && j >= c1 ? ~0u : j + (j < seq.head ? seq.base : seq.skip);
                };
                /* page and row within it of a slot */
                uint32_t page = 0, row = 0;
                auto locate = [&](uint32_t slot) {
                    if (a.tables == nullptr) {
                        page = b, row = slot < a.page_rows ? slot : slot % a.page_rows;
                        return;
                    }
                    const uint32_t n = a.page_shift >= 0 ? slot >> a.page_shift : slot / a.page_rows;
                    page = (uint32_t)a.tables[(uint64_t)b * a.table_stride + n],
                    row = slot - n * a.page_rows;
                };
                auto look_ahead = [&](uint32_t i) {
                    if (L::SPLIT && i < count && tile_at(i) != ~0u) locate(tile_at(i) * TILE);
                };

                const uint8_t *const k_from =
                    a.k.data + (uint64_t)head * a.k.head + lane_offset<K>(a.k.row, lane);
                const uint8_t *const v_from =
                    a.v.data + (uint64_t)head * a.v.head + lane_offset<V>(a.v.row, lane);
                /* Norms of any layout come through registers, and are put where they belong a tile later.
                 */
                constexpr int NORM = K::NORM > V::NORM ? K::NORM : V::NORM;
                constexpr int K_PIECES = TILE * K::NORM / 16, V_PIECES = TILE * V::NORM / 16;
                const bool of_keys = lane < (L::SPLIT ? K_PIECES : TILE);
                const uint8_t *const norms_from = of_keys ? a.k.norms + (uint64_t)head * a.k.norm_head
                                                          : a.v.norms + (uint64_t)head * a.v.norm_head;
                const uint32_t norm_page = of_keys ? a.k.norm_page : a.v.norm_page;
                const int norm_size = of_keys ? K::NORM : V::NORM;
                const int norm_to = L::NORMS_AT + (L::SPLIT  ? lane * 16
                                                   : of_keys ? lane * K::NORM
                                                             : TILE * K::NORM + (lane - TILE) * V::NORM);
                auto copy_norms = [&](uint32_t to) {
                    if (lane >= K_PIECES + V_PIECES) return;
                    const uint32_t piece = of_keys ? lane : lane - K_PIECES;
                    copy_async<16>(to + norm_to,
                                   norms_from + place_of(page, norm_page, row, norm_size) + piece * 16);
                };
                uint32_t held[2] = {0, 0}, held_to = 0;
                auto get_norm = [&] {
                    const uint8_t *const p = norms_from + place_of(page, norm_page, row,
                                                                   of_keys ? a.k.norm_row : a.v.norm_row);
                    held[0] = p[0] | (uint32_t)p[1] << 8;
                    if (norm_size >= 4) held[0] |= (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
                    if (NORM == 8 && norm_size == 8)
                        held[1] =
                            p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
                };
                auto put_norm = [&] {
                    uint8_t *const p = ring + held_to + norm_to;
                    if (norm_size == 2)
                        *(uint16_t *)p = (uint16_t)held[0];
                    else
                        *(uint32_t *)p = held[0];
                    if (NORM == 8 && norm_size == 8) *(uint32_t *)(p + 4) = held[1];
                };
                /* Asks for the i-th tile. */
                auto issue = [&](uint32_t i, uint32_t stage) {
                    if (!L::SPLIT && STAGES > 2 && i > 0 && i <= count) put_norm();
                    if (i >= count) return;
                    held_to = stage * L::STAGE;
                    const uint32_t tile = tile_at(i), to = ring_at + held_to;
                    if (TEAM > 1 && tile == ~0u) {
                        held[0] = held[1] = 0;
                    } else if constexpr (L::SPLIT) {
                        copy_rows<K, 4>(to, k_from + place_of(page, a.k.page, row, a.k.row), a.k.row,
                                        lane);
                        copy_rows<V, 2>(to + L::V_AT, v_from + place_of(page, a.v.page, row, a.v.row),
                                        a.v.row, lane);
                        copy_norms(to);
                        look_ahead(i + 1);
                    } else {
                        /* each row by itself; those that nobody sees are others */
                        const uint32_t least =
                            tile < seq.head + seq.base ? seq.codes_from : seq.seen_from;
                        locate(min(max(tile * TILE + lane % TILE, least - a.code_first),
                                   seq.codes_to - 1 - a.code_first));
                        get_norm();
                        copy_rows_anyhow<K::ROW, true>(
                            to, a.k, (uint64_t)head * a.k.head + place_of(page, a.k.page, row, a.k.row),
                            lane);
                        copy_rows_anyhow<V::ROW, false>(
                            to + L::V_AT, a.v,
                            (uint64_t)head * a.v.head + place_of(page, a.v.page, row, a.v.row), lane);
                    }
                    if (!L::SPLIT && STAGES <= 2) put_norm();
                };

                const float *const bias =
                    a.bias == nullptr ? nullptr : a.bias + (uint64_t)item * a.stretches * COLUMNS + col;
                float2 bias0 = {0.0f, 0.0f}, bias1 = {0.0f, 0.0f};
                uint32_t stretch0 = ~0u, stretch1 = ~0u; /* that they are of */
                auto follow_bias = [&](uint32_t p, uint32_t &stretch, float2 &x) {
                    const uint32_t n = a.stretch_shift >= 0 ? p >> a.stretch_shift : p / a.stretch;
                    if (n == stretch) return;
                    stretch = n;
                    x = *(const float2 *)(bias + (uint64_t)min(n, a.stretches - 1) * COLUMNS);
                };

                look_ahead(0);
#pragma unroll 1
                for (int i = 0; i < STAGES - 1; i++) {
                    issue(i, i);
                    copies_commit();
                }
                hold_queries();
                const float scale0 = score_scales[0], scale1 = score_scales[1];
                uint32_t stage = 0;
#pragma unroll 1
                for (uint32_t it = 0; it < count; it++) {
                    if (STAGES > 1) copies_wait<(STAGES > 1 ? STAGES - 2 : 0)>();
                    if (TEAM > 1)
                        __syncthreads();
                    else
                        __syncwarp();
                    issue(it + STAGES - 1, stage == 0 ? STAGES - 1 : stage - 1);
                    copies_commit();
                    if (STAGES == 1) {
                        copies_wait<0>();
                        if (TEAM > 1)
                            __syncthreads();
                        else
                            __syncwarp();
                    }
                    const uint8_t *const here = ring + stage * L::STAGE;
                    if (++stage == STAGES) stage = 0;
                    const uint32_t tile = tile_at(it);
                    const uint32_t p0 = tile * TILE + a.code_first, p = p0 + order;
                    if (bias != nullptr && (TEAM == 1 || tile != ~0u))
                        follow_bias(p, stretch0, bias0), follow_bias(p + 8, stretch1, bias1);

                    float two[2][4] = {};
                    key_products<L>(keys, here, g, tid, q, two);
                    const uint8_t *const norms = here + L::NORMS_AT;
                    /* a norm that is not finite is a score that is not a number */
                    float s[4];
                    if constexpr (K::NORM == 8) {
                        const float2 u = *(const float2 *)(norms + order * 8),
                                     v = *(const float2 *)(norms + order * 8 + 64);
                        const float bad_u = (u.x - u.x) + (u.y - u.y), bad_v = (v.x - v.x) + (v.y - v.y);
                        s[0] = fmaf(two[0][0] * u.x + two[1][0] * u.y, scale0, bias0.x + bad_u);
                        s[1] = fmaf(two[0][1] * u.x + two[1][1] * u.y, scale1, bias0.y + bad_u);
                        s[2] = fmaf(two[0][2] * v.x + two[1][2] * v.y, scale0, bias1.x + bad_v);
                        s[3] = fmaf(two[0][3] * v.x + two[1][3] * v.y, scale1, bias1.y + bad_v);
                    } else {
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            s[i] = two[0][i] + two[1][i];
                            if constexpr (L::FREE) s[i] += __shfl_xor_sync(~0u, s[i], 2);
                        }
                        float u, v;
                        if constexpr (K::NORM == 2) {
                            u = half_low(*(const uint16_t *)(norms + order * 2));
                            v = half_low(*(const uint16_t *)(norms + order * 2 + 16));
                        } else {
                            u = *(const float *)(norms + order * 4),
                            v = *(const float *)(norms + order * 4 + 32);
                        }
                        s[0] = fmaf(s[0] * u, scale0, bias0.x + (u - u)),
                        s[1] = fmaf(s[1] * u, scale1, bias0.y + (u - u));
                        s[2] = fmaf(s[2] * v, scale0, bias1.x + (v - v)),
                        s[3] = fmaf(s[3] * v, scale1, bias1.y + (v - v));
                    }
                    const bool full = p0 >= full_from && p0 + TILE <= full_to;
                    if (TEAM > 1 && tile == ~0u)
                        s[0] = s[1] = s[2] = s[3] = -INF;
                    else
                        finish_scores(s, p, !full, in_sight.codes_from, in_sight.codes_to);

                    auto scale = [&](int m, int row, int half) {
                        const uint8_t *const n =
                            norms + (m - member) * (TEAM > 1 ? MEMBER : 0) + TILE * K::NORM;
                        if constexpr (V::NORM == 2) return half_low(*(const uint16_t *)(n + row * 2));
                        return *(const float *)(n + row * V::NORM + (V::NORM == 8 ? half * 4 : 0));
                    };
                    spend(
                        s, !full || (TEAM > 1 && tile == ~0u),
                        [&](int m, int row) { return scale(m, row, member * 2 / TEAM); },
                        [&](int m, int row) {
                            float n = fabsf(scale(m, row, 0));
                            if constexpr (V::NORM == 8) n = fmaxf(n, fabsf(scale(m, row, 1)));
                            return fmaxf(log_of_2(n), V::NORM == 2 ? -24.0f : -60.0f);
                        },
                        [&](int m, const weights &w) {
                            value_products<L>(values, here + (m - member) * (TEAM > 1 ? MEMBER : 0), g,
                                              tid, member, w, r.o);
                        });
                }
                copies_wait<0>();
            } else if constexpr (L::DENSE) {
                const uint32_t of = a.dense_rows == nullptr ? b : (uint32_t)a.dense_rows[b];
                const uint32_t turns = (d1 - d0 + WARPS - 1) / WARPS;
                hold_queries();
                const float scale0 = score_scales[0], scale1 = score_scales[1];
#pragma unroll 1
                for (uint32_t turn = 0; turn < turns; turn++) {
                    const uint32_t d = d0 + turn * WARPS + warp;
                    if (TEAM == 1 && d >= d1) break;
                    /* a tile: where it begins, and where what is there ends */
                    auto begin = [&](uint32_t d) {
                        return d < seq.sinks ? d * TILE : seq.recent_from + (d - seq.sinks) * TILE;
                    };
                    auto end = [&](uint32_t d) {
                        return d >= d1 ? 0 : d < seq.sinks ? min(a.n_sinks, seq.length) : seq.length;
                    };
                    auto key_at = [&](uint32_t d, uint32_t p) {
                        p = min(p, max(end(d), 1u) - 1);
                        return d < seq.sinks
                                   ? a.sink.k + of * a.sink.k_sequence + head * a.sink.k_head +
                                         p * a.sink.k_row
                                   : a.recent.k + of * a.recent.k_sequence + head * a.recent.k_head +
                                         p % a.recent_capacity * a.recent.k_row;
                    };
                    auto value_at = [&](uint32_t d, uint32_t p) {
                        return d < seq.sinks
                                   ? a.sink.v + of * a.sink.v_sequence + head * a.sink.v_head +
                                         p * a.sink.v_row
                                   : a.recent.v + of * a.recent.v_sequence + head * a.recent.v_head +
                                         p % a.recent_capacity * a.recent.v_row;
                    };
                    const uint32_t p = begin(d) + order;
                    float s[4] = {-INF, -INF, -INF, -INF};
                    const uint32_t from = d < seq.sinks ? 0 : seq.recent_from, to = end(d);
                    if (TEAM == 1 || d < d1) {
                        const uint16_t *const x = key_at(d, p) + tid * 4, *const y =
                                                                              key_at(d, p + 8) + tid * 4;
                        float two[2][4] = {};
#pragma unroll
                        for (int i = 0; i < L::K_STEPS; i++) {
                            const uint2 k = *(const uint2 *)(x + i * 16),
                                        l = *(const uint2 *)(y + i * 16);
                            const uint2 now = q.high(i);
                            product(two[i & 1], k.x, l.x, k.y, l.y, now.x, now.y);
                            if constexpr (L::TWICE) {
                                const uint2 less = q.low(i);
                                product(two[i & 1], k.x, l.x, k.y, l.y, less.x, less.y);
                            }
                        }
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            s[i] = two[0][i] + two[1][i];
                            if constexpr (L::FREE) s[i] += __shfl_xor_sync(~0u, s[i], 2);
                            s[i] *= i & 1 ? scale1 : scale0;
                        }
                        finish_scores(s, p, true, from, to);
                    }
                    spend(
                        s, true, [](int, int) { return 1.0f; }, [](int, int) { return 0.0f; },
                        [&](int m, const weights &w) {
                            const uint32_t tile = d - member + m, last = end(tile),
                                           from = begin(tile) + tid;
                            uint32_t x[L::MY_TILES][4], bad = 0;
#pragma unroll
                            for (int j = 0; j < 4; j++) {
                                const uint32_t at = from + 4 * j;
                                const uint16_t *const v =
                                    value_at(tile, min(at, max(last, 1u) - 1)) + g * 2;
#pragma unroll
                                for (int i = 0; i < L::MY_TILES; i++) {
                                    const int t = member * L::MY_WORDS * 4 + i;
                                    x[i][j] =
                                        at < last && t < L::V_TILES ? *(const uint32_t *)(v + t * 16) : 0;
                                    bad |= (x[i][j] & 0x7c00u) == 0x7c00u ||
                                           (x[i][j] & 0x7c000000u) == 0x7c000000u;
                                }
                            }
                            auto add = [&](float(&o)[4], int i, const weights &w, uint32_t keep) {
                                uint32_t y[4];
#pragma unroll
                                for (int j = 0; j < 4; j++)
                                    y[j] = keep >> j & 1 ? x[i][j] : 0;
                                value_product<L>(o, low_halves(y[0], y[1]), permute(y[0], y[1], 0x7632),
                                                 low_halves(y[2], y[3]), permute(y[2], y[3], 0x7632), w);
                            };
                            if (!__any_sync(~0u, bad)) {
#pragma unroll
                                for (int i = 0; i < L::MY_TILES; i++)
                                    add(r.o[i], i, w, 15);
                                return;
                            }
                            /* What is not finite reaches those columns that see it alone. */
                            const uint32_t first = tile < seq.sinks ? 0 : seq.recent_from;
#pragma unroll 1
                            for (int c = 0; c < COLUMNS; c++) {
                                const uint32_t query = min(row0 + c % ROWS, a.rows - 1) / a.group;
                                uint32_t keep = 0;
                                for (int j = 0; j < 4; j++)
                                    keep |= (uint32_t)(from + 4 * j >= first && from + 4 * j < last &&
                                                       sees(a, in_sight, query, from + 4 * j))
                                            << j;
                                const bool even = c == tid * 2, odd = c == tid * 2 + 1;
#pragma unroll
                                for (int i = 0; i < L::MY_TILES; i++) {
                                    float o[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                                    add(o, i, w, keep);
                                    if (even) r.o[i][0] += o[0], r.o[i][2] += o[2];
                                    if (odd) r.o[i][1] += o[1], r.o[i][3] += o[3];
                                }
                            }
                        });
                }
            }

            /* the warps' parts put together */
            if constexpr (TEAM == 1) {
#pragma unroll
                for (int d = 4; d <= 16; d *= 2)
                    r.sum[0] += __shfl_xor_sync(~0u, r.sum[0], d),
                        r.sum[1] += __shfl_xor_sync(~0u, r.sum[1], d);
                if (g == 0) {
                    tops[warp][tid * 2] = r.top[0], tops[warp][tid * 2 + 1] = r.top[1];
                    sums[warp][tid * 2] = r.sum[0], sums[warp][tid * 2 + 1] = r.sum[1];
                }
            } else {
                r.sum[0] += __shfl_xor_sync(~0u, r.sum[0], 1),
                    r.sum[0] += __shfl_xor_sync(~0u, r.sum[0], 2);
                if (tid == 0) tops[warp][g] = r.top[0], sums[warp][g] = r.sum[0];
            }
            __syncthreads();
            /* A lane has column lane % 8 of some warps. */
            float largest = -INF;
#pragma unroll
            for (int w0 = 0; w0 < WARPS; w0 += 4)
                largest = fmaxf(largest, tops[w0 + lane / COLUMNS][lane % COLUMNS]);
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 8));
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 16));
            const float f0 =
                running<L>::value_factor(tops[warp][tid * 2], __shfl_sync(~0u, largest, tid * 2));
            const float f1 =
                running<L>::value_factor(tops[warp][tid * 2 + 1], __shfl_sync(~0u, largest, tid * 2 + 1));
            /* over each warp's ring: [value of a thread][g][column], swizzled */
            auto part_of = [&](int w, int e, int g, int c) {
                return (float *)ring_of(w) + e * 64 + ((g * 8 + c) ^ 2 * (e & 15));
            };
            float *const slot =
                a.partial + ((uint64_t)(item + blockIdx.x) * L::KINDS + kind) * COLUMNS * (L::E + 2);
            const float unit_scale = dense ? 1.0f : a.value_scale;
            if (warp == 0) {
                float sum = 0.0f;
#pragma unroll
                for (int w0 = 0; w0 < WARPS; w0 += 4) {
                    const int w = w0 + lane / COLUMNS;
                    if (w % TEAM == 0)
                        sum += scaled(sums[w][lane % COLUMNS],
                                      running<L>::factor(tops[w][lane % COLUMNS], largest));
                }
                sum += __shfl_xor_sync(~0u, sum, 8);
                sum += __shfl_xor_sync(~0u, sum, 16);
                if (lane < COLUMNS) {
                    slot[COLUMNS * L::E + lane] = largest, slot[COLUMNS * (L::E + 1) + lane] = sum;
                    scales[lane] = unit_scale * weight_scale<V>::inverse(largest);
                }
            }
#pragma unroll
            for (int i = 0; i < L::MY_TILES; i++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    *(float2 *)part_of(warp, 2 * i + h, g, tid * 2) =
                        make_float2(scaled(r.o[i][2 * h], f0), scaled(r.o[i][2 * h + 1], f1));
            __syncthreads();
            for (int i = threadIdx.x; i < L::E * rows_here; i += L::THREADS) {
                const int n = i % L::E, c = i / L::E;
                int e, gg;
                if (!dense)
                    value_index<V>(n, gg, e);
                else
                    gg = n % 16 / 2, e = n / 16 * 2 + n % 2;
                const int m = e / (L::MY_WORDS * 8);
                e -= m * L::MY_WORDS * 8;
                float sum = 0.0f;
#pragma unroll
                for (int w = 0; w < WARPS; w += TEAM) {
                    sum += *part_of(w + m, e, gg, c);
                    if (L::FREE) sum += *part_of(w + m, e, gg, c + ROWS);
                }
                slot[c * L::E + n] = sum * scales[c];
            }
        }
    }
}

#endif
