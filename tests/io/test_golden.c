/* SPDX-License-Identifier: MIT
 * The golden files: read or refused as listed, for ever, and as tools/golden_io.py writes them. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "io_support.h"

#define GOLDEN TQKV_TEST_DIR "/../golden/"

/* Where a golden file lies; the path holds until the next call. */
static const char *in(const char *folder, const char *name) {
    static char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s%s/%s", GOLDEN, folder, name);
    return path;
}

static bool ends_with(const char *name, const char *end) {
    size_t length = strlen(name);
    return length >= strlen(end) && strcmp(name + length - strlen(end), end) == 0;
}

static const float six[6] = {0.0f, -1.5f, 2.0f, 3.25f, -0.0f, 1e30f};
static const float halves[10] = {0,     0x1p-24f, 0x3ffp-24f, 0x1p-14f, 1,
                                 65504, INFINITY, -INFINITY,  NAN,      -0x1p-24f};
static const float one[1] = {7.5f};

static const struct {
    const char *name;
    size_t n_dims, shape[3], n_values;
    const float *values;
} good_npy[] = {
    {"f4-v1.npy", 2, {2, 3}, 6, six},   {"f4-v2.npy", 2, {2, 3}, 6, six},
    {"f4-v3.npy", 2, {2, 3}, 6, six},   {"f2-v1.npy", 1, {10}, 10, halves},
    {"scalar.npy", 0, {0}, 1, one},     {"empty.npy", 3, {3, 0, 5}, 0, six},
    {"python2.npy", 2, {2, 3}, 6, six}, {"spelling.npy", 2, {2, 3}, 6, six},
};

static const struct {
    const char *name;
    tq_format format;
    uint32_t head_dim;
    tq_norm_rule rule;
    float scale;
    size_t heads, capacity, positions, ring_start, n_centres, stretch, first;
} good_encoded[] = {
    {"tq4.safetensors", TQ_TQ4, 32, TQ_NORM_PLAIN, 1, 2, 3, 2, 0, 0, 0, 0},
    {"tq3-centre.safetensors", TQ_TQ3, 48, TQ_NORM_MATCHED, 1, 3, 1, 1, 0, 1, 0, 0},
    {"tq2-ring.safetensors", TQ_TQ2, 64, TQ_NORM_UNBIASED, 1, 1, 5, 5, 4, 0, 0, 0},
    {"tq6-stretches.safetensors", TQ_TQ6, 32, TQ_NORM_PLAIN, 1, 2, 5, 3, 0, 2, 2, 0},
    {"tq6-stretch-ring.safetensors", TQ_TQ6, 32, TQ_NORM_PLAIN, 1, 2, 5, 5, 3, 3, 2, 13},
    {"tq4-v1.safetensors", TQ_TQ4_V1, 256, TQ_NORM_PLAIN, 1, 1, 2, 2, 0, 0, 0, 0},
    {"tq8-v1-512.safetensors", TQ_TQ8_V1, 512, TQ_NORM_PLAIN, 1.25f, 1, 2, 2, 1, 0, 0, 0},
    {"tq4-empty.safetensors", TQ_TQ4, 32, TQ_NORM_PLAIN, 1, 2, 0, 0, 0, 0, 0, 0},
    {"tq4-foreign.safetensors", TQ_TQ4, 32, TQ_NORM_PLAIN, 1, 2, 3, 2, 0, 0, 0, 0},
};

#define VERSION_2                                                                                        \
    "tqkv.version is \"2\", whose norms are float32; \"3\" is expected: encode the tensor again"

