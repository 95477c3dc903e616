/* SPDX-License-Identifier: MIT
 * What is wrong with a view is refused by name, for keys and for values, and not a byte is written. */
#include <math.h>
#include <string.h>

#include "draw.h"
#include "refuse.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { LENGTH = 20, DIM = 64 };

/* What a view must be for a fault to be one: any of these together. */
enum { ANY = 0, CODES = 1, PAGED = 2, UNPAGED = 4, BLOCKS = 8, IN_PLACE = 16 };

typedef struct fault {
    const char *name;
    void (*spoil)(tq_view *v);
    unsigned kind;
    tq_status want;
} fault;

/* Views are const: a block table is spoiled in a copy. */
static int32_t spoiled_pages[64];

static size_t row_bytes(const tq_view *v) {
    size_t bytes = v->codec.head_dim * (v->store == TQ_STORE_F32 ? sizeof(float) : 2);
    if (v->store == TQ_STORE_CODES) assert_int_equal(tq_row_size(&v->codec, &bytes, NULL), TQ_OK);
    return bytes;
}

static const void *spoiled_blocks[64];

static void lose_block(tq_view *v, size_t index) {
    assert_true(v->n_pages <= COUNT(spoiled_blocks));
    memcpy(spoiled_blocks, v->blocks, v->n_pages * sizeof *v->blocks);
    spoiled_blocks[index] = NULL;
    v->blocks = spoiled_blocks;
}

static void lose_norm_block(tq_view *v, size_t index) {
    static const void *spoiled[COUNT(spoiled_blocks)];
    assert_true(v->n_pages <= COUNT(spoiled));
    memcpy(spoiled, v->norm_blocks, v->n_pages * sizeof *v->norm_blocks);
    spoiled[index] = NULL;
    v->norm_blocks = spoiled;
}

static void spoil_page(tq_view *v, size_t index, uint64_t page) {
    assert_true(v->n_pages <= COUNT(spoiled_pages));
    memcpy(spoiled_pages, v->pages, v->n_pages * sizeof *v->pages);
    spoiled_pages[index] = (int32_t)page;
    v->pages = spoiled_pages;
}

#define FAULT(name, statement)                                                                           \
    static void name(tq_view *v) {                                                                       \
        statement;                                                                                       \
    }
