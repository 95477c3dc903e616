/* SPDX-License-Identifier: MIT
 * Text from outside, made fit to be shown. */
#include <stdbool.h>
#include <string.h>

#include "base/arch.h"
#include "tqkv/status.h"

/* The UTF-8 character at s, which a NUL ends: its bytes, and its number in *c. 0 if there is none. */
static size_t read_character(const unsigned char *s, uint32_t *c) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    *c = n == 1 ? s[0] : s[0] & 0xffu >> (n + 1);
    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) return 0;
        *c = *c << 6 | (s[i] & 0x3f);
    }
    return n > 0 && *c >= least[n] && *c <= 0x10ffff && *c >> 11 != 0x1b ? n : 0;
}

/* Controls, C1 too; line and paragraph separators; what turns the direction of writing. */
static bool acts(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

char *tq_printable(char *text) {
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        uint32_t c;
        const size_t n = read_character((const unsigned char *)from, &c);
        if (n == 0 || acts(c))
            *to++ = '?';
        else
            to = (char *)memmove(to, from, n) + n;
        from += n == 0 ? 1 : n;
    }
    *to = '\0';
    return text;
}
