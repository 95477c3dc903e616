/* SPDX-License-Identifier: MIT
 * .safetensors files with any tensors. Damage to the container is tested with encoded ones, which go
 * through the same code, and with models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "support/guard.h"

/* Parsed from memory of the exact size, so that a sanitizer sees a read past it. */
static tq_status parse(const char *header, size_t n_data, tq_safetensors **out) {
    const size_t n = strlen(header);
    uint8_t *bytes = test_alloc(8 + n + n_data);
    memset(bytes, 0, 8);
    bytes[0] = (uint8_t)n;
    bytes[1] = (uint8_t)(n >> 8);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (uint8_t)i;
    tq_status status = tq_safetensors_parse("t.safetensors", bytes, 8 + n + n_data, out);
    free(bytes);
    assert_true((status == TQ_OK) == (*out != NULL));
    return status;
}

#define TENSOR(type, shape, from, to)                                                                    \
    "{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" from "," to "]}"

static void tensors_are_as_they_lie(void **state) {
    (void)state;
    tq_safetensors *f;
    tq_raw_tensor t;
    static const char header[] = "{\"b\":" TENSOR("BF16", "3,1", "8", "14") ",\"a\":" TENSOR(
        "F64", "", "0", "8") ",\"none\":" TENSOR("I8", "0,7", "14", "14") "}";
    assert_int_equal(parse(header, 14, &f), TQ_OK);
    assert_int_equal(tq_safetensors_tensor(f, "b", &t), TQ_OK);
    assert_string_equal(t.type, "BF16");
    assert_true(t.item_size == 2 && t.n_dims == 2 && t.shape[0] == 3 && t.shape[1] == 1);
    assert_true(t.n_values == 3 && t.bytes[0] == 8 && t.bytes[5] == 13);
    assert_int_equal(t.at, 8 + strlen(header) + 8);
    assert_int_equal(tq_safetensors_tensor(f, "a", &t), TQ_OK);
    assert_true(t.n_dims == 0 && t.n_values == 1 && t.item_size == 8 && t.bytes[7] == 7);
    assert_int_equal(tq_safetensors_tensor(f, "none", &t), TQ_OK);
    assert_true(t.n_dims == 2 && t.shape[1] == 7 && t.n_values == 0);
    t.n_values = 99;
    assert_string_equal(tq_safetensors_name(f, 0), "b");
    assert_string_equal(tq_safetensors_name(f, 1), "a");
    assert_string_equal(tq_safetensors_name(f, 2), "none");
    assert_null(tq_safetensors_name(f, 3));
    assert_null(tq_safetensors_name(NULL, 0));
    assert_fails(tq_safetensors_tensor(f, "c", &t), TQ_E_FILE_FIELD,
                 "t.safetensors: byte 8: no tensor c");
    assert_fails(tq_safetensors_tensor(f, "__metadata__", &t), TQ_E_FILE_FIELD, "no tensor __metadata__");
    assert_int_equal(t.n_values, 99);
    assert_null(tq_safetensors_metadata(f, "key", NULL));
    tq_safetensors_free(f);
}

static void metadata_are_strings(void **state) {
    (void)state;
    tq_safetensors *f;
    assert_int_equal(parse("{\"__metadata__\":{\"key\":\"value\",\"\":\"\"}}", 0, &f), TQ_OK);
    assert_string_equal(tq_safetensors_metadata(f, "key", NULL), "value");
    assert_string_equal(tq_safetensors_metadata(f, "", NULL), "");
    assert_null(tq_safetensors_metadata(f, "kex", NULL));
    assert_null(tq_safetensors_metadata(f, NULL, NULL));
    assert_null(tq_safetensors_metadata(NULL, "key", NULL));
    tq_safetensors_free(f);
    size_t length;
    assert_int_equal(parse("{\"__metadata__\":{\"key\":\"a\\u0000b\"}}", 0, &f), TQ_OK);
    assert_memory_equal(tq_safetensors_metadata(f, "key", &length), "a\0b", 4);
    assert_int_equal(length, 3);
    assert_null(tq_safetensors_metadata(f, "kex", &length));
    assert_int_equal(length, 0);
    tq_safetensors_free(f);
    assert_fails(parse("{\"__metadata__\":{\"key\":1}}", 0, &f), TQ_E_FILE_HEADER, "key is not a string");
    assert_fails(parse("{\"__metadata__\":[]}", 0, &f), TQ_E_FILE_HEADER,
                 "__metadata__ is not an object");
}

