/* SPDX-License-Identifier: MIT
 * Model files that are not as they should be: each is refused, and the message says why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/io_support.h"
#include "lm_support.h"
#include "support/guard.h"
#include "tiny.h"

static const char path[] = "model.safetensors";

static tq_status load(const image *im) {
    lm_model *m = (lm_model *)1;
    put_file(path, im->bytes, im->size);
    tq_status status = lm_model_load(path, &m);
    assert_true((status == TQ_OK) == (m != NULL));
    lm_model_free(m);
    return status;
}

static void the_whole_file_is_read(void **state) {
    (void)state;
    image im = tiny_model();
    lm_model *m;
    put_file(path, im.bytes, im.size);
    assert_ok(lm_model_load(path, &m));
    const lm_shape s = lm_model_shape(m);
    assert_true(s.qkv_bias && s.qk_norm && s.n_layers == 2 && s.width == 32);
    assert_int_equal(s.n_parameters * 2, im.size - im.data);
    assert_int_equal(lm_model_layer(m, 0).window, 8);
    /* Bias, QK-norm and a window at once, in chunks and one by one. */
    const uint32_t tokens[20] = {73,  110, 32,  116, 104, 101, 32,  98, 101,
                                 103, 105, 110, 110, 105, 110, 103, 46, 46};
    float *a = run_tokens(m, (lm_kv){.store = LM_STORE_F32}, tokens, 20, 20, NULL);
    float *b = run_tokens(m, (lm_kv){.store = LM_STORE_F32}, tokens, 20, 0, NULL);
    assert_true(largest_difference(a, b, 20 * VOCAB) < 1e-6);
    free(a);
    free(b);
    lm_model_free(m);
    free(im.bytes);
}

/* In the header at every seventh byte, in the data at every 509th; and one byte too many. */
static void every_cut_is_told(void **state) {
    (void)state;
    image im = tiny_model();
    for (size_t size = 0; size < im.size; size += size < im.data ? 7 : 509) {
        const image cut = {im.bytes, size, im.data};
        if (load(&cut) == TQ_OK) fail_msg("%zu of %zu bytes are read", size, im.size);
        assert_int_equal(tq_last_error()->status, TQ_E_FILE_TRUNCATED);
        assert_non_null(strstr(tq_last_error()->message, path));
    }
    uint8_t *more = test_alloc(im.size + 1);
    memcpy(more, im.bytes, im.size);
    more[im.size] = 0;
    const image longer = {more, im.size + 1, im.data};
    assert_fails(load(&longer), TQ_E_FILE_TRUNCATED, "1 bytes after the last tensor");
    free(more);
    free(im.bytes);
}

/* The models themselves, a few hundred KiB at a time: their tensors are told by name. */
static void cuts_of_real_models_are_told(void **state) {
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        char name[1024];
        size_t size;
        lm_model *m;
        snprintf(name, sizeof name, "%s/%s.safetensors", TQKV_MODELS, model_names[i]);
        uint8_t *bytes = get_file(name, &size);
        put_file(path, bytes, size);
        for (size_t end = size - 1; end > 0; end = end > 400 * 1024 ? end - 400 * 1024 : 0) {
            assert_int_equal(truncate(path, (off_t)end), 0);
            assert_fails(lm_model_load(path, &m), TQ_E_FILE_TRUNCATED, "it ends at byte");
        }
        free(bytes);
    }
}

typedef struct edit {
    const char *old, *new;
    tq_status status;
    const char *piece;
} edit;

#define META(key) "\"tqkv.model." key "\":"

