/* SPDX-License-Identifier: MIT
 * Fills a table of kernels per level from the list, and keeps the level in use. */
#include "cpu/dispatch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/features.h"
#include "tqkv/cpu.h"

static const tq_isa levels[] = {TQ_ISA_SCALAR,     TQ_ISA_AVX2, TQ_ISA_AVXVNNI, TQ_ISA_AVX512,
                                TQ_ISA_AVX512VBMI, TQ_ISA_AMX,  TQ_ISA_NEON,    TQ_ISA_NEONDOTPROD};
static const char *const names[] = {"scalar",     "avx2", "avxvnni", "avx512",
                                    "avx512vbmi", "amx",  "neon",    "neondotprod"};
/* The level that each adds to. Processors with AVX-512 need not have AVX-VNNI. */
static const tq_isa below[] = {TQ_ISA_SCALAR, TQ_ISA_SCALAR,     TQ_ISA_AVX2,   TQ_ISA_AVX2,
                               TQ_ISA_AVX512, TQ_ISA_AVX512VBMI, TQ_ISA_SCALAR, TQ_ISA_NEON};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

/* The level of each row of the list. */
enum {
    LEVEL_scalar = TQ_ISA_SCALAR,
    LEVEL_avx2 = TQ_ISA_AVX2,
    LEVEL_avxvnni = TQ_ISA_AVXVNNI,
    LEVEL_avx512 = TQ_ISA_AVX512,
    LEVEL_avx512vbmi = TQ_ISA_AVX512VBMI,
    LEVEL_amx = TQ_ISA_AMX,
    LEVEL_neon = TQ_ISA_NEON,
    LEVEL_neondotprod = TQ_ISA_NEONDOTPROD,
};

typedef struct table {
    tq_isa level;
    tq_kernels kernels;
    struct {
#define MEMBER(op, level) tq_isa op;
        TQ_OPERATIONS(MEMBER, )
#undef MEMBER
    } isa;
} table;

static table tables[N_LEVELS];
static atomic_flag filling = ATOMIC_FLAG_INIT;
static _Atomic(const table *) active; /* NULL before the first use, and after a wrong TQKV_ISA */

/* Levels of another family have no rows here: their tables are scalar's, and nobody can choose them. */
static void fill(table *t, tq_isa level) {
    if (level != TQ_ISA_SCALAR) *t = tables[below[level]]; /* filled before */
    t->level = level;
#define TAKE(op, of)                                                                                     \
    if (LEVEL_##of == (int)level) {                                                                      \
        t->kernels.op = tq_##op##_##of;                                                                  \
        t->isa.op = level;                                                                               \
    }
    TQ_KERNELS(TAKE)
#undef TAKE
}

static void fill_once(void) {
    static atomic_bool filled;
    if (atomic_load_explicit(&filled, memory_order_acquire)) return;
    while (atomic_flag_test_and_set_explicit(&filling, memory_order_acquire)) /* microseconds, once */
        continue;
    if (!atomic_load_explicit(&filled, memory_order_relaxed))
        for (size_t i = 0; i < N_LEVELS; i++)
            fill(&tables[i], levels[i]);
    atomic_store_explicit(&filled, 1, memory_order_release);
    atomic_flag_clear_explicit(&filling, memory_order_release);
}

static tq_isa best_available(void) {
    tq_isa best = TQ_ISA_SCALAR;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (tq_isa_available(levels[i])) best = levels[i];
    return best;
}

static tq_status check_available(tq_isa isa) {
    if (tq_isa_available(isa)) return TQ_OK;
    return tq_fail(TQ_E_ISA, 0, "isa", "%s is not available on this machine; the best level here is %s",
                   tq_isa_name(isa) == NULL ? "that level" : tq_isa_name(isa),
                   tq_isa_name(best_available()));
}

tq_status tq_isa_set(tq_isa isa) {
    const tq_status status = check_available(isa);
    if (status != TQ_OK) return status;
    fill_once();
    atomic_store_explicit(&active, &tables[isa], memory_order_release);
    return TQ_OK;
}

/* The first call decides, unless tq_isa_set() did. */
static tq_status choose(void) {
    const char *wanted = getenv("TQKV_ISA");
    tq_isa isa = best_available();
    if (wanted != NULL && *wanted != '\0') {
        tq_status status = tq_isa_from_name(wanted, &isa);
        if (status == TQ_OK) status = check_available(isa);
        if (status != TQ_OK)
            return tq_fail(TQ_E_ISA, 0, "TQKV_ISA", "TQKV_ISA: %s", tq_last_error()->message);
    }
    fill_once();
    const table *none = NULL;
    atomic_compare_exchange_strong(&active, &none, &tables[isa]);
    return TQ_OK;
}

static tq_status active_table(const table **t) {
    *t = atomic_load_explicit(&active, memory_order_acquire);
    if (*t != NULL) return TQ_OK;
    const tq_status status = choose();
    *t = atomic_load_explicit(&active, memory_order_acquire);
    return status;
}

tq_status tq_active_kernels(const tq_kernels **kernels) {
    const table *t;
    const tq_status status = active_table(&t);
    if (status == TQ_OK) *kernels = &t->kernels;
    return status;
}

const tq_isa *tq_isas(size_t *count) {
    if (count != NULL) *count = N_LEVELS;
    return levels;
}

const char *tq_isa_name(tq_isa isa) {
    return (unsigned)isa < N_LEVELS ? names[isa] : NULL;
}

tq_status tq_isa_from_name(const char *name, tq_isa *isa) {
    if (name == NULL || isa == NULL)
        return tq_fail(TQ_E_NULL, 0, name == NULL ? "name" : "isa", "the name or its place is NULL");
    for (size_t i = 0; i < N_LEVELS; i++)
        if (strcmp(names[i], name) == 0) {
            *isa = levels[i];
            return TQ_OK;
        }
    return tq_fail(
        TQ_E_ISA, 0, "isa",
        "no instruction set '%.40s': there are scalar, avx2, avxvnni, avx512, avx512vbmi, amx, neon, "
        "neondotprod",
        name);
}

int tq_isa_available(tq_isa isa) {
    return (unsigned)isa < N_LEVELS && tq_cpu_has(isa);
}

tq_status tq_isa_active(tq_isa *isa) {
    const table *t;
    if (isa == NULL) return tq_fail(TQ_E_NULL, 0, "isa", "isa is NULL");
    const tq_status status = active_table(&t);
    if (status == TQ_OK) *isa = t->level;
    return status;
}

tq_status tq_kernels_in_use(tq_kernel_info *info, size_t capacity, size_t *count) {
    const table *t;
    if (count == NULL || (info == NULL && capacity > 0))
        return tq_fail(TQ_E_NULL, 0, count == NULL ? "count" : "info", "an output is NULL");
    const tq_status status = active_table(&t);
    if (status != TQ_OK) return status;
    size_t n = 0;
#define ENTRY(op, level)                                                                                 \
    if (n++ < capacity) info[n - 1] = (tq_kernel_info){#op, t->isa.op};
    TQ_OPERATIONS(ENTRY, )
#undef ENTRY
    *count = n;
    return TQ_OK;
}
