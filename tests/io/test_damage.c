/* SPDX-License-Identifier: MIT
 * Encoded .safetensors that are not as they were written: every damage is told, and told rightly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "support/guard.h"

typedef struct image {
    uint8_t *bytes;
    size_t size;
    size_t data; /* where the data section starts */
} image;

static image image_of(tq_encoded e) {
    image im;
    e.ring_start = e.capacity - 1;
    assert_int_equal(tq_encoded_write("e.safetensors", &e), TQ_OK);
    im.bytes = get_file("e.safetensors", &im.size);
    im.data = 8 + im.bytes[0] + 256u * im.bytes[1];
    tq_encoded_free(&e);
    return im;
}

static image make_image(tq_format format, uint32_t head_dim, size_t heads, size_t capacity,
                        int with_centre) {
    return image_of(make_encoded(format, head_dim, heads, capacity, with_centre));
}

/* Parsed from memory of the exact size, so that a sanitizer sees a read past it. */
static tq_status parse(const void *bytes, size_t size, tq_encoded *out) {
    uint8_t *copy = test_alloc(size);
    memcpy(copy, bytes, size);
    tq_status status = tq_encoded_parse("c.safetensors", copy, size, out);
    free(copy);
    return status;
}

/* The image with `old` in its header replaced; its length follows. */
static image edited(const image *im, const char *old, const char *new) {
    char *header = test_alloc(im->data - 7);
    memcpy(header, im->bytes + 8, im->data - 8);
    header[im->data - 8] = '\0';
    const char *at = strstr(header, old);
    if (at == NULL) fail_msg("'%s' is not in the header", old);
    size_t before = (size_t)(at - header);
    size_t after = before + strlen(old);
    image out = {.size = im->size + strlen(new) - strlen(old),
                 .data = im->data + strlen(new) - strlen(old)};
    out.bytes = test_alloc(out.size);
    for (size_t i = 0; i < 8; i++)
        out.bytes[i] = (uint8_t)((uint64_t)(out.data - 8) >> 8 * i);
    memcpy(out.bytes + 8, header, before);
    memcpy(out.bytes + 8 + before, new, strlen(new));
    memcpy(out.bytes + 8 + before + strlen(new), im->bytes + 8 + after, im->size - 8 - after);
    free(header);
    return out;
}

static void every_truncation_is_told(void **state) {
    (void)state;
    tq_encoded e;
    image im = make_image(TQ_TQ3, 48, 2, 3, 1);
    for (size_t size = 0; size < im.size; size++)
        assert_fails(parse(im.bytes, size, &e), TQ_E_FILE_TRUNCATED, "c.safetensors: byte ");
    uint8_t *longer = test_alloc(im.size + 1);
    memcpy(longer, im.bytes, im.size);
    longer[im.size] = 0;
    assert_fails(parse(longer, im.size + 1, &e), TQ_E_FILE_TRUNCATED, "1 bytes after the last tensor");
    free(longer);
    free(im.bytes);
}

