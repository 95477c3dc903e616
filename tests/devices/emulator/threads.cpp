/* SPDX-License-Identifier: MIT
 * The threads of a block, by turns on one of the CPU's. */
#include <cstdio>
#include <cstdlib>
#include <setjmp.h>
#include <ucontext.h>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
emulator_fault emulated_fault;

/* By all names that kernels give it. */
alignas(1024) thread_local uint8_t smem[emulator::MOST_SHARED];
asm(".globl shared, values\n.set shared, smem\n.set values, smem");

namespace emulator {

enum { STACK = 256 * 1024, MOST_THREADS = MOST_WARPS * WARP_LANES };

struct fiber {
    thread_state state;
    jmp_buf at;
    std::vector<char> stack;
    bool there;
};

static fiber fibers[MOST_THREADS];
static uint32_t ready[MOST_WARPS],
    met[MOST_WARPS]; /* lanes that may go on, and that wait for their warp */
static unsigned n_met, n_done, shared_bytes;
static jmp_buf launcher;
static ucontext_t maker;
static std::function<void()> body;

thread_state &self() {
    return fibers[threadIdx.x].state;
}

void complain(const char *what) {
    fprintf(stderr, "emulated card: %s: thread %u of block %u\n", what, threadIdx.x, blockIdx.x);
    abort();
}

uint8_t *shared_at(uint32_t address, uint32_t bytes) {
    const uint32_t at = address - SHARED_BEGIN;
    if (at > shared_bytes || bytes > shared_bytes - at) complain("an address outside shared memory");
    if (address % bytes != 0) complain("an address that is not aligned");
    return smem + at;
}

/* Another thread's turn: the warp's next lane that may go on, or the next warp's. */
static void turn_to_next() {
    const unsigned warps = blockDim.x / WARP_LANES, me = threadIdx.x;
    for (unsigned i = 0; i < warps; i++) {
        const unsigned warp = (me / WARP_LANES + i) % warps;
        if (ready[warp] == 0) continue;
        threadIdx.x = warp * WARP_LANES + (unsigned)__builtin_ctz(ready[warp]);
        if (threadIdx.x == me) return;
        if (_setjmp(fibers[me].at) == 0) _longjmp(fibers[threadIdx.x].at, 1);
        return;
    }
    complain("all threads wait");
}

void meet_warp() {
    const unsigned warp = threadIdx.x / WARP_LANES;
    const uint32_t bit = 1u << lane();
    met[warp] |= bit, ready[warp] &= ~bit;
    if (met[warp] == ~0u) met[warp] = 0, ready[warp] = ~0u;
    turn_to_next();
}

void meet_block() {
    if (emulated_fault == FAULT_BARRIER) return;
    ready[threadIdx.x / WARP_LANES] &= ~(1u << lane());
    if (++n_met == blockDim.x) {
        n_met = 0;
        std::fill(ready, ready + blockDim.x / WARP_LANES, ~0u);
    }
    turn_to_next();
}

/* A fiber's life: a thread of a block, then of the next one. */
static void live() {
    const unsigned me = threadIdx.x;
    if (_setjmp(fibers[me].at) == 0) setcontext(&maker);
    for (;;) {
        body();
        ready[me / WARP_LANES] &= ~(1u << lane());
        if (++n_done == blockDim.x) {
            if (_setjmp(fibers[me].at) == 0) _longjmp(launcher, 1);
        } else {
            turn_to_next();
        }
    }
}

static void make(unsigned i) {
    static ucontext_t context;
    fiber &f = fibers[i];
    if (f.there) return;
    f.there = true;
    f.stack.resize(STACK);
    getcontext(&context);
    context.uc_stack.ss_sp = f.stack.data();
    context.uc_stack.ss_size = STACK;
    threadIdx.x = i;
    makecontext(&context, live, 0);
    swapcontext(&maker, &context);
}

void launch(const cudaLaunchConfig_t &config, std::function<void()> kernel) {
    gridDim = config.gridDim, blockDim = config.blockDim;
    shared_bytes = (unsigned)config.dynamicSmemBytes;
    if (blockDim.x % WARP_LANES != 0 || blockDim.x > MOST_THREADS || shared_bytes > MOST_SHARED)
        complain("a launch of a size that is not emulated");
    body = std::move(kernel);
    for (unsigned i = 0; i < blockDim.x; i++)
        make(i);
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) {
        memset(smem, 0xff, sizeof smem);
        std::fill(ready, ready + blockDim.x / WARP_LANES, ~0u);
        std::fill(met, met + MOST_WARPS, 0u);
        n_met = n_done = 0;
        threadIdx.x = 0;
        if (_setjmp(launcher) == 0) _longjmp(fibers[0].at, 1);
        for (unsigned i = 0; i < blockDim.x; i++)
            fibers[i].state = thread_state();
    }
}

} // namespace emulator
