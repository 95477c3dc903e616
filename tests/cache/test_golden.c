/* SPDX-License-Identifier: MIT
 * Blocks that must be taken for ever, or refused, and the numbers of the tables that they are written
 * with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "attention/half.h"
#include "blob.h"
#include "broken.h"
#include "format/ids.h"
#include "support/cm.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define GOLDEN   TQKV_TEST_DIR "/../golden/"
#define GOOD     GOLDEN "good/"
#define BAD      GOLDEN "bad/"

/* What codes mean. Who changes a table changes these, and must call it another format. */
static void tables_are_pinned(void **state) {
    (void)state;
    static const struct {
        tq_format format;
        uint32_t dim;
        uint64_t codebook, rotation;
    } all[] = {
        {TQ_TQ2, 32, 0xaad1bcb561fad05fu, 0x46a0af82651bb5e7u},
        {TQ_TQ3, 48, 0xf64feed7031261deu, 0x9a25689d8d04f340u},
        {TQ_TQ4, 128, 0x0db70eeca86b2b4eu, 0x59fc6c3c60e4211eu},
        {TQ_TQ5, 240, 0xe3b7de300b02ab1du, 0xb7f764489eb4f426u},
        {TQ_TQ6, 576, 0x82e99d413b11fe7fu, 0x179e43ffb0e2063eu},
        {TQ_TQ7, 976, 0x59b03576210bb4fdu, 0x6fddd76ed451573fu},
        {TQ_TQ8, 1024, 0x0a0d8bd1f29805dfu, 0x46a4ce91ced9169eu},
        {TQ_TQ4_V1, 256, 0x0bb37dbe103d3c0du, 0x2ad3b4ef437513bcu},
        {TQ_TQ5_V1, 512, 0x29efaedc49b0ffb1u, 0x5c6f4e2744730af8u},
        {TQ_TQ6_V1, 256, 0x491330fb404d8e99u, 0x2ad3b4ef437513bcu},
        {TQ_TQ8_V1, 512, 0x3922b80c00875572u, 0x5c6f4e2744730af8u},
    };
    for (size_t i = 0; i < COUNT(all); i++) {
        const tq_codec codec = {all[i].format, all[i].dim, TQ_NORM_DEFAULT, 1};
        tq_plan plan;
        assert_int_equal(tq_plan_init(&plan, &codec), TQ_OK);
        if (tq_codebook_id(&plan) != all[i].codebook || tq_rotation_id(&plan) != all[i].rotation)
            broken("%s at %u: codebook 0x%016llx, rotation 0x%016llx", tq_format_name(codec.format),
                   codec.head_dim, (unsigned long long)tq_codebook_id(&plan),
                   (unsigned long long)tq_rotation_id(&plan));
    }
}

static const struct {
    const char *name;
    tq_cache_config config;
    uint64_t first, sinks_end, codes_first, codes_end, end;
    bool centre;
} golden[] = {
    {"centre.block",
     {.size = sizeof(tq_cache_config),
      .capacity = 20,
      .recent = 3,
      .sinks = 2,
      .learn_centre = 3,
      .centre_stretch = 4,
      .layer = {.n_kv_heads = 2,
                .k = {TQ_TQ6, 32, TQ_NORM_DEFAULT, 0},
                .v = {TQ_TQ4, 32, TQ_NORM_PLAIN, 0}}},
     0,
     2,
     2,
     7,
     10,
     true},
    {"stretches.block",
     {.size = sizeof(tq_cache_config),
      .policy = TQ_CACHE_RING,
      .capacity = 20,
      .recent = 1,
      .learn_centre = 2,
      .centre_stretch = 3,
      .layer = {.n_kv_heads = 1,
                .k = {TQ_TQ5, 48, TQ_NORM_MATCHED, 0},
                .v = {TQ_TQ8, 48, TQ_NORM_UNBIASED, 0}}},
     70,
     70,
     70,
     79,
     80,
     true},
    {"chunk.block",
     {.size = sizeof(tq_cache_config),
      .policy = TQ_CACHE_RING,
      .capacity = 20,
      .layer = {.n_kv_heads = 1,
                .k = {TQ_TQ2, 576, TQ_NORM_UNBIASED, 0},
                .v = {TQ_TQ7, 576, TQ_NORM_MATCHED, 0}}},
     256,
     256,
     256,
     259,
     259,
     false},
    {"ring.block",
     {.size = sizeof(tq_cache_config),
      .policy = TQ_CACHE_RING,
      .capacity = 4,
      .recent = 1,
      .sinks = 1,
      .layer = {.n_kv_heads = 1,
                .k = {TQ_TQ8_V1, 512, TQ_NORM_PLAIN, 1.25f},
                .v = {TQ_TQ3, 512, TQ_NORM_MATCHED, 0}}},
     0,
     1,
     20,
     22,
     23,
     false},
    {"pairs.block",
     {.size = sizeof(tq_cache_config),
      .capacity = 20,
      .layer = {.n_kv_heads = 2,
                .k = {TQ_TQ4_V1, 256, TQ_NORM_DEFAULT, 0},
                .v = {TQ_TQ5_V1, 256, TQ_NORM_PLAIN, 0}}},
     0,
     0,
     0,
     2,
     2,
     false},
    {"dense.block",
     {.size = sizeof(tq_cache_config),
      .policy = TQ_CACHE_RING,
      .capacity = 20,
      .recent = 2,
      .sinks = 1,
      .layer = {2, {0, 48, 0, 0}, {TQ_TQ3, 80, TQ_NORM_MATCHED, 0}, TQ_STORE_BF16, TQ_STORE_CODES}},
     0,
     1,
     1,
     4,
     6,
     false},
    {"mixed.block",
     {.size = sizeof(tq_cache_config),
      .policy = TQ_CACHE_RING,
      .capacity = 4,
      .recent = 1,
      .sinks = 2,
      .learn_centre = 3,
      .layer = {1, {TQ_TQ6, 32, TQ_NORM_MATCHED, 0}, {0, 64, 0, 0}, TQ_STORE_CODES, TQ_STORE_F16}},
     0,
     2,
     9,
     12,
     13,
     true},
    {"empty.block",
     {.size = sizeof(tq_cache_config),
      .capacity = 20,
      .layer = {.n_kv_heads = 3,
                .k = {TQ_TQ8, 1024, TQ_NORM_MATCHED, 0},
                .v = {TQ_TQ5, 1024, TQ_NORM_MATCHED, 0}}},
     0,
     0,
     0,
     0,
     0,
     false},
};