FAULT(no_data, v->data = NULL)
FAULT(no_norms, v->norms = NULL)
FAULT(dim_0, v->codec.head_dim = 0)
FAULT(dim_32, v->codec.head_dim = 32)
FAULT(dim_65, v->codec.head_dim = 65)
FAULT(store_4, v->store = (tq_store)4)
FAULT(store_minus_1, v->store = (tq_store)-1)
FAULT(format_9, v->codec.format = (tq_format)9)
FAULT(format_0, v->codec.format = (tq_format)0)
FAULT(format_7_v1, v->codec.format = (tq_format)0x107)
FAULT(v1_of_64, v->codec.format = TQ_TQ4_V1)
FAULT(capacity_0, v->capacity = 0)
FAULT(short_capacity, v->capacity = LENGTH - 1; v->ring_start = 0)
FAULT(huge_capacity, v->capacity = SIZE_MAX)
FAULT(large_capacity, v->capacity = SIZE_MAX / 32)
FAULT(larger_capacity, v->capacity++)
FAULT(ring_at_end, v->ring_start = v->capacity)
FAULT(ring_far, v->ring_start = SIZE_MAX)
FAULT(byte_missing, v->data_bytes--)
FAULT(no_bytes, v->data_bytes = 0)
FAULT(norm_missing, v->n_norms--)
FAULT(zero_norms, v->n_norms = 0)
FAULT(short_row, v->row_stride = row_bytes(v) - 1)
FAULT(short_head, v->head_stride = row_bytes(v) - 1)
FAULT(short_page, v->page_stride = row_bytes(v) - 1)
FAULT(overlapping_page, v->page_stride -= 48) /* more than gaps leave */
FAULT(overlapping_norm_page, v->norm_page_stride = 1)
FAULT(huge_row, v->row_stride = SIZE_MAX)
FAULT(large_row, v->row_stride = SIZE_MAX / 4)
FAULT(huge_head, v->head_stride = SIZE_MAX)
FAULT(huge_page, v->page_stride = SIZE_MAX)
FAULT(huge_norm_row, v->norm_row_stride = SIZE_MAX)
FAULT(large_norm_row, v->norm_row_stride = SIZE_MAX / 4)
FAULT(huge_norm_head, v->norm_head_stride = SIZE_MAX)
FAULT(huge_norm_page, v->norm_page_stride = SIZE_MAX)
FAULT(longer_row, v->row_stride += 4)
FAULT(much_longer_row, v->row_stride += 64)
FAULT(longer_head, v->head_stride += 4)
FAULT(longer_page, v->page_stride += 4)
FAULT(longer_norm_row, v->norm_row_stride++)
FAULT(longer_norm_head, v->norm_head_stride++)
FAULT(page_outside, spoil_page(v, 0, v->pool_pages))
FAULT(last_page_outside, spoil_page(v, v->n_pages - 1, v->pool_pages))
FAULT(page_far_outside, spoil_page(v, 1, UINT32_MAX))
FAULT(page_missing, v->n_pages--)
FAULT(no_pages, v->n_pages = 0)
FAULT(page_of_0_rows, v->page_rows = 0)
FAULT(page_of_fewer_rows, v->page_rows = 1)
FAULT(pool_of_0, v->pool_pages = 0)
FAULT(pool_of_more, v->pool_pages++)
FAULT(pool_of_all, v->pool_pages = SIZE_MAX)
FAULT(first_block_lost, lose_block(v, 0))
FAULT(last_block_lost, lose_block(v, v->n_pages - 1))
FAULT(norm_block_lost, lose_norm_block(v, 1))
FAULT(no_norm_blocks, v->norm_blocks = NULL)
FAULT(block_missing, v->n_pages--)
FAULT(block_of_0_rows, v->page_rows = 0)
FAULT(pages_and_blocks, v->pages = spoiled_pages)

