/* SPDX-License-Identifier: MIT
 * Plans of attention: a kind of layer checked, and its kernel found or compiled. */
#include "attend/plan.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/size.h"
#include "jit.h"

/* What NVRTC compiles, one behind the other (CMakeLists.txt). */
extern const char tq_text_args[], tq_text_instructions[], tq_text_codes[], tq_text_layer[],
    tq_text_line[], tq_text_piece[], tq_text_products[], tq_text_rows[], tq_text_running[],
    tq_text_coded[], tq_text_attend[], tq_text_prefill_layer[], tq_text_prefill_tile[],
    tq_text_prefill_scores[], tq_text_prefill[];
static const char *const texts[] = {
    tq_text_args,   tq_text_instructions,  tq_text_codes,        tq_text_layer,          tq_text_line,
    tq_text_piece,  tq_text_products,      tq_text_rows,         tq_text_running,        tq_text_coded,
    tq_text_attend, tq_text_prefill_layer, tq_text_prefill_tile, tq_text_prefill_scores, tq_text_prefill};
enum { N_TEXTS = sizeof texts / sizeof *texts, FOR_MANY = 4 }; /* the last ones are for many rows alone */

char *tq_attend_text(bool many) {
    const size_t n_texts = many ? N_TEXTS : N_TEXTS - FOR_MANY;
    size_t n = 1;
    for (size_t i = 0; i < n_texts; i++)
        n += strlen(texts[i]);
    char *const all = malloc(n), *end = all;
    for (size_t i = 0; all != NULL && i < n_texts; i++) {
        const size_t length = strlen(texts[i]);
        memcpy(end, texts[i], length + 1);
        end += length;
    }
    return all;
}

enum { MOST_TEAM_DIM = 256, NAME = 96 };

static tq_status check_coded(const char *name, tq_format format) {
    if ((int)format != 0) return TQ_OK;
    return tq_fail(TQ_E_FORMAT, 0, name, "%s is 0: attention on a device reads codes", name);
}

/* Whether rows are made of pieces of 16 bytes, each of one plane. */
static bool in_pieces(const tq_plan *plan) {
    const unsigned bits = plan->book->bits;
    const size_t last = plan->book->packing != TQ_PACK_PLANES ? plan->row_bytes
                        : bits % 2 != 0                       ? plan->dim / 8
                        : bits == 6 || bits == 2              ? plan->dim / 4
                                                              : plan->row_bytes;
    return plan->row_bytes % 16 == 0 && last % 16 == 0;
}

static uint32_t shared_kib(const tq_cuda *cuda) {
    static const uint32_t sizes[] = {227, 163, 99}; /* Hopper and later, A100, the others of 8.x */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (cuda->shared_bytes >= sizes[i] * (size_t)1024) return sizes[i];
    return (uint32_t)(cuda->shared_bytes / 1024);
}

/* Rows of a KV head that are planned for, if all sequences have as many queries. */
static size_t most_rows(const tq_cuda_attention *p) {
    return p->group * ((p->layer.max_queries - 1) / p->layer.max_sequences + 1);
}