/* A file of one tensor [3] of that type, with that many bytes. */
static tq_status parse_typed(const char *type, size_t n_bytes, tq_safetensors **f) {
    char header[128];
    snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}",
             type, n_bytes);
    return parse(header, n_bytes, f);
}

static void every_type_has_its_size(void **state) {
    (void)state;
    static const char *const types[] = {"BOOL", "U8",  "I8",  "F8_E4M3", "F8_E5M2", "F8_E8M0",
                                        "U16",  "I16", "F16", "BF16",    "U32",     "I32",
                                        "F32",  "U64", "I64", "F64",     "C64"};
    static const size_t sizes[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        tq_safetensors *f;
        assert_int_equal(parse_typed(types[i], 3 * sizes[i], &f), TQ_OK);
        tq_safetensors_free(f);
        assert_fails(parse_typed(types[i], 3 * (3 - sizes[i] % 2), &f), TQ_E_FILE_SHAPE,
                     "the shape asks");
    }
}

/* What the types of tomorrow are called nobody knows; shape and offsets say how large they are. */
static void other_types_are_taken_as_they_lie(void **state) {
    (void)state;
    static const struct {
        const char *type;
        size_t n_bytes, item_size;
    } taken[] = {{"F8_E4M3FNUZ", 3, 1}, {"Q16", 6, 2}, {"I24", 9, 3}, {"F128", 48, 16}, {"F4", 2, 0}};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        tq_safetensors *f;
        tq_raw_tensor t;
        assert_int_equal(parse_typed(taken[i].type, taken[i].n_bytes, &f), TQ_OK);
        assert_int_equal(tq_safetensors_tensor(f, "x", &t), TQ_OK);
        assert_string_equal(t.type, taken[i].type);
        assert_true(t.n_values == 3 && t.n_bytes == taken[i].n_bytes);
        assert_int_equal(t.item_size, taken[i].item_size);
        tq_safetensors_free(f);
    }
    tq_safetensors *f;
    tq_raw_tensor t;
    assert_int_equal(parse("{\"x\":" TENSOR("NEW", "2,0,1,1,1,1,1,1", "0", "0") "}", 0, &f), TQ_OK);
    assert_int_equal(tq_safetensors_tensor(f, "x", &t), TQ_OK);
    assert_true(t.n_values == 0 && t.n_bytes == 0 && t.item_size == 0 && t.n_dims == 8);
    tq_safetensors_free(f);
}

static void damage_is_told(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        tq_status status;
        const char *piece;
    } damaged[] = {
        {"{\"x\":" TENSOR("NEW", "3", "0", "0") "}", 0, TQ_E_FILE_SHAPE, "asks for 3 values"},
        {"{\"x\":" TENSOR("NEW", "3,0", "0", "3") "}", 3, TQ_E_FILE_SHAPE, "asks for 0 values"},
        {"{\"x\":" TENSOR("U8\\u0000", "3", "0", "3") "}", 3, TQ_E_FILE_TYPE, "holds U+0000"},
        {"{\"x\":" TENSOR("U8", "3", "0", "3") "}", 4, TQ_E_FILE_TRUNCATED,
         "1 bytes after the last tensor"},
        {"{\"x\":" TENSOR("U8", "3", "0", "3") "}", 2, TQ_E_FILE_TRUNCATED, "x: it ends at byte 3"},
        {"{\"x\":" TENSOR("U8", "4", "0", "3") "}", 3, TQ_E_FILE_SHAPE, "asks for 4 bytes"},
        {"{\"x\":" TENSOR("U8", "1,1,1,1,1,1,1,1,1", "0", "1") "}", 1, TQ_E_FILE_SHAPE,
         "too many dimensions"},
        {"{\"x\":" TENSOR("U8", "2", "0", "2") ",\"y\":" TENSOR("U8", "2", "1", "3") "}", 3,
         TQ_E_FILE_SHAPE, "overlap or leave a gap"},
        {"{\"x\":" TENSOR("U8", "2", "0", "2") ",\"y\":" TENSOR("U8", "2", "0", "2") "}", 2,
         TQ_E_FILE_SHAPE, "overlap or leave a gap"},
        {"{\"x\":" TENSOR("U8", "1", "1", "2") "}", 2, TQ_E_FILE_SHAPE, "overlap or leave a gap"},
        {"{\"x\":" TENSOR("U8", "1", "2", "1") "}", 2, TQ_E_FILE_HEADER, "ends before it begins"},
        {"{\"\\u001b[2J\":1}", 0, TQ_E_FILE_HEADER, "tensor ?[2J: an object of dtype"},
        {"[]", 0, TQ_E_FILE_MAGIC, "does not start with '{'"},
        {"{", 0, TQ_E_FILE_HEADER, "t.safetensors: byte"},
    };
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        tq_safetensors *f = (tq_safetensors *)1;
        assert_fails(parse(damaged[i].header, damaged[i].n_data, &f), damaged[i].status,
                     damaged[i].piece);
    }
}