static blob read_file(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) broken("%s cannot be read", path);
    blob b = blob_new((size_t)ftell(f));
    rewind(f);
    if (fread(b.bytes, 1, b.n, f) != b.n) broken("%s cannot be read", path);
    fclose(f);
    return b;
}

/* Float16 of v2, float32 of v1, at any address. */
static double norm_at(const tq_codec *codec, const uint8_t *at) {
    uint16_t half;
    float single;
    memcpy(&half, at, sizeof half);
    memcpy(&single, at, sizeof single);
    return TQ_IS_V1(codec->format) ? (double)single : half_to(half);
}

/* The generator's filler: a linear congruential generator's top byte. Dense sides come back as bytes. */
static void check_filler(const tq_codec *codec, const tq_view *v, size_t rows, size_t heads) {
    uint32_t seed = codec->head_dim + ((unsigned)codec->format & 0xFF);
    const size_t size = TQ_IS_V1(codec->format) ? sizeof(float) : sizeof(uint16_t);
    size_t row_bytes, norm_bytes;
    if (v->store != TQ_STORE_CODES) return;
    assert_int_equal(tq_row_size(codec, &row_bytes, &norm_bytes), TQ_OK);
    for (size_t h = 0, n = 0; h < heads; h++)
        for (size_t i = 0; i < rows; i++) {
            const size_t slot = (v->ring_start + i) % v->capacity; /* of the first block */
            const uint8_t *data = v->blocks != NULL ? v->blocks[0] : v->data;
            const uint8_t *norms_at = v->norm_blocks != NULL ? v->norm_blocks[0] : v->norms;
            const uint8_t *codes = data + h * v->head_stride + slot * v->row_stride;
            const uint8_t *norm = norms_at + h * v->norm_head_stride + slot * v->norm_row_stride;
            for (size_t j = 0; j < row_bytes; j++) {
                seed = seed * 1664525u + 1013904223u;
                assert_int_equal(codes[j], seed >> 24);
            }
            for (size_t j = 0; j < norm_bytes; j += size)
                assert_true(norm_at(codec, norm + j) == (double)n++ / 4);
        }
}

/* Of every stretch that codes lie in. */
static void check_centres(const tq_cache *cache, const tq_cache_config *c, uint64_t first, uint64_t end) {
    const size_t values = c->layer.n_kv_heads * c->layer.k.head_dim;
    for (uint64_t p = first; p < end; p++) {
        const uint16_t *centre = tq_cache_k_centre(cache, p);
        const size_t row = c->centre_stretch == 0 ? 0 : p / c->centre_stretch - first / c->centre_stretch;
        assert_int_equal(centre != NULL, c->learn_centre > 0);
        for (size_t j = 0; centre != NULL && j < values; j++)
            assert_true(half_to(centre[j]) == ((int)((row * values + j) % 7) - 3) / 8.0);
    }
}