static tq_status fill(tq_cuda_attention *p, const tq_cuda *cuda, const tq_cuda_attention_config *c) {
    tq_attention_kind kind;
    size_t bytes;
    tq_attention_config *const layer = &p->layer;
    if (c->layer.size > sizeof *layer) /* it lies in another struct: what is behind it is not its own */
        return tq_fail(TQ_E_UNSUPPORTED, c->layer.size, "layer",
                       "layer.size %zu: this library knows %zu bytes of it", c->layer.size,
                       sizeof *layer);
    TRY(tq_take_struct("layer", &c->layer, layer, sizeof *layer));
    TRY(tq_attention_plan(layer, &kind, &bytes));
    if (layer->arithmetic == TQ_ARITHMETIC_INTEGER)
        return tq_fail(TQ_E_UNSUPPORTED, 0, "arithmetic",
                       "arithmetic: a device multiplies as its accuracy says, not in integers");
    TRY(check_coded("k_format", layer->k_format));
    TRY(check_coded("v_format", layer->v_format));
    if (c->accuracy != TQ_CUDA_FAST && c->accuracy != TQ_CUDA_EXACT)
        return tq_fail(TQ_E_FORMAT, 0, "accuracy", "accuracy %d: there are fast and exact",
                       (int)c->accuracy);
    if (layer->max_positions > INT32_MAX)
        return tq_fail(TQ_E_OVERFLOW, layer->max_positions, "max_positions",
                       "max_positions %zu: a device counts 2^31 - 1 of them", layer->max_positions);
    if (c->centre_stretch > INT32_MAX)
        return tq_fail(TQ_E_OVERFLOW, c->centre_stretch, "centre_stretch",
                       "centre_stretch %zu: a device counts 2^31 - 1 positions", c->centre_stretch);
    if (layer->v_head_dim == 0) layer->v_head_dim = layer->head_dim;
    if (layer->max_sequences == 0) layer->max_sequences = 1;
    if (layer->max_queries == 0) layer->max_queries = layer->max_sequences;
    p->cuda = cuda;
    p->group = layer->n_heads / layer->n_kv_heads;
    p->centre_stretch = (uint32_t)c->centre_stretch;
    p->dense = c->dense != 0;
    /* v1's scale factor is the view's: any that passes, here */
    const tq_codec k = {
        .format = layer->k_format, .head_dim = layer->head_dim, .scale_factor_d512 = 1.0f};
    const tq_codec v = {
        .format = layer->v_format, .head_dim = layer->v_head_dim, .scale_factor_d512 = 1.0f};
    TRY(tq_cuda_plan_init(cuda, &k, &p->k_plan, &p->k_device));
    TRY(tq_cuda_plan_init(cuda, &v, &p->v_plan, &p->v_device));
    p->k_table = tq_cuda_entries(cuda, layer->k_format, &p->k_factor);
    p->v_table = tq_cuda_entries(cuda, layer->v_format, &p->v_factor);

    const size_t rows = most_rows(p);
    const bool team = layer->head_dim > MOST_TEAM_DIM || layer->v_head_dim > MOST_TEAM_DIM;
    const bool few = rows <= TQ_ATTEND_COLUMNS / 2 && !team;
    p->shape = (tq_attend_shape){.k_dim = layer->head_dim,
                                 .v_dim = layer->v_head_dim,
                                 .k_format = (uint32_t)layer->k_format,
                                 .v_format = (uint32_t)layer->v_format,
                                 .accuracy = c->accuracy == TQ_CUDA_FAST ? TQ_ATTEND_FAST
                                             : few                       ? TQ_ATTEND_EXACT_FEW
                                                                         : TQ_ATTEND_EXACT,
                                 .any_layout = c->any_layout != 0 || !in_pieces(&p->k_plan) ||
                                               !in_pieces(&p->v_plan),
                                 .shared_kib = shared_kib(cuda)};
    return TQ_OK;
}

static tq_status compile(const tq_cuda_attention *p, const char *name, bool many, const char *cache_dir,
                         tq_attend_kernel *k, tq_cuda_attention_info *info) {
    static const char *const options[] = {"-std=c++17", "-default-device"};
    char *const source = tq_attend_text(many);
    if (source == NULL) return tq_fail(TQ_E_NO_MEMORY, 0, "attention", "no memory for the kernel's text");
    const tq_cuda_jit_request request = {.source = source,
                                         .name = name,
                                         .options = options,
                                         .n_options = sizeof options / sizeof *options,
                                         .major = p->cuda->major,
                                         .minor = p->cuda->minor,
                                         .cache_dir = cache_dir};
    tq_cuda_jit_result result;
    tq_status status = tq_cuda_jit(&request, &result);
    free(source);
    TRY(status);
    cudaLibrary_t library = NULL;
    cudaKernel_t kernel = NULL;
    cudaError_t error = cudaLibraryLoadData(&library, result.kernel.cubin, NULL, NULL, 0, NULL, NULL, 0);
    k->library = library;
    if (error == cudaSuccess) error = cudaLibraryGetKernel(&kernel, library, result.kernel.name);
    k->function = (const void *)kernel;
    if (result.origin > info->origin) info->origin = result.origin;
    info->seconds += result.seconds;
    tq_cuda_jit_free(&result);
    return tq_cuda_fail(error, "kernel");
}

