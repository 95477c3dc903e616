/* SPDX-License-Identifier: MIT
 * .npy: what is read, what is refused and how it is said. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "support/guard.h"

static const float six[6] = {0.0f, -1.5f, 2.0f, 3.25f, -0.0f, 1e30f};

typedef struct image {
    uint8_t bytes[1024];
    size_t size;
} image;

/* A file of the given version whose header is just `header`. */
static image make_image(unsigned version, const char *header, const void *data, size_t data_size) {
    image im = {.bytes = "\x93NUMPY"};
    size_t length = strlen(header);
    size_t at = version == 1 ? 10 : 12;
    im.bytes[6] = (uint8_t)version;
    im.bytes[8] = (uint8_t)length;
    im.bytes[9] = (uint8_t)(length >> 8);
    memcpy(im.bytes + at, header, length);
    memcpy(im.bytes + at + length, data, data_size);
    im.size = at + length + data_size;
    return im;
}

/* Parsed from memory of the exact size, so that a sanitizer sees a read past it. */
static tq_status parse(const void *bytes, size_t size, tq_tensor *out) {
    uint8_t *copy = test_alloc(size);
    memcpy(copy, bytes, size);
    tq_status status = tq_npy_parse("k.npy", copy, size, out);
    free(copy);
    return status;
}

static void reads_every_spelling(void **state) {
    (void)state;
    static const char *const headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{\"shape\":(2,3,),\"fortran_order\":False,\"descr\":\"<f4\"}",
        "  { 'fortran_order' :\tFalse , 'shape' : ( 2 , 3 ) , 'descr' : '<f4' , } \r\n ",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        for (unsigned version = 1; version <= 3; version++) {
            image im = make_image(version, headers[i], six, sizeof six);
            tq_tensor t;
            assert_int_equal(parse(im.bytes, im.size, &t), TQ_OK);
            assert_int_equal(t.n_dims, 2);
            assert_int_equal(t.shape[0], 2);
            assert_int_equal(t.shape[1], 3);
            assert_int_equal(t.n_values, 6);
            assert_memory_equal(t.data, six, sizeof six);
            tq_tensor_free(&t);
            assert_null(t.data);
        }
}

/* Against ldexp(): all 65536 halves. */
static void widens_every_half(void **state) {
    (void)state;
    char header[100];
    snprintf(header, sizeof header, "{'descr': '<f2', 'fortran_order': False, 'shape': (%d,), }", 65536);
    size_t start = 10 + strlen(header);
    size_t size = start + (size_t)2 * 65536;
    uint8_t *bytes = test_alloc(size);
    image im = make_image(1, header, "", 0);
    memcpy(bytes, im.bytes, start);
    for (size_t h = 0; h < 65536; h++) {
        bytes[start + 2 * h] = (uint8_t)h;
        bytes[start + 2 * h + 1] = (uint8_t)(h >> 8);
    }
    tq_tensor t;
    assert_int_equal(parse(bytes, size, &t), TQ_OK);
    for (unsigned h = 0; h < 65536; h++) {
        int exponent = (int)(h >> 10 & 31);
        double fraction = h & 1023;
        double want = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31) want = fraction == 0 ? INFINITY : NAN;
        float got = t.data[h];
        assert_int_equal(signbit(got) != 0, h >> 15);
        assert_true(isnan(want) ? isnan(got) : fabs((double)got) == want);
    }
    tq_tensor_free(&t);
    free(bytes);
}

typedef struct refusal {
    const char *header;
    tq_status status;
    const char *piece;
} refusal;

#define D "'descr': '<f4', "
#define F "'fortran_order': False, "
#define S "'shape': (6,), "

