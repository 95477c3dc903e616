/* SPDX-License-Identifier: MIT
 * A device against the CPU: the codec to the byte, attention within its bounds. Exits with 77 where there
 * is no device.
 *
 *     check_devices [--only PART] [--seed N] [--kinds N] [--scenes N] [--kind I] [--scene J]
 *
 * PART is codec, refusals, planted, tiles, prefill, fixed, drawn, hostile, merge, graph or stale. --kinds
 * and --scenes say how many kinds of layers are drawn and how many scenes of each; --kind and --scene
 * pick one. Under compute-sanitizer set TQKV_CHECK_MALLOC=1, which gives each array an allocation of its
 * own, and draw few:
 *
 *     TQKV_CHECK_MALLOC=1 compute-sanitizer check_devices --only drawn --kinds 17 --scenes 2 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "check.h"

static const char *const names[] = {"--only", "--seed", "--kinds", "--scenes", "--kind", "--scene"};

static int parse(int argc, char **argv, options *o) {
    for (int i = 1; i < argc; i += 2) {
        size_t j = 0;
        while (j < 6 && strcmp(argv[i], names[j]) != 0)
            j++;
        if (j == 6 || i + 1 == argc) return 0;
        const unsigned long long n = strtoull(argv[i + 1], NULL, 10);
        if (j == 0) o->only = argv[i + 1];
        if (j == 1) o->seed = n;
        if (j == 2) o->kinds = (size_t)n;
        if (j == 3) o->scenes = (size_t)n;
        if (j == 4) o->one_kind = (int)n;
        if (j == 5) o->one_scene = (int)n;
    }
    if (o->one_kind >= (int)o->kinds) o->kinds = (size_t)o->one_kind + 1;
    if (o->one_scene >= (int)o->scenes) o->scenes = (size_t)o->one_scene + 1;
    return 1;
}

/* Whether a part is wanted, and what time the one before took. */
static int wanted(const options *o, const char *part) {
    static const char *before;
    static double began;
    const double now = seconds();
    if (before != NULL) printf("%-9s %.1f s\n", before, now - began);
    fflush(stdout);
    before = NULL, began = now;
    if (o->only != NULL && strcmp(o->only, part) != 0) return 0;
    before = part;
    return 1;
}

int main(int argc, char **argv) {
    options o = {.seed = 1, .kinds = 63, .scenes = 8, .one_kind = -1, .one_scene = -1};
    if (!parse(argc, argv, &o)) {
        printf(
            "check_devices [--only PART] [--seed N] [--kinds N] [--scenes N] [--kind I] [--scene J]\n");
        return 2;
    }
    if (tq_cuda_count() == 0) {
        printf("no CUDA device: nothing was checked\n");
        return 77;
    }
    succeed(tq_cuda_open(0, &cuda));
    if (wanted(&o, "codec")) check_codec();
    if (wanted(&o, "refusals")) check_refusals();
    if (wanted(&o, "planted")) check_planted();
    if (wanted(&o, "tiles")) check_tiles(&o);
    if (wanted(&o, "prefill")) check_prefill(&o);
    if (wanted(&o, "fixed")) check_fixed(&o);
    if (wanted(&o, "drawn")) check_drawn(&o);
    if (wanted(&o, "hostile")) check_hostile(&o);
    if (wanted(&o, "merge")) check_merge();
    if (wanted(&o, "graph")) check_graph();
    if (wanted(&o, "stale")) check_stale();
    (void)wanted(&o, "");
    print_report();
    printf("%s: %zu checks, %zu failed: %s\n", tq_cuda_name(cuda), checked, failed,
           failed == 0 ? "the device agrees with the CPU" : "the device differs from the CPU");
    tq_cuda_close(cuda);
    return failed != 0;
}