static void arguments_are_checked(void **state) {
    (void)state;
    tq_safetensors *f = NULL;
    tq_raw_tensor t;
    assert_fails(tq_safetensors_parse("t", "", 0, NULL), TQ_E_NULL, "out");
    assert_fails(tq_safetensors_parse(NULL, "", 0, &f), TQ_E_NULL, "name");
    assert_fails(tq_safetensors_parse("t", NULL, 1, &f), TQ_E_NULL, "bytes");
    assert_fails(tq_safetensors_parse("t", NULL, 0, &f), TQ_E_FILE_TRUNCATED, "ends before its header");
    assert_fails(tq_safetensors_read(NULL, &f), TQ_E_NULL, "path");
    assert_fails(tq_safetensors_read("t", NULL), TQ_E_NULL, "out");
    assert_fails(tq_safetensors_read("nothing.here", &f), TQ_E_IO, "nothing.here: cannot open");
    assert_fails(tq_safetensors_tensor(NULL, "x", &t), TQ_E_NULL, "NULL");
    tq_safetensors_free(NULL);
    assert_int_equal(parse("{}", 0, &f), TQ_OK);
    assert_fails(tq_safetensors_tensor(f, NULL, &t), TQ_E_NULL, "NULL");
    assert_fails(tq_safetensors_tensor(f, "x", NULL), TQ_E_NULL, "NULL");
    tq_safetensors_free(f);
}

static void files_are_read_as_far_as_asked(void **state) {
    (void)state;
    uint8_t *bytes = NULL;
    size_t size = 9;
    assert_fails(tq_file_read(NULL, 1, &bytes, &size), TQ_E_NULL, "NULL");
    assert_fails(tq_file_read("f", 1, NULL, &size), TQ_E_NULL, "NULL");
    assert_fails(tq_file_read("f", 1, &bytes, NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_file_read("f", 1, &bytes, &size), TQ_E_IO, "f: cannot open");
    assert_fails(tq_file_read("/dev/null", 1, &bytes, &size), TQ_E_IO, "is a device");
    assert_true(bytes == NULL && size == 9);
    put_file("f", "12345", 5);
    static const size_t most[] = {0, 1, 4, 5, 6, SIZE_MAX};
    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
        assert_int_equal(tq_file_read("f", most[i], &bytes, &size), TQ_OK);
        assert_int_equal(size, most[i] < 5 ? most[i] : 5);
        assert_memory_equal(bytes, "12345", size);
        free(bytes);
    }
}

/* What the other reader writes, this one reads. */
static void encoded_files_are_files_of_tensors(void **state) {
    (void)state;
    tq_safetensors *f;
    tq_raw_tensor t;
    tq_encoded e = make_encoded(TQ_TQ4, 32, 2, 5, 1);
    assert_int_equal(tq_encoded_write("e.safetensors", &e), TQ_OK);
    assert_int_equal(tq_safetensors_read("e.safetensors", &f), TQ_OK);
    assert_string_equal(tq_safetensors_metadata(f, "tqkv.format", NULL), "tq4");
    assert_int_equal(tq_safetensors_tensor(f, "codes", &t), TQ_OK);
    assert_int_equal(t.n_values, e.n_codes);
    assert_memory_equal(t.bytes, e.codes, e.n_codes);
    tq_safetensors_free(f);
    tq_encoded_free(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_as_they_lie),
        cmocka_unit_test(metadata_are_strings),
        cmocka_unit_test(every_type_has_its_size),
        cmocka_unit_test(other_types_are_taken_as_they_lie),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test_setup_teardown(files_are_read_as_far_as_asked, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(encoded_files_are_files_of_tensors, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
