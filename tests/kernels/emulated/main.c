/* SPDX-License-Identifier: MIT
 * check_emulated_kernels [SEED]: these kernels against the scalar ones, as check_kernels does it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "check_kernels.h"
#include "emulated/emulated.h"

static const kernel_row rows[] = {
#define ROW(operation, level)                                                                            \
    {#operation, #level, {.operation = tq_##operation##_##level}, check_##operation},
    EMULATED_KERNELS(ROW)
#undef ROW
};

int main(int argc, char **argv) {
    static run r;
    unsigned failed = 0;
    r.seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    run_open(&r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run_start(&r, &rows[i]);
        rows[i].check(&r, &rows[i].kernel);
        if (!r.failed) printf("ok   %-18s %-17s (%" PRIu64 " cases)\n", rows[i].op, rows[i].isa, r.cases);
        failed += r.failed;
    }
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