static const struct {
    const char *name;
    tq_status status;
    const char *piece;
} bad[] = {
    {"big-endian.npy", TQ_E_FILE_TYPE, "type '>f4' is not supported"},
    {"f8.npy", TQ_E_FILE_TYPE, "type '<f8' is not supported"},
    {"fortran.npy", TQ_E_FILE_TYPE, "Fortran order is not supported"},
    {"structured.npy", TQ_E_FILE_TYPE, "structured values are not supported"},
    {"short.npy", TQ_E_FILE_TRUNCATED, "asks for 24 bytes of values, the file has 23"},
    {"long.npy", TQ_E_FILE_TRUNCATED, "asks for 24 bytes of values, the file has 25"},
    {"overflow.npy", TQ_E_FILE_SHAPE, "multiplies to more"},
    {"version.npy", TQ_E_FILE_HEADER, "version 4.0"},
    {"not-encoded.safetensors", TQ_E_FILE_FIELD, "no __metadata__"},
    {"gap.safetensors", TQ_E_FILE_SHAPE, "overlap or leave a gap"},
    {"newer.safetensors", TQ_E_FILE_FIELD, "tqkv.version is \"4\"; \"3\" is expected"},
    {"version-2-tq4.safetensors", TQ_E_FILE_FIELD, VERSION_2},
    {"version-2-tq3-centre.safetensors", TQ_E_FILE_FIELD, VERSION_2},
    {"version-2-tq2-ring.safetensors", TQ_E_FILE_FIELD, VERSION_2},
    {"version-2-tq4-empty.safetensors", TQ_E_FILE_FIELD, VERSION_2},
    {"version-2-tq4-foreign.safetensors", TQ_E_FILE_FIELD, VERSION_2},
    {"stretch-zero.safetensors", TQ_E_FILE_FIELD, "tqkv.centre_stretch is \"0\"; a number of 1"},
    {"stretch-no-centre.safetensors", TQ_E_FILE_FIELD, "tqkv.n_centres: stretches have a centre each"},
    {"stretch-too-few.safetensors", TQ_E_FILE_FIELD, "tqkv.n_centres: fewer than the stretches"},
    {"stretch-too-many.safetensors", TQ_E_FILE_FIELD, "tqkv.n_centres: more than the capacity needs"},
    {"stretch-shape.safetensors", TQ_E_FILE_SHAPE,
     "tensor centre: dimension 0 is 3; the metadata make it 2"},
    {"stretch-beyond.safetensors", TQ_E_FILE_FIELD, "tqkv.first_position: positions would be numbered"},
    {"first-without-stretch.safetensors", TQ_E_FILE_FIELD, "unknown field tqkv.first_position"},
    {"two-centres-for-all.safetensors", TQ_E_FILE_SHAPE,
     "tensor centre: dimension 0 is 2; the metadata make it 1"},
    {"v1-stretch.safetensors", TQ_E_FILE_FIELD, "unknown field tqkv.centre_stretch"},
    {"unknown-field.safetensors", TQ_E_FILE_FIELD, "unknown field tqkv.future"},
    {"scale-in-v2.safetensors", TQ_E_FILE_FIELD, "unknown field tqkv.scale_factor_d512"},
    {"leading-zero.safetensors", TQ_E_FILE_FIELD, "tqkv.n_positions is \"02\""},
    {"too-many.safetensors", TQ_E_FILE_FIELD, "more positions than the capacity"},
    {"ring-not-full.safetensors", TQ_E_FILE_FIELD, "0 until the ring is full"},
    {"ring-outside.safetensors", TQ_E_FILE_FIELD, "outside the ring"},
    {"v1-rule.safetensors", TQ_E_FILE_FIELD, "plain alone"},
    {"v1-scale-spelling.safetensors", TQ_E_FILE_FIELD,
     "tqkv.scale_factor_d512 is \"1.0\"; \"1\" is expected"},
    {"v1-scale-zero.safetensors", TQ_E_FILE_FIELD, "a positive number"},
    {"v1-scale-inf.safetensors", TQ_E_FILE_FIELD, "a positive number"},
    {"v1-head-dim.safetensors", TQ_E_FILE_FIELD, "tqkv.head_dim is \"128\""},
    {"v1-centre.safetensors", TQ_E_FILE_FIELD, "tensor centre: v1 formats have no centre"},
    {"norm-nan.safetensors", TQ_E_FILE_FIELD, "norms: value 1 (byte 498) is"},
    {"norm-negative.safetensors", TQ_E_FILE_FIELD, "norms: value 0 (byte 496) is -1"},
    {"centre-inf.safetensors", TQ_E_FILE_FIELD, "centre: value 1 (byte 602) is -inf"},
    {"fields-checksum.safetensors", TQ_E_FILE_CHECKSUM, "fields have checksum"},
};