/* Written by tools/golden_block.py, which shares no line with the library. */
static void golden_blocks(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(golden); i++) {
        const tq_cache_config *config = &golden[i].config;
        blob b = read_file(GOOD, golden[i].name);
        tq_cache *cache;
        tq_cache_block info = {.size = sizeof info};
        tq_segment segments[TQ_CACHE_SEGMENTS];
        size_t n;
        assert_int_equal(tq_cache_create(config, &cache), TQ_OK);
        if (tq_cache_import(cache, b.bytes, b.n) != TQ_OK) broken("%s", tq_last_error()->message);
        assert_int_equal(tq_cache_block_info(b.bytes, b.n, &info), TQ_OK);
        assert_true(info.first == golden[i].first && info.sinks_end == golden[i].sinks_end &&
                    info.codes_first == golden[i].codes_first && info.codes_end == golden[i].codes_end &&
                    info.end == golden[i].end && info.bytes == b.n);
        assert_int_equal(info.has_k_centre, golden[i].centre);
        assert_int_equal(info.layer.k.format, config->layer.k.format);
        assert_int_equal(info.layer.v.head_dim, config->layer.v.head_dim);
        assert_int_equal(info.layer.k_store, config->layer.k_store);
        assert_int_equal(info.layer.v_store, config->layer.v_store);
        assert_int_equal(tq_cache_length(cache), golden[i].end);
        assert_int_equal(tq_cache_encoded_end(cache), golden[i].codes_end);
        assert_int_equal(tq_cache_segments(cache, segments, &n), TQ_OK);
        for (size_t s = 0; s < n; s++)
            if (segments[s].first_position == golden[i].codes_first) {
                assert_int_equal(segments[s].length, golden[i].codes_end - golden[i].codes_first);
                check_filler(&config->layer.k, &segments[s].k, segments[s].length,
                             config->layer.n_kv_heads);
                check_filler(&config->layer.v, &segments[s].v, segments[s].length,
                             config->layer.n_kv_heads);
            }
        assert_int_equal(info.centre_stretch, config->centre_stretch);
        check_centres(cache, &golden[i].config, golden[i].codes_first, golden[i].codes_end);
        blob_same(blob_export(cache, golden[i].first, golden[i].end), b);
        tq_cache_destroy(cache);
    }
}

/* Version 1 had float32 norms and one float32 centre; nothing was released with it. */
static void version_1_is_refused(void **state) {
    (void)state;
    blob b = read_file(BAD, "version-1.block");
    tq_cache_block info = {.size = sizeof info, .bytes = 7};
    tq_cache *cache;
    assert_int_equal(tq_cache_create(&golden[0].config, &cache), TQ_OK);
    for (int i = 0; i < 2; i++) {
        const tq_status got =
            i == 0 ? tq_cache_block_info(b.bytes, b.n, &info) : tq_cache_import(cache, b.bytes, b.n);
        assert_int_equal(got, TQ_E_FILE_HEADER);
        assert_string_equal(tq_last_error()->field, "version");
        assert_int_equal(tq_last_error()->index, 8);
        assert_string_equal(tq_last_error()->message, "block: byte 8: version 1; this library reads 2");
    }
    assert_true(info.bytes == 7 && tq_cache_length(cache) == 0);
    tq_cache_destroy(cache);
    blob_free(&b);
}

static void written_again(const char *folder, const char *name, const char *golden_folder) {
    char path[1024];
    blob_same(read_file(folder, name), read_file(golden_folder, name));
    snprintf(path, sizeof path, "%s%s", folder, name);
    assert_int_equal(remove(path), 0);
}

static void the_generator_writes_them(void **state) {
    (void)state;
    char folder[64] = "/tmp/tqkv-blocks-XXXXXX", good[80], bad[80], command[1024];
    if (system("python3 -c pass >/dev/null 2>&1") != 0) skip();
    assert_non_null(mkdtemp(folder));
    snprintf(good, sizeof good, "%s/good/", folder);
    snprintf(bad, sizeof bad, "%s/bad/", folder);
    assert_true(mkdir(good, 0700) == 0 && mkdir(bad, 0700) == 0);
    snprintf(command, sizeof command, "python3 -B '%s/../../tools/golden_block.py' --out %s",
             TQKV_TEST_DIR, folder);
    const int status = system(command);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (size_t i = 0; i < COUNT(golden); i++)
        written_again(good, golden[i].name, GOOD);
    written_again(bad, "version-1.block", BAD);
    assert_true(remove(good) == 0 && remove(bad) == 0 &&
                remove(folder) == 0); /* nothing else was written */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_pinned),
        cmocka_unit_test(golden_blocks),
        cmocka_unit_test(version_1_is_refused),
        cmocka_unit_test(the_generator_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