static void every_flipped_data_bit_is_told(void **state) {
    (void)state;
    tq_encoded e;
    image im = make_image(TQ_TQ8, 80, 1, 2, 1);
    for (size_t i = 8 * im.data; i < 8 * im.size; i++) {
        im.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_fails(parse(im.bytes, im.size, &e), TQ_E_FILE_CHECKSUM, "the file is damaged");
        im.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(parse(im.bytes, im.size, &e), TQ_OK);
    tq_encoded_free(&e);
    free(im.bytes);
}

/* A flipped header bit is told or changes nothing that is returned. Returns how many were told. */
static size_t flip_header_bits(const image *im) {
    size_t told = 0;
    tq_encoded e, whole;
    assert_int_equal(parse(im->bytes, im->size, &whole), TQ_OK);
    for (size_t i = 0; i < 8 * im->data; i++) {
        im->bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        if (parse(im->bytes, im->size, &e) == TQ_OK) {
            if (!same_encoded(&whole, &e))
                fail_msg("bit %zu of byte %zu changed the tensor", i % 8, i / 8);
            tq_encoded_free(&e);
        } else {
            told++;
        }
        im->bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    tq_encoded_free(&whole);
    return told;
}

static void no_flipped_header_bit_changes_the_meaning(void **state) {
    (void)state;
    const struct {
        tq_format format;
        uint32_t head_dim;
        size_t heads, capacity;
    } cases[] = {{TQ_TQ2, 32, 1, 13}, {TQ_TQ3, 48, 2, 3}, {TQ_TQ5_V1, 256, 1, 1}, {TQ_TQ4_V1, 512, 1, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image im =
            make_image(cases[i].format, cases[i].head_dim, cases[i].heads, cases[i].capacity, i == 1);
        assert_in_range(flip_header_bits(&im), 8 * im.data - 64, 8 * im.data);
        free(im.bytes);
    }
    for (size_t heads = 0; heads < 2; heads++) { /* without heads centres have no bytes, only a number */
        image im = image_of(make_stretched(TQ_TQ6, 32, heads, 4, 2, 3));
        assert_in_range(flip_header_bits(&im), 8 * im.data - 64, 8 * im.data);
        free(im.bytes);
    }
}

typedef struct edit {
    const char *old, *new;
    tq_status status;
    const char *piece;
} edit;

/* Made to a tq4 file of D = 32, two heads, five positions and ring start 4, without a centre. */
static const edit edits[] = {
    /* the container */
    {"{", "[", TQ_E_FILE_MAGIC, "byte 8: not a .safetensors file"},
    {"{", " {", TQ_E_FILE_MAGIC, "byte 8: not a .safetensors file"},
    {"\"dtype\":\"U8\"", "\"dtype\" \"U8\"", TQ_E_FILE_HEADER, "':' expected near '\"U8\"'"},
    {"\"dtype\":\"U8\"", "\"dtype\":\"U8\",\"dtype\":\"U8\"", TQ_E_FILE_HEADER, "duplicate object key"},
    {"\"codes\"", "\"norms\":{},\"codes\"", TQ_E_FILE_HEADER, "duplicate object key"},
    {"\"dtype\":\"U8\"", "\"dtype\":\"U8\",\"more\":1", TQ_E_FILE_HEADER,
     "tensor codes: an object of dtype"},
    {"\"dtype\":\"U8\"", "\"more\":\"U8\"", TQ_E_FILE_HEADER, "tensor codes: no dtype"},
    {"\"dtype\":\"U8\"", "\"dtype\":8", TQ_E_FILE_HEADER, "tensor codes: no dtype that is a string"},
    {"\"dtype\":\"U8\"", "\"dtype\":\"I8\"", TQ_E_FILE_TYPE,
     "tensor codes: the dtype is none of U8, F16 and F32"},
    {"\"dtype\":\"F16\"", "\"dtype\":\"F64\"", TQ_E_FILE_TYPE, "tensor norms: the dtype is none of"},
    {"\"dtype\":\"F16\"", "\"dtype\":\"F32\"", TQ_E_FILE_SHAPE,
     "tensor norms: the shape asks for 40 bytes"},
    {"[2,5,16]", "{}", TQ_E_FILE_HEADER, "tensor codes: no shape"},
    {"[2,5,16]", "[2,5,\"16\"]", TQ_E_FILE_SHAPE, "tensor codes: a dimension is not a whole number"},
    {"[2,5,16]", "[2,5,16.0]", TQ_E_FILE_SHAPE, "tensor codes: a dimension is not a whole number"},
    {"[2,5,16]", "[-2,-5,16]", TQ_E_FILE_SHAPE, "tensor codes: a dimension is not a whole number"},
    {"[2,5,16]", "[2,5,16,1,1,1,1,1,1]", TQ_E_FILE_SHAPE, "too many dimensions"},
    {"[2,5,16]", "[2,5,16,1]", TQ_E_FILE_SHAPE, "tensor codes has 4 dimensions; 3 are expected"},
    {"[2,5,16]", "[2,80]", TQ_E_FILE_SHAPE, "tensor codes has 2 dimensions; 3 are expected"},
    {"[2,5,16]", "[5,2,16]", TQ_E_FILE_SHAPE, "tensor codes: dimension 0 is 5; the metadata make it 2"},
    {"[2,5,16]", "[2,5,15]", TQ_E_FILE_SHAPE,
     "tensor codes: the shape asks for 150 bytes, data_offsets give 160"},
    {"[2,5,16]", "[4294967296,4294967296,16]", TQ_E_FILE_SHAPE, "multiplies to more than an address"},
    {"[2,5,16]", "[0,4294967296,4294967296]", TQ_E_FILE_SHAPE, "multiplies to more than an address"},
    {"[2,5,16]", "[2,5,99999999999999999999]", TQ_E_FILE_HEADER, "too big integer"},
    {"[20,180]", "[20]", TQ_E_FILE_HEADER, "data_offsets are not two whole numbers"},
    {"[20,180]", "[20,180,180]", TQ_E_FILE_HEADER, "data_offsets are not two whole numbers"},
    {"[20,180]", "[-20,180]", TQ_E_FILE_HEADER, "data_offsets are not two whole numbers"},
    {"[20,180]", "[180,20]", TQ_E_FILE_HEADER, "it ends before it begins"},
    {"[20,180]", "[21,181]", TQ_E_FILE_TRUNCATED,
     "tensor codes: it ends at byte 181 of the data, the file has 180"},
    {"[20,180]", "[9223372036854775647,9223372036854775807]", TQ_E_FILE_TRUNCATED,
     "tensor codes: it ends at byte"},
    {"[20,180]", "[19,179]", TQ_E_FILE_SHAPE, "overlap or leave a gap"},
    {"[0,20]", "[160,180]", TQ_E_FILE_SHAPE, "overlap or leave a gap"},
    {"\"codes\"", "\"cods\"", TQ_E_FILE_FIELD, "unknown tensor 'cods'"},
    {"\"codes\"", "\"extra\":{\"data_offsets\":[0,0],\"dtype\":\"U8\",\"shape\":[0]},\"codes\"",
     TQ_E_FILE_FIELD, "unknown tensor 'extra'"},
    {"\"codes\"", "\"centre\":{\"data_offsets\":[0,0],\"dtype\":\"U8\",\"shape\":[0]},\"codes\"",
     TQ_E_FILE_TYPE, "tensor centre is U8; F16 is expected"},
    {"\"codes\"", "\"centre\":{\"data_offsets\":[0,0],\"dtype\":\"F16\",\"shape\":[1,0,32]},\"codes\"",
     TQ_E_FILE_SHAPE, "tensor centre: dimension 1 is 0; the metadata make it 2"},
    {"[20,180],\"dtype\":\"U8\",\"shape\":[2,5,16]},\"norms\":{\"data_offsets\":[0,20],\"dtype\":\"F16\","
     "\"shape\":[2,5]",
     "[0,180],\"dtype\":\"U8\",\"shape\":[180]", TQ_E_FILE_FIELD, "no tensor norms"},
    /* the metadata */
    {"\"__metadata__\":{", "\"__metadata__\":[],\"x\":{", TQ_E_FILE_HEADER,
     "__metadata__ is not an object"},
    {"\"__metadata__\"", "\"metadata\"", TQ_E_FILE_FIELD, "were not encoded by tqkv"},
    {"\"tqkv.format\":\"tq4\"", "\"format\":\"tq4\"", TQ_E_FILE_FIELD, "no field tqkv.format"},
    {"\"tqkv.format\":\"tq4\"", "\"tqkv.format\":\"tq9\"", TQ_E_FILE_FIELD,
     "tqkv.format is \"tq9\"; the name of"},
    {"\"tqkv.format\":\"tq4\"", "\"tqkv.format\":\"tq3\"", TQ_E_FILE_SHAPE,
     "dimension 2 is 16; the metadata make it 12"},
    {"\"tqkv.format\":\"tq4\"", "\"tqkv.format\":\"tq4-v1\"", TQ_E_FILE_FIELD,
     "tqkv.version is \"3\"; \"1\" is expected"},
    {"head_dim\":\"32\"", "head_dim\":\"33\"", TQ_E_FILE_FIELD, "tqkv.head_dim is \"33\""},
    {"head_dim\":\"32\"", "head_dim\":\"4294967328\"", TQ_E_FILE_FIELD,
     "tqkv.head_dim is \"4294967328\""},
    {"head_dim\":\"32\"", "head_dim\":\"48\"", TQ_E_FILE_SHAPE,
     "dimension 2 is 16; the metadata make it 24"},
    {"head_dim\":\"32\"", "head_dim\":32", TQ_E_FILE_HEADER, "tqkv.head_dim is not a string"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"3\"", TQ_E_FILE_SHAPE,
     "dimension 0 is 2; the metadata make it 3"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"\"", TQ_E_FILE_FIELD,
     "tqkv.n_kv_heads is \"\"; a whole number"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"+2\"", TQ_E_FILE_FIELD,
     "tqkv.n_kv_heads is \"+2\"; a whole number"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\" 2\"", TQ_E_FILE_FIELD,
     "tqkv.n_kv_heads is \" 2\"; a whole number"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"0x2\"", TQ_E_FILE_FIELD,
     "tqkv.n_kv_heads is \"0x2\"; a whole number"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"18446744073709551618\"", TQ_E_FILE_FIELD, "a whole number"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"9223372036854775807\"", TQ_E_FILE_SHAPE,
     "more than an address can hold"},
    {"n_kv_heads\":\"2\"", "n_kv_heads\":\"02\"", TQ_E_FILE_FIELD,
     "tqkv.n_kv_heads is \"02\"; \"2\" is expected"},
    {"capacity\":\"5\"", "capacity\":\"6\"", TQ_E_FILE_FIELD,
     "tqkv.ring_start: must be 0 until the ring is full"},
    {"capacity\":\"5\"", "capacity\":\"4\"", TQ_E_FILE_FIELD,
     "tqkv.n_positions: more positions than the capacity"},
    {"ring_start\":\"4\"", "ring_start\":\"5\"", TQ_E_FILE_FIELD,
     "tqkv.ring_start: it lies outside the ring"},
    {"ring_start\":\"4\"", "ring_start\":\"3\"", TQ_E_FILE_CHECKSUM, "fields have checksum"},
    {"norm_rule\":\"matched\"", "norm_rule\":\"mached\"", TQ_E_FILE_FIELD,
     "plain, matched or unbiased is expected"},
    {"norm_rule\":\"matched\"", "norm_rule\":\"plain\"", TQ_E_FILE_CHECKSUM, "fields have checksum"},
    {"lloyd-max-4", "lloyd-max-5", TQ_E_FILE_FIELD,
     "tqkv.codebook is \"lloyd-max-5\"; \"lloyd-max-4\" is expected"},
    {"splitmix64-1", "splitmix64-2", TQ_E_FILE_FIELD,
     "tqkv.signs is \"splitmix64-2\"; \"splitmix64-1\" is expected"},
    {"version\":\"3\"", "version\":\"1\"", TQ_E_FILE_FIELD, "tqkv.version is \"1\"; \"3\" is expected"},
    {"version\":\"3\"", "version\":\"2\"", TQ_E_FILE_FIELD,
     "tqkv.version is \"2\", whose norms are float32"},
    {"\"tqkv.version\":\"3\",", "", TQ_E_FILE_FIELD, "no field tqkv.version"},
    {"\"tqkv.signs\"", "\"tqkv.scale_factor_d512\":\"1\",\"tqkv.signs\"", TQ_E_FILE_FIELD,
     "unknown field tqkv.scale_factor_d512"},
    {"\"tqkv.signs\"", "\"tqkv.x\x7f\":\"\",\"tqkv.signs\"", TQ_E_FILE_FIELD, "unknown field tqkv.x?"},
    {"tqkv.xxh3.codes", "xxh3.codes", TQ_E_FILE_FIELD, "no field tqkv.xxh3.codes"},
    {"tqkv.xxh3.norms", "xxh3.norms", TQ_E_FILE_FIELD, "no field tqkv.xxh3.norms"},
    {"tqkv.xxh3.fields", "xxh3.fields", TQ_E_FILE_FIELD, "no field tqkv.xxh3.fields"},
    {"tqkv.xxh3.norms\":\"", "tqkv.xxh3.norms\":\"A", TQ_E_FILE_FIELD,
     "a checksum of 16 digits 0-9a-f is expected"},
    {"\"tqkv.xxh3.norms\"", "\"tqkv.xxh3.centre\":\"0123456789abcdef\",\"tqkv.xxh3.norms\"",
     TQ_E_FILE_FIELD, "unknown field tqkv.xxh3.centre"},
};

static void every_edit_is_told(void **state) {
    (void)state;
    image im = make_image(TQ_TQ4, 32, 2, 5, 0);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        tq_encoded e = {.n_codes = 99};
        image bad = edited(&im, edits[i].old, edits[i].new);
        assert_fails(parse(bad.bytes, bad.size, &e), edits[i].status, edits[i].piece);
        assert_non_null(strstr(tq_last_error()->message, "c.safetensors: byte "));
        assert_int_equal(e.n_codes, 99);
        free(bad.bytes);
    }
    free(im.bytes);
}

/* What other tools may add or change without touching the tensor. */
static void harmless_edits_are_accepted(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"\"tqkv.signs\"", "\"origin\":\"x\",\"tqkv.signs\""},
                                           {"\"codes\"", " \n\t\"codes\" "},
                                           {"tqkv.signs", "tqkv.sign\\u0073"},
                                           {"tqkv.signs", "tqkv.signs"}};
    tq_encoded whole;
    image im = make_image(TQ_TQ4, 32, 2, 5, 0);
    assert_int_equal(parse(im.bytes, im.size, &whole), TQ_OK);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        tq_encoded e;
        image other = edited(&im, pairs[i][0], pairs[i][1]);
        assert_int_equal(parse(other.bytes, other.size, &e), TQ_OK);
        assert_true(same_encoded(&whole, &e));
        tq_encoded_free(&e);
        free(other.bytes);
    }
    tq_encoded_free(&whole);
    free(im.bytes);
}

