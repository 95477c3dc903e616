/* SPDX-License-Identifier: MIT
 * What a benchmark of attention works on: an encoded cache, queries, and float16's share of memory. */
#include "bench/attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "measure/data.h"
#include "measure/exact.h"

/* A vector is a window of the pool that begins at a place of its own: 2^20 of them before one comes
 * again, and a position taken for another shows in the check. */
enum { POOL = 1 << 20, STEP = 40503, BLOCK_ROWS = 1024, MOST_DIM = 1024 };
enum { OF_K = 1, OF_V = 2, OF_Q = 3 };

static void take_row(const float *pool, size_t kind, size_t row, size_t dim, float *dst) {
    memcpy(dst, pool + (row * STEP + kind * (POOL / 4)) % POOL, dim * sizeof *dst);
}

/* posix_memalign() with pages that are there: the system gives them on first use, not while timing. */
static void *room(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, bytes) != 0) return NULL;
    memset(memory, 1, bytes);
    return memory;
}

/* Head by head, some rows at a time, so that float32 keys are never there as a whole. */
static tq_status encode(cli_attend_side *side, size_t kind, size_t rows, const float *pool,
                        float *block) {
    const size_t dim = side->codec.head_dim;
    tq_status status = TQ_OK;
    for (size_t at = 0; status == TQ_OK && at < rows; at += BLOCK_ROWS) {
        const size_t n = rows - at < BLOCK_ROWS ? rows - at : BLOCK_ROWS;
        const tq_batch batch = {.heads = 1, .rows = n};
        for (size_t i = 0; i < n; i++)
            take_row(pool, kind, at + i, dim, block + i * dim);
        status =
            tq_encode(&side->codec, &batch, block, n * dim, NULL, 0, side->codes + at * side->code_bytes,
                      n * side->code_bytes, side->norms + at * side->norm_bytes, n * side->norm_bytes);
    }
    return status;
}

static int side_begin(cli_attend_side *side, tq_format format, const cli_attend_case *c) {
    const size_t rows = c->kv_heads * c->positions;
    side->codec = (tq_codec){.format = format, .head_dim = c->dim, .scale_factor_d512 = 1.0f};
    TRY(cli_check(NULL, tq_row_size(&side->codec, &side->code_bytes, &side->norm_bytes)));
    side->codes = room(rows * side->code_bytes);
    side->norms = room(rows * side->norm_bytes);
    return side->codes && side->norms ? CLI_DONE : cli_out_of_memory();
}

static size_t pages_of(const cli_attend_case *c) {
    return (c->positions - 1) / c->page_rows + 1;
}

/* Pages in random order. */
static int shuffle_pages(cli_attend_data *data, const cli_attend_case *c) {
    const size_t n = pages_of(c);
    uint64_t state = 1;
    data->pages = calloc(n, sizeof *data->pages);
    if (!data->pages) return cli_out_of_memory();
    for (size_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const size_t other = (size_t)(state >> 33) % (i + 1);
        data->pages[i] = data->pages[other];
        data->pages[other] = (int32_t)i;
    }
    return CLI_DONE;
}

/* Rows of `bytes` [G][T] to their places in the pool. */
static void scatter(const cli_attend_data *data, const cli_attend_case *c, size_t bytes,
                    const uint8_t *rows, uint8_t *pool) {
    for (size_t g = 0; g < c->kv_heads; g++)
        for (size_t t = 0; t < c->positions; t++) {
            const size_t page = (size_t)data->pages[t / c->page_rows];
            const size_t to = (page * c->kv_heads + g) * c->page_rows + t % c->page_rows;
            memcpy(pool + to * bytes, rows + (g * c->positions + t) * bytes, bytes);
        }
}

static int fill_pool(const cli_attend_data *data, const cli_attend_case *c, cli_attend_side *side) {
    const size_t rows = pages_of(c) * c->kv_heads * c->page_rows;
    side->pool_codes = room(rows * side->code_bytes);
    side->pool_norms = room(rows * side->norm_bytes);
    if (!side->pool_codes || !side->pool_norms) return cli_out_of_memory();
    scatter(data, c, side->code_bytes, side->codes, side->pool_codes);
    scatter(data, c, side->norm_bytes, side->norms, side->pool_norms);
    return CLI_DONE;
}