#define ROW(function, kind, status)                                                                      \
    { #function, function, kind, status }
static const fault faults[] = {
    ROW(no_data, IN_PLACE, TQ_E_NULL),
    ROW(no_norms, CODES | IN_PLACE, TQ_E_NULL),
    ROW(dim_0, ANY, TQ_E_HEAD_DIM),
    ROW(dim_32, ANY, TQ_E_HEAD_DIM),
    ROW(dim_65, ANY, TQ_E_HEAD_DIM),
    ROW(store_4, ANY, TQ_E_FORMAT),
    ROW(store_minus_1, ANY, TQ_E_FORMAT),
    ROW(format_9, CODES, TQ_E_FORMAT),
    ROW(format_0, CODES, TQ_E_FORMAT),
    ROW(format_7_v1, CODES, TQ_E_FORMAT),
    ROW(v1_of_64, CODES, TQ_E_HEAD_DIM),
    ROW(capacity_0, ANY, TQ_E_POSITION),
    ROW(short_capacity, ANY, TQ_E_POSITION),
    ROW(huge_capacity, UNPAGED, TQ_E_OVERFLOW),
    ROW(large_capacity, UNPAGED, TQ_E_OVERFLOW),
    ROW(larger_capacity, UNPAGED, TQ_E_SIZE),
    ROW(ring_at_end, ANY, TQ_E_POSITION),
    ROW(ring_far, ANY, TQ_E_POSITION),
    ROW(byte_missing, ANY, TQ_E_SIZE),
    ROW(no_bytes, ANY, TQ_E_SIZE),
    ROW(norm_missing, CODES, TQ_E_SIZE),
    ROW(zero_norms, CODES, TQ_E_SIZE),
    ROW(short_row, ANY, TQ_E_STRIDE),
    ROW(short_head, ANY, TQ_E_STRIDE),
    ROW(short_page, PAGED, TQ_E_STRIDE),
    ROW(overlapping_page, PAGED, TQ_E_STRIDE),
    ROW(overlapping_norm_page, CODES | PAGED, TQ_E_STRIDE),
    ROW(huge_row, ANY, TQ_E_OVERFLOW),
    ROW(large_row, ANY, TQ_E_OVERFLOW),
    ROW(huge_head, ANY, TQ_E_OVERFLOW),
    ROW(huge_page, PAGED, TQ_E_OVERFLOW),
    ROW(huge_norm_row, CODES, TQ_E_OVERFLOW),
    ROW(large_norm_row, CODES, TQ_E_OVERFLOW),
    ROW(huge_norm_head, CODES, TQ_E_OVERFLOW),
    ROW(huge_norm_page, CODES | PAGED, TQ_E_OVERFLOW),
    ROW(longer_row, UNPAGED, TQ_E_SIZE),
    ROW(longer_row, BLOCKS, TQ_E_SIZE),
    ROW(much_longer_row, PAGED, TQ_E_STRIDE),
    ROW(longer_head, ANY, TQ_E_SIZE),
    ROW(longer_page, PAGED, TQ_E_SIZE),
    ROW(longer_norm_row, CODES, TQ_E_SIZE),
    ROW(longer_norm_head, CODES, TQ_E_SIZE),
    ROW(page_outside, PAGED, TQ_E_POSITION),
    ROW(last_page_outside, PAGED, TQ_E_POSITION),
    ROW(page_far_outside, PAGED, TQ_E_POSITION),
    ROW(page_missing, PAGED, TQ_E_POSITION),
    ROW(no_pages, PAGED, TQ_E_POSITION),
    ROW(page_of_0_rows, PAGED, TQ_E_POSITION),
    ROW(page_of_fewer_rows, PAGED, TQ_E_POSITION),
    ROW(pool_of_0, PAGED, TQ_E_POSITION),
    ROW(pool_of_more, PAGED, TQ_E_SIZE),
    ROW(pool_of_all, PAGED, TQ_E_OVERFLOW),
    ROW(first_block_lost, BLOCKS, TQ_E_NULL),
    ROW(last_block_lost, BLOCKS, TQ_E_NULL),
    ROW(norm_block_lost, BLOCKS | CODES, TQ_E_NULL),
    ROW(no_norm_blocks, BLOCKS | CODES, TQ_E_NULL),
    ROW(block_missing, BLOCKS, TQ_E_POSITION),
    ROW(block_of_0_rows, BLOCKS, TQ_E_POSITION),
    ROW(pages_and_blocks, BLOCKS, TQ_E_POSITION),
};

static bool can_have(const tq_view *v, unsigned kind) {
    const unsigned codes = v->store == TQ_STORE_CODES ? CODES : 0;
    const unsigned is = codes | (v->pages != NULL    ? PAGED | IN_PLACE
                                 : v->blocks != NULL ? BLOCKS
                                                     : UNPAGED | IN_PLACE);
    return (kind & ~is) == 0;
}

/* Four segments, so that every store is there with and without pages, as keys and as values. */
static void open_stage(stage *st, bool blocks) {
    static const unsigned stores[MOST_SEGMENTS][2] = {
        {2, ENCODED_STORES}, {3, 6}, {ENCODED_STORES + 1, 0}, {ENCODED_STORES, ENCODED_STORES + 1}};
    rng r = {1};
    scene_plan p = plain_plan(4, 2, DIM, 2, LENGTH);
    p.n_segments = MOST_SEGMENTS;
    for (size_t i = 0; i < MOST_SEGMENTS; i++) {
        side_plan *sides[] = {&p.segment[i].k, &p.segment[i].v};
        p.segment[i].length = LENGTH;
        p.segment[i].first_position = i * LENGTH;
        for (size_t j = 0; j < 2; j++) {
            set_store(sides[j], stores[i][j]);
            sides[j]->gap = 4; /* strides are then written out */
            sides[j]->ring_start = 3;
            sides[j]->spare = 2;
            sides[j]->page_rows = (i + j) % 2 == 0 ? 0 : 7;
            sides[j]->blocks = blocks;
            sides[j]->layout = i < 2 ? BY_HEAD : BY_POSITION;
        }
    }
    stage_open(st, &p, &r);
}

static void refuse_faults(bool blocks) {
    stage st;
    attempt a;
    size_t tried = 0;
    open_stage(&st, blocks);
    for (size_t i = 0; i < 2 * MOST_SEGMENTS; i++)
        for (size_t f = 0; f < COUNT(faults); f++) {
            attempt_make(&a, &st);
            tq_view *v = i % 2 == 0 ? &a.segments[i / 2].k : &a.segments[i / 2].v;
            if (!can_have(v, faults[f].kind)) continue;
            a.spoiled = faults[f].name;
            faults[f].spoil(v);
            assert_refused(&st, &a, BY_ALL, faults[f].want, NULL);
            tried++;
        }
    assert_true(tried > 220); /* most faults with half of the views */
    attempt_make(&a, &st);
    assert_accepted(&a);
    stage_close(&st);
}

static void views(void **state) {
    (void)state;
    refuse_faults(false);
    refuse_faults(true);
}

static void lengths(void **state) {
    (void)state;
    stage st;
    attempt a;
    open_stage(&st, false);
    for (size_t i = 0; i < MOST_SEGMENTS; i++) {
        attempt_make(&a, &st);
        a.segments[i].length = a.segments[i].k.capacity + 1;
        assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, NULL);
        a.segments[i].length = SIZE_MAX;
        assert_refused(&st, &a, BY_ALL, TQ_E_POSITION, NULL);
    }
    stage_close(&st);
}