static bool is_beside(const tq_attend_shape *s) {
    return TQ_ATTEND_BESIDE_REGISTERS(s->k_dim, s->v_dim, s->k_format, s->v_format, s->accuracy,
                                      s->shared_kib) > 0;
}

/* What tq_attend() of so many threads may want of shared memory, and no less, as layer.cuh lays it out;
 * what is left is for the kernels before and after it. */
static size_t attend_bytes(const tq_cuda_attention *p, size_t threads) {
    enum { KIB = 1024, TABLES_END = 128 * KIB, BELOW = 60 * KIB, STAGES = 3 };
    const size_t tile = TQ_ATTEND_TILE, columns = TQ_ATTEND_COLUMNS, most = p->cuda->shared_bytes;
    if (p->shape.shared_kib < TQ_PREFILL_KIB || p->layer.head_dim > MOST_TEAM_DIM ||
        p->layer.v_head_dim > MOST_TEAM_DIM)
        return most;
    const size_t rows = (p->k_plan.row_bytes + 15) / 16 * 16 + (p->v_plan.row_bytes + 15) / 16 * 16;
    const size_t norms = (tile * (p->k_plan.norm_bytes + p->v_plan.norm_bytes) + 15) / 16 * 16;
    const size_t stages = STAGES * (tile * rows + norms);
    const size_t sums = 4 * columns * p->layer.v_head_dim;
    const size_t ring = stages > sums ? stages : sums, rings = threads / 32 * ring;
    const size_t bias = TQ_ATTEND_BIAS_ROWS * columns * sizeof(float);
    const size_t bytes = TABLES_END + (rings > BELOW ? rings - BELOW + ring : 0) + bias;
    return bytes < most ? bytes : most;
}

static tq_status make_ready(const tq_cuda_attention *p, tq_attend_kernel *k, bool many,
                            tq_cuda_kernel_info *info) {
    struct cudaFuncAttributes a;
    TRY(tq_cuda_fail(cudaFuncGetAttributes(&a, k->function), "kernel"));
    k->beside = !many && is_beside(&p->shape);
    k->threads = k->beside ? TQ_ATTEND_BESIDE_THREADS(p->shape.k_dim, p->shape.v_dim)
                           : (unsigned)a.maxThreadsPerBlock;
    const size_t bytes = many ? p->cuda->shared_bytes : attend_bytes(p, k->threads);
    k->shared_bytes = (unsigned)(bytes - a.sharedSizeBytes);
    TRY(tq_cuda_fail(cudaFuncSetAttribute(k->function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          (int)k->shared_bytes),
                     "shared memory"));
    info->registers = (unsigned)a.numRegs;
    info->shared_bytes = k->shared_bytes + (unsigned)a.sharedSizeBytes;
    info->warps = k->threads / 32;
    return TQ_OK;
}

static tq_status find_ahead(tq_cuda_attention *p) {
    int capability;
    TRY(tq_cuda_fail((cudaError_t)tq_cuda_compiled_for(&capability), "kernel"));
    p->ahead = capability >= 90;
    return TQ_OK;
}

static tq_status make_few(tq_cuda_attention *p, const char *cache_dir, tq_cuda_attention_info *info) {
    const tq_attend_shape *const s = &p->shape;
    char name[NAME];
    snprintf(name, sizeof name, "tq_attend%s<%u, %u, %u, %u, %u, %u, %u>", is_beside(s) ? "_beside" : "",
             s->k_dim, s->v_dim, s->k_format, s->v_format, s->accuracy, s->any_layout, s->shared_kib);
    p->few.function = p->ahead ? tq_cuda_attend_built_in(s) : NULL;
    if (p->few.function == NULL) TRY(compile(p, name, false, cache_dir, &p->few, info));
    return make_ready(p, &p->few, false, &info->few);
}

