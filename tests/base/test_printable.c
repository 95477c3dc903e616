/* SPDX-License-Identifier: MIT
 * Text from outside: what a terminal would obey becomes '?', the rest of UTF-8 stays. */
#include <stdio.h>
#include <string.h>

#include "support/cm.h"
#include "tqkv/status.h"

static void check(const char *text, const char *shown) {
    char copy[64];
    snprintf(copy, sizeof copy, "%s", text);
    assert_ptr_equal(tq_printable(copy), copy);
    assert_string_equal(copy, shown);
}

static void letters_stay(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "k.npy ~",
        "\xc3\xa9\xc2\xa0\xdf\xbf",             /* U+E9, U+A0, U+7FF */
        "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80", /* U+800, U+D7FF, U+E000 */
        "\xe9\x8d\xb5\xf0\x9f\x94\x91\xf4\x8f\xbf\xbf",
        "\xe2\x80\x8d\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5"}; /* neighbours */
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check(texts[i], texts[i]);
}

static void what_acts_does_not(void **state) {
    (void)state;
    check("a\x1b[2J\tb\n\r\x7f\x01", "a?[2J?b????");
    check("\xc2\x80-\xc2\x9b-\xc2\x9f", "?-?-?");                               /* C1 */
    check("\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xaa\xe2\x80\xae", "?????"); /* direction */
    check("\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\xa8\xe2\x80\xa9z", "????z");
}

static void bytes_that_are_no_utf8(void **state) {
    (void)state;
    check("\x9b\xff\xfe\x80", "????");
    check("\xc0\x9b\xc1\xbf", "????");                     /* overlong */
    check("\xe0\x82\x9b\xf0\x80\x82\x9b", "???????");      /* overlong */
    check("\xed\xa0\x80\xf4\x90\x80\x80\xf8", "????????"); /* a surrogate, and too high */
    check("\xe9\x8d"
          "A\xf0\x9f\x94",
          "??A???"); /* cut short */
}

static void messages_are_printable(void **state) {
    (void)state;
    assert_int_equal(tq_fail(TQ_E_IO, 0, "a\x1b", "%s: \xc3\xa9", "b\n"), TQ_E_IO);
    assert_string_equal(tq_last_error()->field, "a?");
    assert_string_equal(tq_last_error()->message, "b?: \xc3\xa9");
    char longer[300] = "";
    while (strlen(longer) < 290)
        strcat(longer, "\xe9\x8d\xb5");
    tq_fail(TQ_E_IO, 0, "", "%s", longer); /* cut in the middle of a character */
    assert_int_equal(strlen(tq_last_error()->message), sizeof tq_last_error()->message - 1);
    assert_int_equal(tq_last_error()->message[222], '?');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_stay),
        cmocka_unit_test(what_acts_does_not),
        cmocka_unit_test(bytes_that_are_no_utf8),
        cmocka_unit_test(messages_are_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
