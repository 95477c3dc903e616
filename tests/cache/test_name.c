/* SPDX-License-Identifier: MIT
 * Names of configurations: what they say, what is left alone, and what is wrong with others and where. */
#include <stdint.h>
#include <string.h>

#include "support/cm.h"
#include "tqkv/cache.h"

typedef struct meaning {
    const char *name;
    tq_format k, v;
    tq_norm_rule rule;
    size_t stretch, learn, recent, sinks;
} meaning;

static const meaning meanings[] = {
    {"tq4", TQ_TQ4, TQ_TQ4, TQ_NORM_DEFAULT, 0, 0, 0, 0},
    {"tq8-v1", TQ_TQ8_V1, TQ_TQ8_V1, TQ_NORM_DEFAULT, 0, 0, 0, 0},
    {"tq6/tq4", TQ_TQ6, TQ_TQ4, TQ_NORM_DEFAULT, 0, 0, 0, 0},
    {"tq6/tq4+centre+recent=64", TQ_TQ6, TQ_TQ4, TQ_NORM_DEFAULT, 256, 64, 64, 0},
    {"tq6+centre=all+recent=7", TQ_TQ6, TQ_TQ6, TQ_NORM_DEFAULT, 0, 64, 7, 0},
    {"tq6+centre=all", TQ_TQ6, TQ_TQ6, TQ_NORM_DEFAULT, 0, 64, 0, 0},
    {"tq6+centre=64", TQ_TQ6, TQ_TQ6, TQ_NORM_DEFAULT, 64, 64, 0, 0},
    {"tq6+centre=63", TQ_TQ6, TQ_TQ6, TQ_NORM_DEFAULT, 63, 63, 0, 0},
    {"tq6+centre=1", TQ_TQ6, TQ_TQ6, TQ_NORM_DEFAULT, 1, 1, 0, 0},
    {"tq6+centre=4096", TQ_TQ6, TQ_TQ6, TQ_NORM_DEFAULT, 4096, 64, 0, 0},
    {"tq3+recent", TQ_TQ3, TQ_TQ3, TQ_NORM_DEFAULT, 0, 0, 64, 0},
    {"tq3+sinks", TQ_TQ3, TQ_TQ3, TQ_NORM_DEFAULT, 0, 0, 0, 1},
    {"tq3+sinks=4", TQ_TQ3, TQ_TQ3, TQ_NORM_DEFAULT, 0, 0, 0, 4},
    {"tq2+sinks=1+unbiased+centre=7+recent=009", TQ_TQ2, TQ_TQ2, TQ_NORM_UNBIASED, 7, 7, 9, 1},
    {"tq5+plain", TQ_TQ5, TQ_TQ5, TQ_NORM_PLAIN, 0, 0, 0, 0},
    {"tq7+matched+recent=18446744073709551615", TQ_TQ7, TQ_TQ7, TQ_NORM_MATCHED, 0, 0, SIZE_MAX, 0},
    {"tq4/tq4-v1+centre", TQ_TQ4, TQ_TQ4_V1, TQ_NORM_DEFAULT, 256, 64, 0, 0},
};

/* Everything set, so that what a name resets shows. */
static tq_cache_config full(void) {
    return (tq_cache_config){.size = sizeof(tq_cache_config),
                             .policy = TQ_CACHE_RING,
                             .layer = {.n_kv_heads = 3,
                                       .k = {TQ_TQ2, 96, TQ_NORM_PLAIN, 2.0f},
                                       .v = {TQ_TQ3, 96, TQ_NORM_UNBIASED, 3.0f}},
                             .capacity = 100,
                             .window = 50,
                             .recent = 11,
                             .sinks = 12,
                             .learn_centre = 13,
                             .centre_stretch = 14};
}

static void names_say(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        const meaning *m = &meanings[i];
        tq_cache_config c = full(), want = full();
        if (sizeof(size_t) < 8 && strlen(m->name) > 38) continue; /* a number that is too large there */
        want.layer.k.format = m->k;
        want.layer.v.format = m->v;
        want.layer.k.norm_rule = want.layer.v.norm_rule = m->rule;
        want.learn_centre = m->learn;
        want.centre_stretch = m->stretch;
        want.recent = m->recent;
        want.sinks = m->sinks;
        if (tq_cache_config_from_name(m->name, &c) != TQ_OK)
            fail_msg("%s: %s", m->name, tq_last_error()->message);
        assert_memory_equal(&c, &want, sizeof c);
    }
}

typedef struct mistake {
    const char *name;
    tq_status status;
    uint64_t index;
    const char *message; /* a part */
} mistake;