static const refusal refusals[] = {
    {"{'descr': '>f4', " F S "}", TQ_E_FILE_TYPE, "'>f4' is not supported, '<f4' and '<f2'"},
    {"{'descr': '<f8', " F S "}", TQ_E_FILE_TYPE, "np.ascontiguousarray(a, dtype='<f4')"},
    {"{'descr': '<i4', " F S "}", TQ_E_FILE_TYPE, "'<i4'"},
    {"{'descr': '|u1', " F S "}", TQ_E_FILE_TYPE, "'|u1'"},
    {"{'descr': 'f4', " F S "}", TQ_E_FILE_TYPE, "'f4'"},
    {"{'descr': '<f4 ', " F S "}", TQ_E_FILE_TYPE, "'<f4 '"},
    {"{'descr': [('a', '<f4')], " F S "}", TQ_E_FILE_TYPE, "structured"},
    {"{'descr': '\x1b[31m', " F S "}", TQ_E_FILE_TYPE, "'?[31m'"},
    {"{'descr': 4, " F S "}", TQ_E_FILE_HEADER, "a quoted string is expected"},
    {"{'descr': '<f4, ", TQ_E_FILE_HEADER, "closing quote"},
    {"{" D "'fortran_order': True, " S "}", TQ_E_FILE_TYPE, "Fortran order"},
    {"{" D "'fortran_order': 0, " S "}", TQ_E_FILE_HEADER, "True or False is expected"},
    {"{" D "'fortran_order': false, " S "}", TQ_E_FILE_HEADER, "True or False is expected"},
    {"{" F S "}", TQ_E_FILE_HEADER, "no 'descr'"},
    {"{" D S "}", TQ_E_FILE_HEADER, "no 'fortran_order'"},
    {"{" D F "}", TQ_E_FILE_HEADER, "no 'shape'"},
    {"{}", TQ_E_FILE_HEADER, "no 'descr'"},
    {"{" D D F S "}", TQ_E_FILE_HEADER, "'descr' is there twice"},
    {"{" D F S S "}", TQ_E_FILE_HEADER, "'shape' is there twice"},
    {"{" D F S "'more': 1}", TQ_E_FILE_HEADER, "unknown key 'more'"},
    {"{" D F S "}}", TQ_E_FILE_HEADER, "nothing more is expected"},
    {"{" D F "'shape' (6,)}", TQ_E_FILE_HEADER, "':' is expected"},
    {"{" D F "'shape': (6,) 'descr'", TQ_E_FILE_HEADER, "',' or '}' is expected"},
    {"{" D F "'shape': (6,),, }", TQ_E_FILE_HEADER, "a quoted string is expected"},
    {"{" D F "'shape': (6)}", TQ_E_FILE_HEADER, "comma that makes a tuple of one"},
    {"{" D F "'shape': [6]}", TQ_E_FILE_HEADER, "a tuple such as"},
    {"{" D F "'shape': 6}", TQ_E_FILE_HEADER, "a tuple such as"},
    {"{" D F "'shape': (,)}", TQ_E_FILE_HEADER, "a whole number is expected"},
    {"{" D F "'shape': (2 3)}", TQ_E_FILE_HEADER, "',' or ')' is expected"},
    {"{" D F "'shape': (06,)}", TQ_E_FILE_HEADER, "without leading zeros"},
    {"{" D F "'shape': (6.0,)}", TQ_E_FILE_HEADER, "',' or ')' is expected"},
    {"{" D F "'shape': (-6,)}", TQ_E_FILE_SHAPE, "negative"},
    {"{" D F "'shape': (18446744073709551616,)}", TQ_E_FILE_SHAPE, "larger than an address"},
    {"{" D F "'shape': (4294967296, 4294967296)}", TQ_E_FILE_SHAPE, "multiplies to more"},
    {"{" D F "'shape': (0, 4294967296, 4294967296)}", TQ_E_FILE_SHAPE, "multiplies to more"},
    {"{" D F "'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6)}",
     TQ_E_FILE_SHAPE, "more than 32 dimensions"},
    {"{" D F "'shape': (7,)}", TQ_E_FILE_TRUNCATED, "asks for 28 bytes of values, the file has 24"},
    {"{" D F "'shape': (5,)}", TQ_E_FILE_TRUNCATED, "asks for 20 bytes of values, the file has 24"},
    {"{" D F "'shape': (2305843009213693951,)}", TQ_E_FILE_TRUNCATED,
     "asks for 9223372036854775804 bytes"},
    {"{" D F "'shape': (", TQ_E_FILE_HEADER, "the header ends"},
    {"", TQ_E_FILE_HEADER, "the header ends; '{' is expected"},
    {"[]", TQ_E_FILE_HEADER, "'[' in the header; '{' is expected"},
};