/* Reads im with `metadata`, members and their comma, put before its own. */
static tq_status parse_with(const image *im, const char *metadata, tq_encoded *e) {
    static const char begin[] = "\"__metadata__\":{";
    char *text = test_alloc(sizeof begin + strlen(metadata));
    strcat(strcpy(text, begin), metadata);
    image changed = edited(im, begin, text);
    tq_status status = parse(changed.bytes, changed.size, e);
    free(changed.bytes);
    free(text);
    return status;
}

static void keys_outside_tqkv_are_free(void **state) {
    (void)state;
    enum { MUCH = 3 << 20 };
    tq_encoded e;
    image im = make_image(TQ_TQ4, 32, 1, 2, 0);
    char *large = test_alloc(MUCH + 16);
    strcpy(large, "\"large\":\"");
    memset(large + strlen(large), 'x', MUCH);
    strcpy(large + strlen("\"large\":\"") + MUCH, "\",");
    const char *const members[] = {"\"free\":\"a\\u0000b\",", "\"\":\"\\u0000\",",
                                   "\"\xc3\xa9\":\"\x7f\",", large};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        assert_int_equal(parse_with(&im, members[i], &e), TQ_OK);
        tq_encoded_free(&e);
    }
    /* The one limit that format.md tells: the JSON parser has no such keys. */
    assert_fails(parse_with(&im, "\"a\\u0000b\":\"\",", &e), TQ_E_FILE_HEADER, "NUL byte in object key");
    free(large);
    free(im.bytes);
}