static int make_view(const cli_attend_side *side, const cli_attend_case *c, const int32_t *pages,
                     tq_view *view) {
    const size_t slots = pages ? pages_of(c) * c->page_rows : c->positions, rows = c->kv_heads * slots;
    tq_status status = tq_view_codes(view, &side->codec, c->kv_heads, slots,
                                     pages ? side->pool_codes : side->codes, rows * side->code_bytes,
                                     pages ? side->pool_norms : side->norms, rows * side->norm_bytes);
    if (status == TQ_OK && pages) status = tq_view_paged(view, pages, pages_of(c), c->page_rows);
    return cli_check(NULL, status);
}

static int fill(cli_attend_data *data, const cli_attend_case *c) {
    const size_t rows = c->kv_heads * c->positions, dim = c->dim;
    float *pool = calloc(POOL + MOST_DIM, sizeof *pool);
    float *block = calloc(BLOCK_ROWS * dim, sizeof *block);
    int rc = pool && block ? CLI_DONE : cli_out_of_memory();
    if (rc == CLI_DONE) {
        measure_fill_gaussian(pool, POOL + MOST_DIM);
        tq_status status = encode(&data->k, OF_K, rows, pool, block);
        if (status == TQ_OK) status = encode(&data->v, OF_V, rows, pool, block);
        for (size_t i = 0; i < c->heads * c->queries; i++)
            take_row(pool, OF_Q, i, dim, data->q + i * dim);
        rc = cli_check(NULL, status);
    }
    free(pool);
    free(block);
    return rc;
}

static int ready_call(cli_attend_data *data, const cli_attend_case *c) {
    data->params = (tq_attention_params){.size = sizeof(tq_attention_params),
                                         .n_heads = c->heads,
                                         .n_kv_heads = c->kv_heads,
                                         .head_dim = c->dim,
                                         .n_queries = c->queries,
                                         .scale = (float)(1.0 / sqrt((double)c->dim)),
                                         .arithmetic = c->arithmetic,
                                         .parallel = c->parallel};
    data->segment.length = c->positions;
    if (c->page_rows > 0) {
        TRY(shuffle_pages(data, c));
        TRY(fill_pool(data, c, &data->k));
        TRY(fill_pool(data, c, &data->v));
    }
    TRY(make_view(&data->k, c, data->pages, &data->segment.k));
    TRY(make_view(&data->v, c, data->pages, &data->segment.v));
    TRY(cli_check(NULL,
                  tq_attention_workspace(&data->params, &data->segment, 1, &data->workspace_bytes)));
    data->workspace = room(data->workspace_bytes);
    return data->workspace ? CLI_DONE : cli_out_of_memory();
}

int cli_attend_data_begin(cli_attend_data *data, const cli_attend_case *c) {
    const size_t q_bytes = c->heads * c->queries * c->dim * sizeof(float);
    *data = (cli_attend_data){.f16_bytes = (size_t)cli_attend_f16_bytes(c)};
    TRY(side_begin(&data->k, c->k, c));
    TRY(side_begin(&data->v, c->v, c));
    data->q = room(q_bytes);
    data->out = room(q_bytes);
    data->f16 = room(data->f16_bytes);
    if (!data->q || !data->out || !data->f16) return cli_out_of_memory();
    TRY(fill(data, c));
    return ready_call(data, c);
}

void cli_attend_data_free(cli_attend_data *data) {
    cli_attend_side *const sides[] = {&data->k, &data->v};
    for (size_t i = 0; i < 2; i++) {
        free(sides[i]->codes);
        free(sides[i]->norms);
        free(sides[i]->pool_codes);
        free(sides[i]->pool_norms);
    }
    free(data->pages);
    free(data->q);
    free(data->out);
    free(data->workspace);
    free(data->f16);
    *data = (cli_attend_data){0};
}