static void refuses_bad_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        tq_tensor t = {.n_dims = 99};
        image im = make_image(1 + (unsigned)(i % 3), refusals[i].header, six, sizeof six);
        assert_fails(parse(im.bytes, im.size, &t), refusals[i].status, refusals[i].piece);
        assert_non_null(strstr(tq_last_error()->message, "k.npy: byte "));
        assert_int_equal(t.n_dims, 99);
    }
}

static void refuses_bad_prefixes(void **state) {
    (void)state;
    tq_tensor t;
    image good = make_image(1, "{" D F S "}", six, sizeof six);
    image im = good;
    im.bytes[0] = 'x';
    assert_fails(parse(im.bytes, im.size, &t), TQ_E_FILE_MAGIC, "byte 0: not a .npy file");
    assert_fails(parse("PK\3\4", 4, &t), TQ_E_FILE_MAGIC, "not a .npy file");
    assert_fails(parse("", 0, &t), TQ_E_FILE_TRUNCATED, "byte 0: the file ends");
    for (int major = 0; major < 6; major += 4) {
        im = good;
        im.bytes[6] = (uint8_t)major;
        assert_fails(parse(im.bytes, im.size, &t), TQ_E_FILE_HEADER,
                     ".0; 1.0, 2.0 and 3.0 are supported");
    }
    im = good;
    im.bytes[7] = 1;
    assert_fails(parse(im.bytes, im.size, &t), TQ_E_FILE_HEADER, "byte 6: version 1.1");
    im = good;
    im.bytes[8] = 0xf4;
    im.bytes[9] = 1;
    assert_fails(parse(im.bytes, 128, &t), TQ_E_FILE_TRUNCATED,
                 "k.npy: byte 10: header says 500 bytes, file has 118");
    im = make_image(2, "{" D F S "}", six, sizeof six);
    im.bytes[10] = 0x11;
    assert_fails(parse(im.bytes, im.size, &t), TQ_E_FILE_HEADER, "at most 1048576 are read");
    assert_int_equal(tq_last_error()->index, 8);
}

static void refuses_every_truncation(void **state) {
    (void)state;
    for (unsigned version = 1; version <= 3; version++) {
        image im = make_image(version, "{" D F S "}\n", six, sizeof six);
        tq_tensor t;
        for (size_t size = 0; size < im.size; size++)
            assert_fails(parse(im.bytes, size, &t), TQ_E_FILE_TRUNCATED, "k.npy: byte ");
        im.bytes[im.size] = 0;
        assert_fails(parse(im.bytes, im.size + 1, &t), TQ_E_FILE_TRUNCATED, "the file has 25");
    }
}