static void our_values_hold_no_nul(void **state) {
    (void)state;
    static const char *const values[][2] = {
        {"\"tqkv.format\":\"tq4\"", "\"tqkv.format\":\"tq4\\u0000\""},
        {"\"tqkv.capacity\":\"2\"", "\"tqkv.capacity\":\"2\\u00003\""},
        {"\"tqkv.version\":\"3\"", "\"tqkv.version\":\"2\\u0000\""}};
    tq_encoded e;
    image im = make_image(TQ_TQ4, 32, 1, 2, 0);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        image changed = edited(&im, values[i][0], values[i][1]);
        assert_fails(parse(changed.bytes, changed.size, &e), TQ_E_FILE_FIELD,
                     "a value without U+0000 is expected");
        free(changed.bytes);
    }
    free(im.bytes);
}

static void a_header_is_not_endless(void **state) {
    (void)state;
    tq_encoded e;
    size_t size = 8 + 100000000 + 1;
    uint8_t *bytes = test_alloc(size);
    memset(bytes, ' ', size);
    memcpy(bytes, "\x01\xe1\xf5\x05\x00\x00\x00\x00{", 9);
    assert_fails(parse(bytes, size, &e), TQ_E_FILE_HEADER,
                 "a header of 100000001 bytes; at most 100000000");
    bytes[0] = 0;
    assert_fails(parse(bytes, size - 1, &e), TQ_E_FILE_HEADER, "near end of file");
    bytes[7] = 0x80;
    assert_fails(parse(bytes, size, &e), TQ_E_FILE_TRUNCATED, "header says 9223372036954775808 bytes");
    free(bytes);
}