enum {
    N_GOOD_NPY = sizeof good_npy / sizeof good_npy[0],
    N_GOOD_ENCODED = sizeof good_encoded / sizeof good_encoded[0],
    N_BAD = sizeof bad / sizeof bad[0]
};

static void good_npy_is_read(void **state) {
    (void)state;
    for (size_t i = 0; i < N_GOOD_NPY; i++) {
        tq_tensor t;
        if (tq_npy_read(in("good", good_npy[i].name), &t) != TQ_OK)
            fail_msg("%s", tq_last_error()->message);
        assert_int_equal(t.n_dims, good_npy[i].n_dims);
        assert_int_equal(t.n_values, good_npy[i].n_values);
        assert_memory_equal(t.shape, good_npy[i].shape, t.n_dims * sizeof t.shape[0]);
        for (size_t v = 0; v < t.n_values; v++)
            if (!isnan(good_npy[i].values[v]))
                assert_memory_equal(&t.data[v], &good_npy[i].values[v], sizeof t.data[v]);
            else
                assert_true(isnan(t.data[v]));
        tq_tensor_free(&t);
    }
}

/* The generator's filler: a linear congruential generator's top byte. */
static void check_codes(const tq_encoded *e) {
    uint32_t seed = e->codec.head_dim + tq_format_bits(e->codec.format);
    for (size_t i = 0; i < e->n_codes; i++) {
        seed = seed * 1664525u + 1013904223u;
        assert_int_equal(e->codes[i], seed >> 24);
    }
}

/* (i - 3) / 8 in float16 */
static const uint16_t centre_values[7] = {0xb600, 0xb400, 0xb000, 0, 0x3000, 0x3400, 0x3600};

/* Number i is i / 4. */
static void check_norms(const tq_encoded *e) {
    static const uint16_t quarters[] = {0,      0x3400, 0x3800, 0x3a00, 0x3c00,
                                        0x3d00, 0x3e00, 0x3f00, 0x4000, 0x4080};
    const float *floats = e->norms;
    const uint16_t *small = e->norms;
    if (TQ_IS_V1(e->codec.format))
        for (size_t v = 0; v < e->n_norms / sizeof *floats; v++)
            assert_true(floats[v] == (float)v / 4);
    else
        for (size_t v = 0; v < e->n_norms / sizeof *small; v++)
            assert_int_equal(small[v], quarters[v]);
}

static void good_encoded_is_read(void **state) {
    (void)state;
    for (size_t i = 0; i < N_GOOD_ENCODED; i++) {
        tq_encoded e;
        const char *name = good_encoded[i].name;
        if (tq_encoded_read(in("good", name), &e) != TQ_OK) fail_msg("%s", tq_last_error()->message);
        assert_int_equal(e.codec.format, good_encoded[i].format);
        assert_int_equal(e.codec.head_dim, good_encoded[i].head_dim);
        assert_int_equal(e.codec.norm_rule, good_encoded[i].rule);
        assert_true(e.codec.scale_factor_d512 == good_encoded[i].scale);
        assert_int_equal(e.n_kv_heads, good_encoded[i].heads);
        assert_int_equal(e.capacity, good_encoded[i].capacity);
        assert_int_equal(e.n_positions, good_encoded[i].positions);
        assert_int_equal(e.ring_start, good_encoded[i].ring_start);
        check_codes(&e);
        check_norms(&e);
        assert_int_equal(e.n_centres, good_encoded[i].n_centres);
        assert_int_equal(e.centre_stretch, good_encoded[i].stretch);
        assert_int_equal(e.first_position, good_encoded[i].first);
        assert_int_equal(e.centre != NULL, e.n_centres != 0);
        for (size_t v = 0; v < e.n_centres * e.n_kv_heads * e.codec.head_dim; v++)
            assert_int_equal(e.centre[v], centre_values[v % 7]);
        tq_encoded_free(&e);
    }
}