/* The kernel of many rows, where a sequence may have as many, and a card's memory is enough. */
static tq_status make_many(tq_cuda_attention *p, const char *cache_dir, tq_cuda_attention_info *info) {
    const tq_attention_config *const layer = &p->layer;
    const uint32_t warp_rows = TQ_PREFILL_WARP_ROWS(layer->head_dim, layer->v_head_dim);
    const size_t rows = most_rows(p);
    /* Tiles of eight warps' own are too much for 163 KiB where vectors are long. */
    const bool small = warp_rows < 32 && p->shape.shared_kib < 227;
    char name[NAME];
    if (rows < TQ_PREFILL_FROM || p->shape.accuracy != TQ_ATTEND_FAST ||
        layer->head_dim > TQ_PREFILL_MOST_DIM || layer->v_head_dim > TQ_PREFILL_MOST_DIM ||
        p->shape.shared_kib < TQ_PREFILL_KIB)
        return TQ_OK;
    const tq_prefill_shape s = {.k_dim = layer->head_dim,
                                .v_dim = layer->v_head_dim,
                                .k_format = p->shape.k_format,
                                .v_format = p->shape.v_format,
                                .team = rows > 2 * (size_t)warp_rows || small ? TQ_PREFILL_WARPS : 1,
                                .any_layout = p->shape.any_layout,
                                .shared_kib = p->shape.shared_kib};
    snprintf(name, sizeof name, "tq_prefill<%u, %u, %u, %u, %u, %u, %u>", s.k_dim, s.v_dim, s.k_format,
             s.v_format, s.team, s.any_layout, s.shared_kib);
    p->many.function = p->ahead ? tq_cuda_prefill_built_in(&s) : NULL;
    if (p->many.function == NULL) TRY(compile(p, name, true, cache_dir, &p->many, info));
    p->many_rows = s.team * warp_rows;
    info->many_from = TQ_PREFILL_FROM;
    return make_ready(p, &p->many, true, &info->many);
}

tq_status tq_attend_place(const tq_cuda_attention *p, const tq_attend_size *size, tq_attend_memory *m) {
    const size_t part = (p->layer.v_head_dim + 2) * sizeof(float);
    size_t slots, stretches, rows, total = 0;
    m->dense_partial = 0;
    const bool fits =
        tq_size_mul(size->columns, (size_t)p->cuda->multiprocessors, &slots) &&
        tq_size_add(size->rows, slots, &rows) &&
        tq_size_mul(size->stretches, sizeof(float), &stretches) &&
        tq_size_place(&total, &m->cut, 1, sizeof(tq_attend_cut)) &&
        tq_size_place(&total, &m->starts, size->sequences + 1, sizeof(uint32_t)) &&
        tq_size_place(&total, &m->plan, size->sequences, sizeof(tq_attend_sequence)) &&
        tq_size_place(&total, &m->operands, size->rows, tq_attend_operand_words(p) * sizeof(uint32_t)) &&
        tq_size_place(&total, &m->bias, size->rows, stretches) &&
        tq_size_place(&total, &m->partial, rows, part) &&
        (!p->dense ||
         tq_size_place(&total, &m->dense_partial, size->dense_rows, TQ_ATTEND_DENSE_PARTS * part)) &&
        tq_size_add(total, 255, &total);
    if (!fits)
        return tq_fail(TQ_E_OVERFLOW, 0, "max_queries", "a run needs more memory than can be addressed");
    m->total = total / 256 * 256;
    return TQ_OK;
}

/* The most rows of runs within the plan, in blocks of so many that each take the place of `place`: B
 * sequences of n queries, B n no more than N, have no more blocks than N (query heads) / columns + B,
 * since each rounds up, and no more than N (blocks of one). */
static bool most_placed(const tq_cuda_attention *p, size_t columns, size_t place, size_t *placed) {
    const size_t n = p->layer.max_queries;
    size_t rows, by_rows, by_queries;
    if (!tq_size_mul(n, p->group, &rows) ||
        !tq_size_add(rows / columns, p->layer.max_sequences, &by_rows) ||
        !tq_size_mul(n, (p->group - 1) / columns + 1, &by_queries) ||
        !tq_size_mul(by_rows < by_queries ? by_rows : by_queries, p->layer.n_kv_heads, placed))
        return false;
    return tq_size_mul(*placed, place, placed);
}

