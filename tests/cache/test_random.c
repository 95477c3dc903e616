/* SPDX-License-Identifier: MIT
 * Random sequences of calls: the fuzz target's game, with bytes from a generator. */
#include "play.h"
#include "support/cm.h"
#include "support/rng.h"

enum { GAMES = 1500, MOST_BYTES = 160 };

static void games(void **state) {
    (void)state;
    rng r = {20};
    uint8_t bytes[MOST_BYTES];
    for (int i = 0; i < GAMES; i++) {
        rng_bytes(&r, bytes, sizeof bytes);
        play(bytes, 8 + rng_below(&r, MOST_BYTES - 8));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(games)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