tq_status cli_attend_call(cli_attend_data *data) {
    const tq_attention_params *p = &data->params;
    const size_t values = (size_t)p->n_heads * p->n_queries * p->head_dim;
    return tq_attention(p, &data->segment, 1, data->q, values, data->out, values, NULL, 0,
                        data->workspace, data->workspace_bytes);
}

/* What a head's check works on. */
typedef struct check {
    const cli_attend_data *data;
    float *k, *v;                  /* [T][D] decoded */
    double *scratch, *out, *terms; /* [T], [D], [D] */
    double worst;
} check;

static tq_status decode(const cli_attend_side *side, size_t head, size_t rows, float *dst) {
    const tq_batch batch = {.heads = 1, .rows = rows};
    return tq_decode(&side->codec, &batch, TQ_ORIGINAL, side->codes + head * rows * side->code_bytes,
                     rows * side->code_bytes, side->norms + head * rows * side->norm_bytes,
                     rows * side->norm_bytes, NULL, 0, dst, rows * side->codec.head_dim);
}

static void check_query(check *c, size_t head, size_t query) {
    const tq_attention_params *p = &c->data->params;
    const size_t at = (head * p->n_queries + query) * p->head_dim;
    const measure_exact exact = {.n_heads = 1,
                                 .n_kv_heads = 1,
                                 .head_dim = p->head_dim,
                                 .n_queries = 1,
                                 .n_positions = c->data->segment.length - p->n_queries + query + 1,
                                 .scale = (double)p->scale,
                                 .q = c->data->q + at,
                                 .k = c->k,
                                 .v = c->v};
    measure_exact_attend(&exact, 0, 0, c->scratch, c->out, c->terms);
    const double error = measure_exact_error(c->data->out + at, c->out, c->terms, p->head_dim);
    /* Not written as error > worst, which a NaN would pass. */
    c->worst = error <= c->worst ? c->worst : error;
}

static tq_status check_heads(check *c) {
    const tq_attention_params *p = &c->data->params;
    const size_t rows = c->data->segment.length, group = p->n_heads / p->n_kv_heads;
    tq_status status = TQ_OK;
    for (size_t g = 0; status == TQ_OK && g < p->n_kv_heads; g++) {
        status = decode(&c->data->k, g, rows, c->k);
        if (status == TQ_OK) status = decode(&c->data->v, g, rows, c->v);
        for (size_t h = g * group; status == TQ_OK && h < (g + 1) * group && !isnan(c->worst); h++) {
            check_query(c, h, 0);
            if (p->n_queries > 1 && !isnan(c->worst)) check_query(c, h, p->n_queries - 1);
        }
    }
    return status;
}

int cli_attend_check(const cli_attend_data *data, double *error) {
    /* on normally distributed vectors twice what is ever seen */
    const double bound = data->params.arithmetic == TQ_ARITHMETIC_INTEGER ? 1e-2 : 2e-6;
    const size_t rows = data->segment.length, dim = data->params.head_dim;
    check c = {.data = data,
               .k = calloc(rows * dim, sizeof(float)),
               .v = calloc(rows * dim, sizeof(float)),
               .scratch = calloc(rows, sizeof(double)),
               .out = calloc(dim, sizeof(double)),
               .terms = calloc(dim, sizeof(double))};
    int rc = CLI_DONE;
    if (!c.k || !c.v || !c.scratch || !c.out || !c.terms) {
        rc = cli_out_of_memory();
    } else {
        const tq_status status = check_heads(&c);
        rc = cli_check(NULL, status);
    }
    if (rc == CLI_DONE && !(c.worst <= bound)) {
        rc = cli_fail("attention over %s and %s at D = %zu is off by %.3g of its absolute terms, %.0e is "
                      "allowed; nothing is timed",
                      tq_format_name(data->k.codec.format), tq_format_name(data->v.codec.format), dim,
                      c.worst, bound);
    }
    *error = c.worst;
    free(c.k);
    free(c.v);
    free(c.scratch);
    free(c.out);
    free(c.terms);
    return rc;
}