static const mistake mistakes[] = {
    {"", TQ_E_FORMAT, 0, "there is no format ''; there are tq2 to tq8, tq4-v1"},
    {"tq9", TQ_E_FORMAT, 0, "there is no format 'tq9'"},
    {"TQ4", TQ_E_FORMAT, 0, "there is no format 'TQ4'"},
    {" tq4", TQ_E_FORMAT, 0, "there is no format ' tq4'"},
    {"tq4 ", TQ_E_FORMAT, 0, "there is no format 'tq4 '"},
    {"float16", TQ_E_FORMAT, 0, "there is no format 'float16'"},
    {"tq4-v1xxxxxxxxxxxxxxxxxxx", TQ_E_FORMAT, 0, "there is no format 'tq4-v1"},
    {"/tq4", TQ_E_FORMAT, 0, "there is no format ''"},
    {"tq4/", TQ_E_FORMAT, 4, "there is no format ''"},
    {"tq4/tq9+recent", TQ_E_FORMAT, 4, "there is no format 'tq9'"},
    {"tq4/tq8/tq2", TQ_E_FORMAT, 7, "a third format"},
    {"tq4+", TQ_E_FORMAT, 3, "'+' is no suffix here; there are +centre[=L]"},
    {"tq4++recent", TQ_E_FORMAT, 3, "'+' is no suffix"},
    {"tq4+x", TQ_E_FORMAT, 3, "'+x' is no suffix"},
    {"tq4+recent+recen=3", TQ_E_FORMAT, 10, "'+recen=3' is no suffix"},
    {"tq4+center", TQ_E_FORMAT, 3, "'+center' is no suffix"},
    {"tq4+rotate", TQ_E_FORMAT, 3, "'+rotate' is no suffix"},
    {"tq4+plain=1", TQ_E_FORMAT, 3, "'+plain=1' is no suffix"},
    {"tq4+centre/tq4", TQ_E_FORMAT, 3, "'+centre/tq4' is no suffix"},
    {"tq4+centre=all+centre", TQ_E_POSITION, 14, "'+centre' is there twice"},
    {"tq4+centre+centre=all", TQ_E_POSITION, 10, "'+centre' is there twice"},
    {"tq4+centre=", TQ_E_POSITION, 11, "'' is not a number of positions, 1 or more"},
    {"tq4+centre=0", TQ_E_POSITION, 11, "'0' is not a number"},
    {"tq4+centre=al", TQ_E_POSITION, 11, "'al' is not a number"},
    {"tq4+centre=all=3", TQ_E_POSITION, 11, "'all=3' is not a number"},
    {"tq4+centre=alle+plain", TQ_E_POSITION, 11, "'alle' is not a number"},
    {"tq4+recent=all", TQ_E_POSITION, 11, "'all' is not a number"},
    {"tq4+recent=5+recent=6", TQ_E_POSITION, 12, "'+recent' is there twice"},
    {"tq4+sinks+centre+sinks", TQ_E_POSITION, 16, "'+sinks' is there twice"},
    {"tq4+recent=", TQ_E_POSITION, 11, "'' is not a number of positions, 1 or more"},
    {"tq4+recent=0", TQ_E_POSITION, 11, "'0' is not a number"},
    {"tq4+recent=-1", TQ_E_POSITION, 11, "'-1' is not a number"},
    {"tq4+recent=+1", TQ_E_POSITION, 11, "'' is not a number"},
    {"tq4+recent= 1", TQ_E_POSITION, 11, "' 1' is not a number"},
    {"tq4+recent=1x", TQ_E_POSITION, 11, "'1x' is not a number"},
    {"tq4+recent=0x10", TQ_E_POSITION, 11, "'0x10' is not a number"},
    {"tq4+recent=1.5+plain", TQ_E_POSITION, 11, "'1.5' is not a number"},
    {"tq4+recent=18446744073709551616", TQ_E_POSITION, 11, "is not a number"},
    {"tq4+plain+matched", TQ_E_NORM_RULE, 9, "more than one norm rule"},
    {"tq4+plain+plain", TQ_E_NORM_RULE, 9, "more than one norm rule"},
    {"tq4-v1+matched", TQ_E_NORM_RULE, 6, "no norm rule to choose"},
    {"tq4/tq4-v1+plain", TQ_E_NORM_RULE, 10, "no norm rule to choose"},
    {"tq4-v1+centre", TQ_E_FORMAT, 6, "v1 formats have no centre"},
    {"tq4-v1/tq4+centre=9", TQ_E_FORMAT, 10, "v1 formats have no centre"},
};

static void mistakes_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        const mistake *m = &mistakes[i];
        tq_cache_config c = full();
        const tq_cache_config before = full();
        const tq_status status = tq_cache_config_from_name(m->name, &c);
        const tq_error *e = tq_last_error();
        if (status != m->status || e->index != m->index || strstr(e->message, m->message) == NULL)
            fail_msg("'%s': %s, index %llu, %s", m->name, tq_status_name(status),
                     (unsigned long long)e->index, e->message);
        assert_string_equal(e->field, "name");
        assert_memory_equal(&c, &before, sizeof c);
    }
}

static void nulls(void **state) {
    (void)state;
    tq_cache_config c = full();
    assert_int_equal(tq_cache_config_from_name(NULL, &c), TQ_E_NULL);
    assert_string_equal(tq_last_error()->field, "name");
    assert_int_equal(tq_cache_config_from_name("tq4", NULL), TQ_E_NULL);
    assert_string_equal(tq_last_error()->field, "config");
}

/* A cache comes of it as of the fields set by hand. */
static void the_default_has_a_name(void **state) {
    (void)state;
    tq_cache_config c = tq_cache_config_default(2, 64, 200);
    const tq_cache_config want = c;
    tq_cache *cache = NULL;
    assert_int_equal(tq_cache_config_from_name("tq6/tq4+centre+recent+sinks", &c), TQ_OK);
    assert_memory_equal(&c, &want, sizeof c);
    assert_int_equal(tq_cache_create(&c, &cache), TQ_OK);
    tq_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(nulls),
        cmocka_unit_test(the_default_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
