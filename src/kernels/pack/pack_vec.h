/* SPDX-License-Identifier: MIT
 * Codes, one a byte, to packed rows and back on vectors of 16 lanes: one source for every instruction
 * set. */
#include <assert.h>

#include "kernels/kernels.h"
#include "kernels/pack/planes_vec.h"

V_INLINE void pack_row(const unsigned bits, const bool bytes, const unsigned group, size_t n,
                       const uint8_t *codes, uint8_t *packed) {
    const planes p = planes_of(bits, bytes, group, n, packed);
    for (size_t vector = 0; vector < n / TQ_LANES; vector += group) {
        block_out b = {v_setu(0), v_setu(0), v_setu(0)};
        V_FOR (k, group) {
            const vu code = v_lanes_load(codes + (vector + k) * TQ_LANES, 8);
            block_put(&b, &p, bits, bytes, vector, k, code, v_shr(code, bits - 1));
        }
        block_store(&b, &p, bits, bytes, vector);
    }
}

void V_NAME(pack)(const tq_codebook_tables *book, size_t n, const uint8_t *codes, uint8_t *packed){
#define RUN_GROUP(bits, ranked, bytes, group) pack_row(bits, bytes, group, n, codes, packed)
#define RUN(bits, ranked, bytes)              PLANES_GROUPS(bits, ranked, bytes, n, RUN_GROUP)
    PLANES_SWITCH(book, RUN)
#undef RUN
#undef RUN_GROUP
}

V_INLINE void unpack_row(const unsigned bits, const bool bytes, const unsigned group, size_t n,
                         const uint8_t *packed, uint8_t *codes) {
    const planes p = planes_of(bits, bytes, group, n, (uint8_t *)(uintptr_t)packed);
    for (size_t vector = 0; vector < n / TQ_LANES; vector += group) {
        block_in b = block_load(&p, bits, bytes, vector);
        for (unsigned k = 0; k < group; k++) {
            const vu code = v_and(block_code(&b, bits, bytes), v_setu((1u << bits) - 1));
            v_lanes_store(codes + (vector + k) * TQ_LANES, 8, code);
            block_next(&b, bits, bytes);
        }
    }
}

void V_NAME(unpack)(const tq_codebook_tables *book, size_t n, const uint8_t *packed, uint8_t *codes) {
    assert(n % TQ_LANES == 0);
#define RUN_GROUP(bits, ranked, bytes, group) unpack_row(bits, bytes, group, n, packed, codes)
#define RUN(bits, ranked, bytes)              PLANES_GROUPS(bits, ranked, bytes, n, RUN_GROUP)
    PLANES_SWITCH(book, RUN)
#undef RUN
#undef RUN_GROUP
}