/* The same where blocks are as large as what there is of a sequence, in eights and up to their limit, and
 * there are TQ_PREFILL_FROM rows at least: none is filled up to more than twice its rows. */
static bool most_of_many(const tq_cuda_attention *p, size_t *placed) {
    size_t rows;
    return tq_size_mul(p->layer.max_queries, p->group, &rows) && tq_size_mul(rows, 2, &rows) &&
           tq_size_mul(rows, p->layer.n_kv_heads, placed);
}

static size_t stretches_of(const tq_cuda_attention *p) {
    return p->centre_stretch == 0 ? 1 : (p->layer.max_positions - 1) / p->centre_stretch + 1;
}

/* What any run wants at most, by either kernel. */
static tq_status most_memory(const tq_cuda_attention *p, size_t *bytes) {
    tq_attend_size few = {
        .sequences = p->layer.max_sequences, .columns = TQ_ATTEND_COLUMNS, .stretches = stretches_of(p)};
    tq_attend_memory memory;
    size_t many_rows = 0;
    if (!most_placed(p, tq_attend_columns(p), TQ_ATTEND_COLUMNS, &few.rows) ||
        (p->many.function != NULL && !most_of_many(p, &many_rows)))
        return tq_fail(TQ_E_OVERFLOW, p->layer.max_queries, "max_queries",
                       "max_queries %zu: more than can be counted", p->layer.max_queries);
    few.dense_rows = few.rows;
    TRY(tq_attend_place(p, &few, &memory));
    *bytes = memory.total;
    if (p->many.function == NULL) return TQ_OK;
    tq_attend_size many = few;
    many.rows = many_rows, many.columns = p->many_rows;
    TRY(tq_attend_place(p, &many, &memory));
    if (memory.total > *bytes) *bytes = memory.total;
    return TQ_OK;
}

/* One sequence with one query must be possible. */
static tq_status check_least(const tq_cuda_attention *p) {
    if (tq_attend_counts(p, 1, 1)) return TQ_OK;
    return tq_fail(TQ_E_OVERFLOW, p->layer.max_positions, "max_positions",
                   "max_positions %zu: more tiles than a launch counts", p->layer.max_positions);
}

tq_status tq_cuda_attention_plan(tq_cuda *cuda, const tq_cuda_attention_config *config,
                                 tq_cuda_attention **attention, tq_cuda_attention_info *info) {
    tq_cuda_attention_config c;
    tq_cuda_attention_info told = {0};
    tq_cuda_scope scope;
    TRY(tq_check_not_null("attention", attention));
    *attention = NULL;
    TRY(tq_check_not_null("cuda", cuda));
    TRY(tq_take_struct("config", config, &c, sizeof c));
    tq_cuda_attention *p = calloc(1, sizeof *p);
    if (p == NULL) return tq_fail(TQ_E_NO_MEMORY, sizeof *p, "attention", "no memory for a plan");
    tq_status status = fill(p, cuda, &c);
    if (status == TQ_OK) status = check_least(p);
    if (status == TQ_OK) status = most_memory(p, &told.workspace_bytes); /* before it is compiled for */
    if (status == TQ_OK) status = tq_cuda_enter(&scope, cuda);
    if (status == TQ_OK) {
        status = find_ahead(p);
        if (status == TQ_OK) status = make_few(p, c.cache_dir, &told);
        if (status == TQ_OK) status = make_many(p, c.cache_dir, &told);
        if (status == TQ_OK) status = most_memory(p, &told.workspace_bytes); /* of both kernels */
        (void)tq_cuda_leave(&scope, cudaSuccess);
    }
    if (status != TQ_OK) {
        tq_cuda_attention_free(p);
        return status;
    }
    if (info != NULL) *info = told;
    *attention = p;
    return TQ_OK;
}

void tq_cuda_attention_free(tq_cuda_attention *p) {
    if (p == NULL) return;
    if (p->few.library != NULL) (void)cudaLibraryUnload((cudaLibrary_t)p->few.library);
    if (p->many.library != NULL) (void)cudaLibraryUnload((cudaLibrary_t)p->many.library);
    free(p);
}