/* The writer makes the same bytes as the generator, which shares no line with it. */
static void good_encoded_is_written(void **state) {
    (void)state;
    for (size_t i = 0; i < N_GOOD_ENCODED; i++) {
        tq_encoded e;
        size_t size = 0;
        size_t golden_size = 0;
        const char *name = good_encoded[i].name;
        if (strstr(name, "foreign") != NULL) continue; /* spelt differently on purpose */
        assert_int_equal(tq_encoded_read(in("good", name), &e), TQ_OK);
        assert_int_equal(tq_encoded_write("again", &e), TQ_OK);
        uint8_t *bytes = get_file("again", &size);
        uint8_t *wanted = get_file(in("good", name), &golden_size);
        assert_int_equal(size, golden_size);
        assert_memory_equal(bytes, wanted, size);
        free(bytes);
        free(wanted);
        tq_encoded_free(&e);
    }
}

static void bad_files_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < N_BAD; i++) {
        tq_tensor t;
        tq_encoded e;
        const char *path = in("bad", bad[i].name);
        tq_status status = ends_with(path, ".npy") ? tq_npy_read(path, &t) : tq_encoded_read(path, &e);
        assert_fails(status, bad[i].status, bad[i].piece);
        assert_non_null(strstr(tq_last_error()->message, bad[i].name));
    }
}

/* A file that no table names would be tested by nothing. Other tests keep theirs in the same folders. */
static size_t count_files(const char *folder) {
    size_t n = 0;
    DIR *dir = opendir(in(folder, ""));
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        n += ends_with(e->d_name, ".npy") || ends_with(e->d_name, ".safetensors");
    closedir(dir);
    return n;
}

static void every_file_is_listed(void **state) {
    (void)state;
    assert_int_equal(count_files("good"), N_GOOD_NPY + N_GOOD_ENCODED);
    assert_int_equal(count_files("bad"), N_BAD);
}

static void compare_with_generated(const char *folder, const char *name) {
    size_t size = 0;
    size_t golden_size = 0;
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "out/%s/%s", folder, name);
    uint8_t *bytes = get_file(path, &size);
    uint8_t *wanted = get_file(in(folder, name), &golden_size);
    if (size != golden_size || memcmp(bytes, wanted, size) != 0)
        fail_msg("%s/%s is not what tools/golden_io.py writes", folder, name);
    free(bytes);
    free(wanted);
    assert_int_equal(remove(path), 0);
}

static void the_generator_writes_them(void **state) {
    (void)state;
    if (system("python3 -c pass >/dev/null 2>&1") != 0) skip();
    int status = system("python3 -B '" TQKV_TEST_DIR "/../../tools/golden_io.py' --out out");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (size_t i = 0; i < N_GOOD_NPY; i++)
        compare_with_generated("good", good_npy[i].name);
    for (size_t i = 0; i < N_GOOD_ENCODED; i++)
        compare_with_generated("good", good_encoded[i].name);
    for (size_t i = 0; i < N_BAD; i++)
        compare_with_generated("bad", bad[i].name);
    /* remove() takes folders that are empty only: nothing else was written */
    assert_int_equal(remove("out/good"), 0);
    assert_int_equal(remove("out/bad"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_npy_is_read),
        cmocka_unit_test(good_encoded_is_read),
        cmocka_unit_test_setup_teardown(good_encoded_is_written, enter_folder, leave_folder),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(every_file_is_listed),
        cmocka_unit_test_setup_teardown(the_generator_writes_them, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