static void null_arguments(void **state) {
    (void)state;
    tq_tensor t;
    size_t shape[1] = {6};
    assert_fails(tq_npy_parse(NULL, "", 0, &t), TQ_E_NULL, "name");
    assert_fails(tq_npy_parse("k.npy", NULL, 1, &t), TQ_E_NULL, "NULL");
    assert_fails(tq_npy_parse("k.npy", "", 0, NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_npy_parse("k.npy", NULL, 0, &t), TQ_E_FILE_TRUNCATED, "byte 0");
    assert_fails(tq_npy_read(NULL, &t), TQ_E_NULL, "NULL");
    assert_fails(tq_npy_read("k.npy", NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_npy_write(NULL, six, 1, shape), TQ_E_NULL, "NULL");
    assert_fails(tq_npy_write("k.npy", NULL, 1, shape), TQ_E_NULL, "data is NULL");
    assert_fails(tq_npy_write("k.npy", six, 1, NULL), TQ_E_NULL, "NULL");
    assert_int_equal(count_entries("."), 0);
    tq_tensor_free(NULL);
}

static void write_and_read(size_t n_dims, const size_t *shape, const char *spelling) {
    size_t n_values = 1;
    size_t size = 0;
    tq_tensor t;
    for (size_t i = 0; i < n_dims; i++)
        n_values *= shape[i];
    assert_true(n_values <= 6);
    assert_int_equal(tq_npy_write("w.npy", n_values == 0 ? NULL : six, n_dims, shape), TQ_OK);
    uint8_t *bytes = get_file("w.npy", &size);
    assert_int_equal((size - 4 * n_values) % 64, 0);
    assert_memory_equal(bytes, "\x93NUMPY\1\0", 8);
    assert_memory_equal(bytes + 10, spelling, strlen(spelling));
    assert_int_equal(bytes[size - 4 * n_values - 1], '\n');
    free(bytes);
    assert_int_equal(tq_npy_read("w.npy", &t), TQ_OK);
    assert_int_equal(t.n_dims, n_dims);
    assert_int_equal(t.n_values, n_values);
    if (n_dims != 0) assert_memory_equal(t.shape, shape, n_dims * sizeof *shape);
    assert_non_null(t.data);
    if (n_values != 0) assert_memory_equal(t.data, six, n_values * sizeof *six);
    tq_tensor_free(&t);
}

static void writes_what_numpy_writes(void **state) {
    (void)state;
    write_and_read(0, NULL, "{'descr': '<f4', 'fortran_order': False, 'shape': (), } ");
    write_and_read(1, (size_t[]){6}, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), } ");
    write_and_read(3, (size_t[]){1, 3, 2},
                   "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 2), } ");
    write_and_read(2, (size_t[]){4, 0}, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 0), } ");
}

static void writes_the_longest_header(void **state) {
    (void)state;
    size_t shape[TQ_MAX_DIMS + 1] = {0};
    tq_tensor t;
    for (size_t i = 1; i < TQ_MAX_DIMS; i++)
        shape[i] = i == 1 ? 1000000000000000000 : 1;
    assert_int_equal(tq_npy_write("w.npy", NULL, TQ_MAX_DIMS, shape), TQ_OK);
    assert_int_equal(tq_npy_read("w.npy", &t), TQ_OK);
    assert_memory_equal(t.shape, shape, sizeof t.shape);
    tq_tensor_free(&t);
    assert_fails(tq_npy_write("w.npy", six, TQ_MAX_DIMS + 1, shape), TQ_E_OVERFLOW, "33 dimensions");
    shape[2] = 1000;
    assert_fails(tq_npy_write("w.npy", six, 3, shape), TQ_E_OVERFLOW, "multiply to more");
}

/* Longer than the batches in which a writer turns floats into bytes. */
static void long_tensors_survive(void **state) {
    (void)state;
    size_t n = 3 * 4096 + 7;
    tq_tensor t;
    float *values = test_alloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)i * 1.25f - 3;
    assert_int_equal(tq_npy_write("w.npy", values, 1, &n), TQ_OK);
    assert_int_equal(tq_npy_read("w.npy", &t), TQ_OK);
    assert_int_equal(t.n_values, n);
    assert_memory_equal(t.data, values, n * sizeof *values);
    tq_tensor_free(&t);
    free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_spelling),
        cmocka_unit_test(widens_every_half),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_prefixes),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test_setup_teardown(null_arguments, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(writes_what_numpy_writes, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(writes_the_longest_header, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(long_tensors_survive, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