static void open_pair(stage *st, uint32_t dim, unsigned k0, unsigned v0, unsigned k1, unsigned v1) {
    rng r = {dim};
    scene_plan p = plain_plan(2, 2, dim, 1, 5);
    p.n_segments = 2;
    p.segment[1] = p.segment[0];
    p.segment[1].first_position = 5;
    set_store(&p.segment[0].k, k0);
    set_store(&p.segment[0].v, v0);
    set_store(&p.segment[1].k, k1);
    set_store(&p.segment[1].v, v1);
    stage_open(st, &p, &r);
}

/* One rotation for all encoded keys, one for all encoded values; keys and values may differ. */
static void rotations(void **state) {
    (void)state;
    enum { V2 = 2, V1 = V2_STORES, DENSE = ENCODED_STORES };
    stage st;
    attempt a;
    open_pair(&st, 256, V1, V2, DENSE, DENSE);
    attempt_make(&a, &st);
    assert_accepted(&a);
    stage_save(&st);
    /* Rows of tq8 are as long as those of the one-byte v1 formats: the format alone is wrong. */
    for (int keys = 0; keys < 2; keys++) {
        stage other;
        open_pair(&other, 256, V2_STORES + 3, V2_STORES + 3, V2_STORES + 3, V2_STORES + 3);
        attempt_make(&a, &other);
        assert_accepted(&a);
        stage_save(&other);
        tq_view *view = keys ? &a.segments[1].k : &a.segments[1].v;
        view->codec.format = TQ_TQ8;
        assert_refused(&other, &a, BY_ALL, TQ_E_FORMAT, NULL);
        view = keys ? &a.segments[0].k : &a.segments[0].v;
        view->codec.format = TQ_TQ8; /* both v2 now */
        assert_accepted(&a);
        stage_close(&other);
    }
    stage_close(&st);
}

