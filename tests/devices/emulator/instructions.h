/* SPDX-License-Identifier: MIT
 * Those of attend/instructions.cuh that are written in assembly there. */
#ifndef TESTS_DEVICES_EMULATOR_INSTRUCTIONS_H
#define TESTS_DEVICES_EMULATOR_INSTRUCTIONS_H

inline float emulator_half(uint32_t bits) {
    static const std::vector<float> all = [] {
        std::vector<float> x(65536);
        for (uint32_t i = 0; i < 65536; i++)
            x[i] = __half2float(__ushort_as_half((unsigned short)i));
        return x;
    }();
    return all[bits & 0xffff];
}
inline uint16_t to_float16(float x) {
    return __half_as_ushort(__float2half_rn(x));
}
inline uint16_t to_bfloat16(float x) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
inline uint32_t select(uint32_t mask, uint32_t a, uint32_t b) {
    return (a & mask) | (b & ~mask);
}
inline uint32_t pack(float a, float b) {
    return to_float16(a) | (uint32_t)to_float16(b) << 16;
}
inline float half_low(uint32_t x) {
    return emulator_half(x);
}
inline float half_high(uint32_t x) {
    return emulator_half(x >> 16);
}
inline float power_of_2(float x) {
    const float y = exp2f(x);
    return fabsf(y) < FLT_MIN ? 0.0f : y;
}
inline float log_of_2(float x) {
    return log2f(x);
}
inline float reciprocal(float x) {
    return 1.0f / x;
}
inline float quick_tanh(float x) {
    return tanhf(x);
}

/* mma.m16n8k16: lane 4 g + t has rows g and g + 8 of a, columns 2 t and 8 + 2 t; of b column g, and those
 * rows. */
inline void product(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                    uint32_t b1) {
    struct sides {
        uint32_t a[4], b[2];
    } mine = {{a0, a1, a2, a3}, {b0, b1}};
    if (emulated_fault == FAULT_PRODUCT && emulator::lane() == 5) std::swap(mine.a[1], mine.a[2]);
    emulator::meet(mine, [&](const sides *all) {
        const unsigned g = emulator::lane() / 4, t = emulator::lane() % 4;
        for (unsigned i = 0; i < 4; i++) {
            float sum = 0;
            for (unsigned k = 0; k < 16; k += 2) {
                const uint32_t a = all[g * 4 + k % 8 / 2].a[k / 8 * 2 + i / 2],
                               b = all[(t * 2 + i % 2) * 4 + k % 8 / 2].b[k / 8];
                sum += half_low(a) * half_low(b) + half_high(a) * half_high(b);
            }
            c[i] += sum;
        }
        return 0;
    });
}

/* A lane's two of a block of eight by eight: those of row lane / 4, or of that column. */
template <class F> uint32_t emulator_two(bool turned, F get) {
    const unsigned g = emulator::lane() / 4, t = emulator::lane() % 4 * 2;
    return turned ? get(t, g) | get(t + 1, g) << 16 : get(g, t) | get(g, t + 1) << 16;
}
inline uint32_t transpose(uint32_t x) {
    return emulator::meet(
        x,
        [](const uint32_t *all) {
            return emulator_two(
                true,
                [&](unsigned row, unsigned column) {
                    return all[row * 4 + column / 2] >> column % 2 * 16 & 0xffff;
                });
        });
}
inline void emulator_blocks(uint32_t (&x)[4], uint32_t at, bool turned) {
    if (at % 16 != 0) emulator::complain("ldmatrix of an address that is no multiple of 16");
    emulator::meet(at, [&](const uint32_t *all) {
        for (unsigned i = 0; i < 4; i++)
            x[i] = emulator_two(turned, [&](unsigned row, unsigned column) {
                uint16_t half;
                memcpy(&half, emulator::shared_at(all[i * 8 + row] + column * 2, 2), 2);
                return (uint32_t)half;
            });
        return 0;
    });
}
inline void load_blocks(uint32_t (&x)[4], uint32_t at) {
    emulator_blocks(x, at, false);
}
inline void load_turned(uint32_t (&x)[4], uint32_t at) {
    emulator_blocks(x, at, true);
}

inline uint32_t load_shared(uint32_t at) {
    uint32_t x;
    memcpy(&x, emulator::shared_at(at, 4), 4);
    return x;
}
inline uint2 load_shared_2(uint32_t at) {
    uint2 x;
    memcpy(&x, emulator::shared_at(at, 8), 8);
    return x;
}
inline void store_shared_byte(uint32_t at, uint8_t x) {
    *emulator::shared_at(at, 1) = x;
}

template <int N> void copy_async(uint32_t to, const void *from) {
    if ((uintptr_t)from % N != 0 || to % N != 0) emulator::complain("cp.async that is not aligned");
    emulator::self().open.push_back({to, from, N});
}
inline void copy_once(uint32_t to, const void *from) {
    copy_async<16>(to, from);
}
inline void copy_once_if(bool so, uint32_t to, const void *from) {
    if (so) copy_once(to, from);
}
inline void copies_commit() {
    emulator::self().groups.push_back(std::move(emulator::self().open));
    emulator::self().open.clear();
}
template <int N> void copies_wait() {
    auto &groups = emulator::self().groups;
    const size_t left = N + (emulated_fault == FAULT_COPY ? 1 : 0);
    while (groups.size() > left) {
        for (const emulator::copy &c : groups.front())
            memcpy(emulator::shared_at(c.to, (uint32_t)c.bytes), c.from, (size_t)c.bytes);
        groups.erase(groups.begin());
    }
}
inline void wait_for_launch_before() {
}
inline void let_next_launch() {
}

#endif
