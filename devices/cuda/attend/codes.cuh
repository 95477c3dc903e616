/* SPDX-License-Identifier: MIT
 * Codes of a format as threads read them from shared memory, and bytes of them as float16. */
#ifndef TQ_CUDA_CODES_CUH
#define TQ_CUDA_CODES_CUH

#ifndef __CUDACC_RTC__
#include "attend/instructions.cuh"
#endif

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
        return load_shared(at(word, byte));
    }
    TQ_INLINE uint2 get_2(uint32_t word, int byte) const {
        return load_shared_2(at(word, byte));
    }
};
/* Of entries that stand for one code: their upper halves are 0. A multiplication, since the unit that
 * permutes has more to do. */
TQ_INLINE uint32_t low_halves(uint32_t a, uint32_t b) {
    return b * 0x10000u + a;
}

/* The entries of eight codes, two of an entry's float16 to a word. PAIRED: each has what rounding left
 * of it, codes by themselves in the same word, others four words further. */
template <class F, bool PAIRED, bool FIXED>
TQ_INLINE void look_up(const table<FIXED> &t, const uint32_t (&part)[3], uint32_t (&to)[8]) {
    if constexpr (F::KIND == SINGLES) {
        const singles<F> index(part);
#pragma unroll
        for (int i = 0; i < 8; i++)
            to[i] = t.get(index.reg(i), index.byte(i));
        if constexpr (!PAIRED) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                to[i] = low_halves(to[2 * i], to[2 * i + 1]);
        }
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
            if constexpr (PAIRED) {
                const uint2 e = t.get_2(index, i);
                to[i] = e.x, to[4 + i] = e.y;
            } else {
                to[i] = t.get(index, i);
            }
    }
}

#endif