static const edit edits[] = {
    /* metadata */
    {"\"__metadata__\"", "\"metadata\"", TQ_E_FILE_HEADER, "tensor metadata: an object of dtype"},
    {META("version"), "\"v\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.version"},
    {META("version") "\"1\"", META("version") "\"2\"", TQ_E_FILE_FIELD, "is \"2\"; only \"1\" is served"},
    {META("name") "\"tiny\"", META("name") "\"\"", TQ_E_FILE_FIELD, "no metadata field tqkv.model.name"},
    {META("name"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.name"},
    {META("vocab"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.vocab"},
    {META("d"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.d"},
    {META("d_ff"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.d_ff"},
    {META("n_layers"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.n_layers"},
    {META("n_heads"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.n_heads"},
    {META("n_kv_heads"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.n_kv_heads"},
    {META("head_dim"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.head_dim"},
    {META("window"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.window"},
    {META("rope_base"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.rope_base"},
    {META("attention_scale"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.attention_scale"},
    {META("softcap"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.softcap"},
    {META("norm_eps"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.norm_eps"},
    {META("qk_norm"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.qk_norm"},
    {META("qkv_bias"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.qkv_bias"},
    {META("activation"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.activation"},
    {META("rope_pairing"), "\"n\":", TQ_E_FILE_FIELD, "no metadata field tqkv.model.rope_pairing"},
    {"\"silu\"", "\"gelu\"", TQ_E_FILE_FIELD, "activation is \"gelu\"; silu and gelu_tanh are served"},
    {"\"halves\"", "\"neighbours\"", TQ_E_FILE_FIELD, "rope_pairing is \"neighbours\"; only \"halves\""},
    {META("softcap") "\"0\"", META("softcap") "\"50\"", TQ_E_FILE_FIELD, "softcap is \"50\"; only \"0\""},
    {META("vocab") "\"256\"", META("vocab") "\"0\"", TQ_E_FILE_FIELD, "vocab holds 0"},
    {META("vocab") "\"256\"", META("vocab") "\"257\"", TQ_E_FILE_SHAPE,
     "embedding.weight: shape [257, 32] is expected"},
    {META("d") "\"32\"", META("d") "\"0\"", TQ_E_FILE_FIELD,
     "tqkv.model.d holds 0; a whole number from 1"},
    {META("d") "\"32\"", META("d") "\"nan\"", TQ_E_FILE_FIELD, "tqkv.model.d is \"nan\"; 1 number is"},
    {META("d") "\"32\"", META("d") "\"32.5\"", TQ_E_FILE_FIELD,
     "tqkv.model.d holds 32.5; a whole number"},
    {META("d") "\"32\"", META("d") "\"1e300\"", TQ_E_FILE_FIELD, "tqkv.model.d holds 1e+300"},
    {META("d") "\"32\"", META("d") "\"32 \"", TQ_E_FILE_FIELD, "tqkv.model.d is \"32 \"; 1 number is"},
    {META("d") "\"32\"", META("d") "\"\\u001b[2J\"", TQ_E_FILE_FIELD, "tqkv.model.d is \"?[2J\""},
    {META("d") "\"32\"", META("d") "\"1048576\"", TQ_E_FILE_SHAPE,
     "tensor embedding.weight: shape [256, 1048576] is expected"},
    {META("n_layers") "\"2\"", META("n_layers") "\"0\"", TQ_E_FILE_FIELD, "n_layers holds 0"},
    {META("n_layers") "\"2\"", META("n_layers") "\"-2\"", TQ_E_FILE_FIELD, "n_layers holds -2"},
    {META("n_layers") "\"2\"", META("n_layers") "\"1e9\"", TQ_E_FILE_FIELD, "n_layers holds 1e+09"},
    {META("n_layers") "\"2\"", META("n_layers") "\"3\"", TQ_E_FILE_FIELD,
     "n_heads is \"2,4\"; 3 numbers, separated by commas, are expected"},
    {META("n_layers") "\"2\"", META("n_layers") "\"1\"", TQ_E_FILE_FIELD, "n_heads is \"2,4\"; 1 number"},
    {META("n_heads") "\"2,4\"", META("n_heads") "\"2,3\"", TQ_E_FILE_SHAPE,
     "layer 1: 3 query heads do not share out 2 KV heads"},
    {META("n_heads") "\"2,4\"", META("n_heads") "\"2,8\"", TQ_E_FILE_SHAPE,
     "tensor layers.1.attention.q.weight: shape [384, 32] is expected"},
    {META("n_heads") "\"2,4\"", META("n_heads") "\"2;4\"", TQ_E_FILE_FIELD, "n_heads is \"2;4\""},
    {META("n_kv_heads") "\"1,2\"", META("n_kv_heads") "\"0,2\"", TQ_E_FILE_FIELD, "n_kv_heads holds 0"},
    {META("n_kv_heads") "\"1,2\"", META("n_kv_heads") "\"1,1\"", TQ_E_FILE_SHAPE,
     "tensor layers.1.attention.k.weight: shape [48, 32] is expected"},
    {META("head_dim") "\"32,48\"", META("head_dim") "\"33,48\"", TQ_E_FILE_SHAPE, "layer 0: head_dim 33"},
    {META("head_dim") "\"32,48\"", META("head_dim") "\"16,48\"", TQ_E_FILE_FIELD, "head_dim holds 16"},
    {META("window") "\"8,0\"", META("window") "\"8,-1\"", TQ_E_FILE_FIELD, "window holds -1"},
    {META("window") "\"8,0\"", META("window") "\"8,1e30\"", TQ_E_FILE_FIELD, "window holds 1e+30"},
    {"\"10000,1e5\"", "\"10000,inf\"", TQ_E_FILE_FIELD, "rope_base is \"10000,inf\"; 2 numbers"},
    {"\"10000,1e5\"", "\"10000,1e999\"", TQ_E_FILE_FIELD, "rope_base holds inf"},
    {"\"10000,1e5\"", "\"0,1e5\"", TQ_E_FILE_FIELD, "rope_base holds 0; a number from 1"},
    {"0.17677669", "-0.1", TQ_E_FILE_FIELD, "attention_scale holds -0.1"},
    {"\"1e-06\"", "\"-1e-06\"", TQ_E_FILE_FIELD, "norm_eps holds -1e-06"},
    {META("qk_norm") "\"1\"", META("qk_norm") "\"2\"", TQ_E_FILE_FIELD, "qk_norm holds 2"},
    {META("qkv_bias") "\"1\"", META("qkv_bias") "\"yes\"", TQ_E_FILE_FIELD, "qkv_bias is \"yes\""},
    {META("softcap"), META("norm_offset") "\"17\"," META("softcap"), TQ_E_FILE_FIELD,
     "norm_offset holds 17"},
    {META("softcap"), META("embedding_scale") "\"0\"," META("softcap"), TQ_E_FILE_FIELD,
     "embedding_scale holds 0"},
    {META("softcap"), META("tied_output") "\"\"," META("softcap"), TQ_E_FILE_FIELD,
     "no metadata field tqkv.model.tied_output"},
    {META("softcap"), META("post_norms") "\"1\"," META("softcap"), TQ_E_FILE_FIELD,
     "no tensor layers.0.attention_post_norm.weight"},
    {META("softcap"), META("end_tokens") "\"1,256\"," META("softcap"), TQ_E_FILE_FIELD,
     "end_tokens holds 256"},
    {META("softcap"), META("end_tokens") "\"1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7\"," META("softcap"),
     TQ_E_FILE_FIELD, "16 numbers, separated by commas, are expected"},
    /* tensors */
    {"\"embedding.weight\"", "\"embedding.wait\"", TQ_E_FILE_FIELD, "no tensor embedding.weight"},
    {"\"layers.1.mlp.up.weight\"", "\"layers.1.mlp.up\"", TQ_E_FILE_FIELD,
     "no tensor layers.1.mlp.up.weight"},
    {"\"layers.0.attention.k.bias\"", "\"layers.0.k.bias\"", TQ_E_FILE_FIELD,
     "no tensor layers.0.attention.k.bias"},
    {"\"layers.1.attention.k_norm.weight\"", "\"x\\n\"", TQ_E_FILE_FIELD,
     "no tensor layers.1.attention.k_norm.weight"},
    {"\"dtype\":\"BF16\"", "\"dtype\":\"I16\"", TQ_E_FILE_TYPE,
     "embedding.weight is I16; F16, BF16 or F32 is expected"},
    {"\"dtype\":\"BF16\"", "\"dtype\":\"F12\"", TQ_E_FILE_TYPE,
     "embedding.weight is F12; F16, BF16 or F32 is expected"},
    {"\"dtype\":\"BF16\"", "\"dtype\":\"F32\"", TQ_E_FILE_SHAPE, "the shape asks for 32768 bytes"},
    {"[256,32]", "[32,256]", TQ_E_FILE_SHAPE, "embedding.weight: shape [256, 32] is expected"},
    {"[256,32]", "[8192]", TQ_E_FILE_SHAPE, "embedding.weight: shape [256, 32] is expected"},
    {"[256,32]", "[255,32]", TQ_E_FILE_SHAPE, "the shape asks for 16320 bytes"},
    {"[256,32]", "[9223372036854775807,32]", TQ_E_FILE_SHAPE, "more than an address can hold"},
    {"\"shape\":[32]", "\"shape\":[32,1]", TQ_E_FILE_SHAPE,
     "attention_norm.weight: shape [32] is expected"},
    {"\"data_offsets\":[0,16384]", "\"data_offsets\":[64,16448]", TQ_E_FILE_SHAPE,
     "overlap or leave a gap"},
};

static void every_edit_is_told(void **state) {
    (void)state;
    image im = tiny_model();
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        image bad = edited(&im, edits[i].old, edits[i].new);
        assert_fails(load(&bad), edits[i].status, edits[i].piece);
        assert_non_null(strstr(tq_last_error()->message, path));
        free(bad.bytes);
    }
    image other = edited(&im, META("activation"), "\"by\":\"me\"," META("activation"));
    assert_ok(load(&other));
    free(other.bytes);
    free(im.bytes);
}

static void weights_are_finite(void **state) {
    (void)state;
    image im = tiny_model();
    im.bytes[im.data + 6] = 0xc0; /* value 3: 0xffc0 */
    im.bytes[im.data + 7] = 0xff;
    assert_fails(load(&im), TQ_E_FILE_FIELD, "tensor embedding.weight: value 3 (byte");
    assert_non_null(strstr(tq_last_error()->message, "nan; a finite number is expected"));
    free(im.bytes);
}

static void other_files_are_told(void **state) {
    (void)state;
    lm_model *m = (lm_model *)1;
    char long_path[300];
    assert_fails(lm_model_load(NULL, &m), TQ_E_NULL, "path");
    assert_null(m);
    assert_fails(lm_model_load(path, NULL), TQ_E_NULL, "model");
    assert_fails(lm_model_load("nothing.here", &m), TQ_E_IO, "nothing.here: cannot open");
    put_file(path, "words", 5);
    assert_fails(lm_model_load(path, &m), TQ_E_FILE_TRUNCATED, "ends before its header");
    /* A fixture is a .safetensors file, but no model. */
    snprintf(long_path, sizeof long_path, "%s/fixture-kjv-swa.safetensors", TQKV_MODELS);
    assert_fails(lm_model_load(long_path, &m), TQ_E_FILE_FIELD, "this is no model of tqkv's");
    lm_model_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_whole_file_is_read, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(every_cut_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(cuts_of_real_models_are_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(every_edit_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(weights_are_finite, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(other_files_are_told, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
