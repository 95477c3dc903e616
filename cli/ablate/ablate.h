/* SPDX-License-Identifier: MIT
 * An ablation: the same attention by several paths, what each costs, and where one goes wrong. */
#ifndef TQKV_CLI_ABLATE_H
#define TQKV_CLI_ABLATE_H

#include "ablate/cache.h"
#include "ablate/path.h"
#include "measure/exact.h"

/* Broken on purpose in what the fused path is given, to see whether the verdict finds it. */
typedef enum cli_fault { CLI_FAULT_NONE, CLI_FAULT_SCALE, CLI_FAULT_RING, CLI_FAULT_SIGNS } cli_fault;

/* What it works on: tensors of the same head dimension. */
typedef struct cli_ablate_input {
    const char *k_path, *v_path; /* for messages */
    const float *q;
    cli_heads k, v;
    tq_attention_params params; /* of the whole tensors */
    tq_format k_format, v_format;
    cli_fault fault;
} cli_ablate_input;

enum { CLI_N_PATHS = 3 + CLI_N_SNAPS };

/* What a path's results are. */
typedef struct cli_ablate_row {
    const char *path;
    double worst;          /* largest error of a row against float64 on what the path itself holds,
                              over the norm of the row's absolute terms */
    double nrmse_decoded;  /* against float64 on the decoded cache */
    double nrmse_original; /* against float64 on the originals */
    double cosine_mean;    /* of rows with those of the originals */
    double cosine_p1;
    double *head_mean; /* [H] */
    double *head_p1;   /* [H] */
    double top1;       /* share of rows whose heaviest key is the originals' */
    double kl;         /* mean over rows of the divergence of its softmax from the originals' */
} cli_ablate_row;

/* The order in which a result comes about. */
typedef enum cli_stage {
    CLI_STAGE_NONE,
    CLI_STAGE_KEYS,
    CLI_STAGE_VALUES,
    CLI_STAGE_SOFTMAX,
    CLI_STAGE_ACCUMULATION,
    CLI_STAGE_MERGE
} cli_stage;

typedef enum cli_cause {
    CLI_CAUSE_UNKNOWN,
    CLI_CAUSE_SCALE,    /* vectors are a constant times what they should be */
    CLI_CAUSE_ORDER,    /* positions hold each other's vectors */
    CLI_CAUSE_SIGNS,    /* coordinates have the right magnitudes and wrong signs */
    CLI_CAUSE_ROTATION, /* vectors have the right lengths and wrong directions */
    CLI_CAUSE_ROUNDING  /* less than any of these would make it */
} cli_cause;

/* Where an error first appears. */
typedef struct cli_finding {
    const char *path;
    cli_stage stage;    /* none: nothing is wrong */
    size_t head;        /* keys and values: KV head; else query head */
    size_t first, last; /* positions of the tensors */
    double size, bound;
    cli_cause cause;
    double factor;   /* scale: how many times too large */
    long long shift; /* order: position p holds what belongs to p + shift */
    size_t flipped;  /* signs: coordinates */
} cli_finding;

typedef struct cli_ablation {
    size_t n_heads;
    cli_ring ring;
    double bound; /* the widest that a row was held to */
    cli_ablate_row rows[CLI_N_PATHS];
    cli_finding finding; /* of the first path that goes wrong */
} cli_ablation;

/* What a single key or value may be off by, read through a path, of the longest one. */
#define CLI_READ_BOUND 2e-6

const char *cli_fault_name(cli_fault fault);
const char *cli_stage_name(cli_stage stage);

/* CLI_DONE or CLI_FAILED after a message. Release with cli_ablation_free() in every case. */
int cli_ablate(const cli_ablate_input *input, cli_ablation *result);
void cli_ablation_free(cli_ablation *result);

/* Looks whether a path reads the keys (or values) it should, [G][length][D]. Writes the finding and
 * returns true if it does not. */
bool cli_find_misread(const cli_path *path, cli_stage stage, const float *read, cli_finding *finding);

/* The verdict in words. */
void cli_verdict(const cli_ablate_input *input, const cli_ablation *result, char *text, size_t size);

/* Runs all faults on made-up tensors and says whether each was named. */
int cli_ablate_self_test(bool as_json);

#endif