static void v1_of_two_norms(void **state) {
    (void)state;
    static const float factors[] = {0.0f, -1.0f, NAN, INFINITY, -INFINITY};
    stage st;
    attempt a;
    open_pair(&st, 512, V2_STORES, V2_STORES + 1, V2_STORES + 2, V2_STORES + 3);
    for (size_t i = 0; i < 4; i++) {
        const size_t segment = i / 2;
        for (size_t f = 0; f < COUNT(factors) + 3; f++) {
            attempt_make(&a, &st);
            tq_view *v = i % 2 == 0 ? &a.segments[segment].k : &a.segments[segment].v;
            if (f < COUNT(factors)) {
                v->codec.scale_factor_d512 = factors[f];
                assert_refused(&st, &a, BY_ALL, TQ_E_SCALE_FACTOR, NULL);
                continue;
            }
            if (f == COUNT(factors)) v->norm_row_stride = 1;
            if (f == COUNT(factors) + 1) v->norm_head_stride = 1;
            if (f == COUNT(factors) + 2) v->n_norms--;
            assert_refused(&st, &a, BY_ALL, f == COUNT(factors) + 2 ? TQ_E_SIZE : TQ_E_STRIDE, NULL);
        }
    }
    attempt_make(&a, &st);
    assert_accepted(&a);
    stage_close(&st);
}

/* The view once more, by the functions that make one. */
static tq_status make_view(const tq_view *v, size_t heads, tq_view *made) {
    const size_t capacity = v->pages == NULL ? v->capacity : v->pool_pages * v->page_rows;
    const size_t size = v->store == TQ_STORE_F32 ? sizeof(float) : sizeof(uint16_t);
    const tq_type type = v->store == TQ_STORE_F32 ? TQ_F32 : v->store == TQ_STORE_F16 ? TQ_F16 : TQ_BF16;
    const size_t start = v->ring_start;
    tq_status status = v->store == TQ_STORE_CODES
                           ? tq_view_codes(made, &v->codec, heads, capacity, v->data, v->data_bytes,
                                           v->norms, v->n_norms)
                           : tq_view_dense(made, type, v->codec.head_dim, heads, capacity, v->data,
                                           v->data_bytes / size);
    if (status == TQ_OK && v->pages != NULL)
        status = tq_view_paged(made, v->pages, v->n_pages, v->page_rows);
    made->centre = v->centre;
    made->n_centres = v->n_centres;
    made->ring_start = start;
    return status;
}

static void assert_same_results(const scene *s, const scene *made) {
    whole want = whole_new(s), got = whole_new(made);
    attend(s, &want);
    attend(made, &got);
    assert_memory_equal(got.out.data, want.out.data, want.out.size);
    assert_memory_equal(got.lse.data, want.lse.data, want.lse.size);
    whole_free(&want);
    whole_free(&got);
}

/* What is made reads as what is written by hand, in every store, in arrays, rings and pages. */
static void made(void **state) {
    (void)state;
    rng r = {5};
    for (unsigned i = 0; i < 6 * STORES; i++) {
        scene_plan p = plain_plan(4, 2, i % 4 < 2 ? 256 : 512, 2, 21); /* whole pages of 7 */
        p.centre = true;
        side_plan *sides[] = {&p.segment[0].k, &p.segment[0].v};
        for (size_t j = 0; j < 2; j++) {
            set_store(sides[j], i / 6);
            sides[j]->page_rows = i % 3 == 0 ? 7 : 0;
            sides[j]->ring_start = i % 3 == 1 ? 5 : 0;
        }
        scene s, other;
        scene_open(&s, &p, &r);
        other = s;
        assert_int_equal(make_view(&s.segments[0].k, 2, &other.segments[0].k), TQ_OK);
        assert_int_equal(make_view(&s.segments[0].v, 2, &other.segments[0].v), TQ_OK);
        assert_same_results(&s, &other);
        scene_close(&s);
    }
}