static void other_files_are_told(void **state) {
    (void)state;
    tq_encoded e;
    const float one = 1;
    assert_int_equal(tq_npy_write("k.npy", &one, 0, NULL), TQ_OK);
    assert_fails(tq_encoded_read("k.npy", &e), TQ_E_FILE_MAGIC, "k.npy: byte 0: a .npy file");
    assert_fails(tq_encoded_parse(NULL, "", 0, &e), TQ_E_NULL, "name");
    assert_fails(tq_encoded_parse("c", NULL, 1, &e), TQ_E_NULL, "NULL");
    assert_fails(tq_encoded_parse("c", "", 0, NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_encoded_parse("c", NULL, 0, &e), TQ_E_FILE_TRUNCATED, "ends before its header");
    assert_fails(tq_encoded_read(NULL, &e), TQ_E_NULL, "NULL");
    assert_fails(tq_encoded_read("k.npy", NULL), TQ_E_NULL, "NULL");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_truncation_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(every_flipped_data_bit_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(no_flipped_header_bit_changes_the_meaning, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(every_edit_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(harmless_edits_are_accepted, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(keys_outside_tqkv_are_free, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(our_values_hold_no_nul, enter_folder, leave_folder),
        cmocka_unit_test(a_header_is_not_endless),
        cmocka_unit_test_setup_teardown(other_files_are_told, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