/* Fails unless the call of make said so and the view is what it was. */
static void assert_unmade(const tq_view *v, tq_status got, tq_status want, const char *field) {
    tq_view untouched;
    memset(&untouched, 0x5A, sizeof untouched);
    if (got != want || strcmp(tq_last_error()->field, field) != 0)
        fail_msg("%s of \"%s\" wanted, got %s of \"%s\": %s", tq_status_name(want), field,
                 tq_status_name(got), tq_last_error()->field, tq_last_error()->message);
    assert_memory_equal(v, &untouched, sizeof untouched);
}

enum { SLOTS = 6, HEADS = 2, BYTES = HEADS * SLOTS * DIM / 2 }; /* of tq4 */

static void codes_refused(void **state) {
    (void)state;
    static const uint8_t c[BYTES];
    static const uint16_t n[HEADS * SLOTS];
    const tq_codec tq4 = {.format = TQ_TQ4, .head_dim = DIM}, no_format = {.head_dim = DIM},
                   odd = {.format = TQ_TQ4, .head_dim = 65},
                   no_scale = {.format = TQ_TQ4_V1, .head_dim = 512};
    tq_view v;
    memset(&v, 0x5A, sizeof v);
    const struct {
        const tq_codec *codec;
        size_t heads, slots;
        const void *codes;
        size_t n_codes;
        const void *norms;
        size_t n_norms;
        tq_status want;
        const char *field;
    } rows[] = {
        {NULL, HEADS, SLOTS, c, BYTES, n, 24, TQ_E_NULL, "codec"},
        {&no_format, HEADS, SLOTS, c, BYTES, n, 24, TQ_E_FORMAT, "format"},
        {&odd, HEADS, SLOTS, c, BYTES, n, 24, TQ_E_HEAD_DIM, "head_dim"},
        {&no_scale, 1, 1, c, BYTES, n, 24, TQ_E_SCALE_FACTOR, "scale_factor_d512"},
        {&tq4, 0, SLOTS, c, BYTES, n, 24, TQ_E_HEADS, "n_kv_heads"},
        {&tq4, HEADS, 0, c, BYTES, n, 24, TQ_E_POSITION, "capacity"},
        {&tq4, HEADS, SLOTS, NULL, BYTES, n, 24, TQ_E_NULL, "codes"},
        {&tq4, HEADS, SLOTS, c, BYTES, NULL, 24, TQ_E_NULL, "norms"},
        {&tq4, HEADS, SLOTS, c, BYTES - 1, n, 24, TQ_E_SIZE, "codes"},
        {&tq4, HEADS, SLOTS, c, BYTES, n, 23, TQ_E_SIZE, "norms"},
        {&tq4, HEADS, SIZE_MAX, c, BYTES, n, 24, TQ_E_OVERFLOW, "codes"},
        {&tq4, SIZE_MAX / 16, SLOTS, c, BYTES, n, 24, TQ_E_OVERFLOW, "codes"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_unmade(&v,
                      tq_view_codes(&v, rows[i].codec, rows[i].heads, rows[i].slots, rows[i].codes,
                                    rows[i].n_codes, rows[i].norms, rows[i].n_norms),
                      rows[i].want, rows[i].field);
    assert_int_equal(tq_view_codes(NULL, &tq4, HEADS, SLOTS, c, BYTES, n, 24), TQ_E_NULL);
    assert_int_equal(tq_view_codes(&v, &tq4, HEADS, SLOTS, c, BYTES, n, 24), TQ_OK);
}

static void dense_refused(void **state) {
    (void)state;
    static const float x[HEADS * SLOTS * DIM];
    tq_view v;
    memset(&v, 0x5A, sizeof v);
    const struct {
        int type;
        uint32_t dim;
        size_t heads, slots;
        const void *values;
        size_t n;
        tq_status want;
        const char *field;
    } rows[] = {
        {3, DIM, HEADS, SLOTS, x, COUNT(x), TQ_E_FORMAT, "type"},
        {TQ_F32, 16, HEADS, SLOTS, x, COUNT(x), TQ_E_HEAD_DIM, "head_dim"},
        {TQ_F16, 65, HEADS, SLOTS, x, COUNT(x), TQ_E_HEAD_DIM, "head_dim"},
        {TQ_F32, DIM, 0, SLOTS, x, COUNT(x), TQ_E_HEADS, "n_kv_heads"},
        {TQ_F32, DIM, HEADS, 0, x, COUNT(x), TQ_E_POSITION, "capacity"},
        {TQ_F32, DIM, HEADS, SLOTS, NULL, COUNT(x), TQ_E_NULL, "values"},
        {TQ_BF16, DIM, HEADS, SLOTS, x, COUNT(x) - 1, TQ_E_SIZE, "values"},
        {TQ_F32, DIM, HEADS, SIZE_MAX / DIM, x, COUNT(x), TQ_E_OVERFLOW, "values"},
        {TQ_F32, DIM, HEADS, SLOTS, x, SIZE_MAX, TQ_E_OVERFLOW, "values"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_unmade(&v,
                      tq_view_dense(&v, (tq_type)rows[i].type, rows[i].dim, rows[i].heads, rows[i].slots,
                                    rows[i].values, rows[i].n),
                      rows[i].want, rows[i].field);
    assert_int_equal(tq_view_dense(NULL, TQ_F32, DIM, HEADS, SLOTS, x, COUNT(x)), TQ_E_NULL);
    assert_int_equal(tq_view_dense(&v, TQ_F32, DIM, HEADS, SLOTS, x, COUNT(x)), TQ_OK);
}

#define SPOILED(name, statement, rows, n, status)                                                        \
    {                                                                                                    \
        tq_view v = pool;                                                                                \
        statement;                                                                                       \
        const tq_view before = v;                                                                        \
        assert_int_equal(tq_view_paged(&v, table, n, rows), status);                                     \
        assert_string_equal(tq_last_error()->field, name);                                               \
        assert_memory_equal(&v, &before, sizeof v);                                                      \
    }

static void paged_refused(void **state) {
    (void)state;
    static const float x[HEADS * SLOTS * DIM];
    static const int32_t pages[] = {2, 0}, *table = pages;
    tq_view pool;
    assert_int_equal(tq_view_dense(&pool, TQ_F32, DIM, HEADS, SLOTS, x, COUNT(x)), TQ_OK);
    SPOILED("page_rows", (void)0, 0, 2, TQ_E_POSITION)
    SPOILED("page_rows", (void)0, 4, 2, TQ_E_POSITION)
    SPOILED("page_rows", v.capacity = 0, 2, 2, TQ_E_POSITION)
    SPOILED("view", v.ring_start = 1, 2, 2, TQ_E_POSITION)
    SPOILED("view", v.pages = pages, 2, 2, TQ_E_POSITION)
    SPOILED("view", v.head_stride = SIZE_MAX / 2, 2, 2, TQ_E_STRIDE)
    SPOILED("n_pages", (void)0, 2, 0, TQ_E_POSITION)
    SPOILED("n_pages", (void)0, 2, SIZE_MAX, TQ_E_OVERFLOW)
    table = NULL;
    SPOILED("pages", (void)0, 2, 2, TQ_E_NULL)
    assert_int_equal(tq_view_paged(NULL, pages, 2, 2), TQ_E_NULL);
    assert_int_equal(tq_view_paged(&pool, pages, 2, 2), TQ_OK);
    assert_int_equal(pool.capacity, 4);
    assert_int_equal(pool.pool_pages, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made),          cmocka_unit_test(codes_refused),
        cmocka_unit_test(dense_refused), cmocka_unit_test(paged_refused),
        cmocka_unit_test(views),         cmocka_unit_test(lengths),
        cmocka_unit_test(rotations),     cmocka_unit_test(v1_of_two_norms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
