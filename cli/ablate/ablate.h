/* SPDX-License-Identifier: MIT
 * An ablation: the same attention by several paths on caches that hold the same, what each path costs,
 * and where one goes wrong. */
#ifndef TQKV_CLI_ABLATE_H
#define TQKV_CLI_ABLATE_H

#include "base/attention.h"
#include "base/cache.h"
#include "base/device.h"
#include "base/heads.h"
#include "base/report.h"
#include "measure/exact.h"

/* How positions lie in the caches. Position p, counted from the first one written, lies in slot
 * p % capacity. */
typedef struct cli_ring {
    size_t n_positions; /* T, of the tensors */
    size_t capacity;    /* slots */
    size_t held;        /* the last so many positions of the tensors are attended to */
    size_t written;     /* positions written in all; the last T are those of the tensors, and those
                           before repeat them */
    size_t ring_start;  /* slot of the oldest position held */
} cli_ring;

/* Without a window (0) slots 0 to T-1. With one a ring that holds what n queries look back on and some
 * more, and wraps at least twice. */
cli_ring cli_ring_plan(size_t n_positions, size_t n_queries, size_t window);

enum { CLI_N_SNAPS = 3 }; /* 5, 6 and 8 bits */
extern const unsigned cli_snap_bits[CLI_N_SNAPS];

/* Keys or values. `flat`: [G][held][D], original domain, oldest first. `ring`: [G][capacity][D]. `young`:
 * where positions age, what they are in float16 before; all of them are held then, as in `flat`. */
typedef struct cli_ablate_side {
    tq_codec codec;
    double centre_length;           /* of the longest centre; 0: none */
    float *flat_young, *ring_young; /* original domain; rotated */
    float *flat_end;                /* what is held in the end, young or not */
    float *flat_original, *flat_decoded, *flat_snapped[CLI_N_SNAPS];
    float *ring_original;
    float *ring_decoded, *ring_snapped[CLI_N_SNAPS]; /* rotated */
    tq_encoded encoded;                              /* the ring's codes */
} cli_ablate_side;

/* CLI_DONE or CLI_FAILED after a message. ring_decoded is the device's, unless that is NULL. Release with
 * cli_ablate_side_free() in every case. */
int cli_ablate_side_build(const char *path, const cli_heads *heads, const cli_ring *ring,
                          const tq_codec *codec, cli_device *device, cli_ablate_side *side);

/* The same where positions age, by that configuration and without its cache; only keys have centres. */
int cli_aged_side_build(const char *path, const cli_heads *heads, const tq_cache_config *config,
                        bool is_keys, cli_device *device, cli_ablate_side *side);
void cli_ablate_side_free(cli_ablate_side *side);

/* What queries find where positions age: each attends on its own, when a cache holds the positions up to
 * its own. `views`: keys and values of all positions, [0] before and [1] after they have aged. */
typedef struct cli_ageing {
    const tq_cache_config *config;
    cli_cache *cache;  /* NULL: it is by the views */
    bool lacks_centre; /* a fault */
    tq_segment views[2];
} cli_ageing;

/* Attention on codes on a device, all of it in one call. */
typedef struct cli_there {
    cli_device *device;
    bool exact;
    cli_device_cache cache;
    tq_encoded k, v;       /* what the cache points to; another one's memory */
    size_t young_from_end; /* once there are all positions */
} cli_there;

typedef struct cli_path {
    const char *name;
    tq_attention_params params;
    const float *q;           /* [H][n][D], original domain */
    const tq_codec *k_codec;  /* queries are rotated by it first; NULL: as they come */
    const tq_codec *v_codec;  /* outputs are rotated back by it; NULL: left so */
    const float *signs;       /* [D] a fault: factors of queries and outputs; NULL: none */
    size_t truth;             /* which of the truths it should agree with */
    size_t first, length;     /* positions: the first, and how many */
    const float *k, *v;       /* [G][length][D], original domain: what it ought to read in the end */
    double centre_length;     /* of the longest vector that keys lack */
    const cli_ageing *ageing; /* NULL: all queries find the same */
    const cli_there *there;   /* NULL: on the CPU */
    size_t n_segments;        /* what there is in the end; positions may be missing where they age */
    tq_segment segments[TQ_CACHE_SEGMENTS];
} cli_path;

/* Parts of the positions, counted from the path's first: [begin, end). */
typedef struct cli_part {
    size_t begin, end;
    float *out, *lse; /* results of the part alone, original domain: [H][n][D], [H][n] */
} cli_part;

/* Attends to each part. */
tq_status cli_path_attend(const cli_path *path, const cli_part *parts, size_t n_parts);

/* Where an ageing path is by views, the segments of a cache of that length; of one that is by a cache,
 * those of the cache, grown to it. TQ_E_POSITION if it has encoded other positions than it should. */
tq_status cli_ageing_segments(const cli_ageing *ageing, size_t length,
                              tq_segment segments[TQ_CACHE_SEGMENTS], size_t *n_segments);

/* For a path with ageing, in place of cli_path_attend(): queries as they are handed over, outputs as they
 * come. */
tq_status cli_ageing_attend(const cli_path *path, const float *q, const cli_part *parts, size_t n_parts);

/* What lies in positions [begin, end), counted from 0, of segments. Returns how many segments do. */
size_t cli_clip(const tq_segment *segments, size_t n, uint64_t begin, uint64_t end,
                tq_segment clipped[TQ_CACHE_SEGMENTS]);

/* The keys that the path's scores are those of, and the values that its outputs are sums of: both
 * [G][length][D], original domain, found by attending with queries along each axis and to keys that
 * single out a position. NaN where a weight has vanished; as they ought to be where the path holds
 * nothing in the end. Keys are read through sums of unit vectors, which may be at fault themselves;
 * sum_error is how far the log-sum-exps of the same scores are off, which know no values. */
tq_status cli_path_keys(const cli_path *path, float *keys, double *sum_error);
tq_status cli_path_values(const cli_path *path, float *values);

/* The same of a path on a device: queries as they are handed over, outputs as they come; and what it
 * reads. */
tq_status cli_there_attend(const cli_path *path, const float *q, float *out, float *lse);
tq_status cli_there_read(const cli_path *path, float *keys, float *values);

/* What is promised of a row that sees n positions, whose scores are no longer than `reach`; of a key of
 * KV head g that is read, in lengths of the longest, and of a value, in its own length. */
double cli_there_row_bound(const cli_there *there, size_t n, size_t dim, double reach);
double cli_there_key_bound(const cli_path *path, size_t g);
double cli_there_value_bound(const cli_path *path, size_t g);

/* Broken on purpose in what the fused path is given, to see whether the verdict finds it. */
typedef enum cli_fault {
    CLI_FAULT_NONE,
    CLI_FAULT_SCALE,
    CLI_FAULT_RING,
    CLI_FAULT_SIGNS,
    CLI_FAULT_CENTRE /* the only one where positions age */
} cli_fault;

/* What it works on: tensors of the same head dimension. */
typedef struct cli_ablate_input {
    const char *k_path, *v_path; /* for messages */
    const float *q;
    cli_heads k, v;
    tq_attention_params params; /* of the whole tensors; parallel: &threads, or NULL */
    tq_parallel threads;
    const cli_way *way;
    cli_fault fault;
    cli_device *device; /* NULL: the CPU */
    bool exact;         /* its accuracy */
    bool brief;         /* a format among others: only what tells how it fares */
} cli_ablate_input;

enum { CLI_MAX_PATHS = 3 + CLI_N_SNAPS };

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
    CLI_STAGE_MERGE,
    CLI_STAGE_ATTENTION /* of a device, which is not asked for stretches: one of the three above */
} cli_stage;

typedef enum cli_cause {
    CLI_CAUSE_UNKNOWN,
    CLI_CAUSE_SCALE,    /* vectors are a constant times what they should be */
    CLI_CAUSE_ORDER,    /* positions hold each other's vectors */
    CLI_CAUSE_SIGNS,    /* coordinates have the right magnitudes and wrong signs */
    CLI_CAUSE_CENTRE,   /* neighbours are off by the same vector */
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
    double bits;  /* a value, of what is held in the end */
    double bound; /* the widest that a row was held to */
    size_t n_rows;
    cli_ablate_row rows[CLI_MAX_PATHS];
    const cli_ablate_row *decoded, *fused; /* of these rows */
    cli_finding finding;                   /* of the first path that goes wrong */
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
int cli_ablate_self_test(cli_device *device, bool exact, bool as_json);

/* What there is to attend to: what a path should read. */
enum {
    CLI_TRUTH_ORIGINAL,
    CLI_TRUTH_DECODED,
    CLI_TRUTH_SNAPPED,
    CLI_MAX_TRUTHS = CLI_TRUTH_SNAPPED + CLI_N_SNAPS
};

/* The positions are looked at in so many parts, to tell where a sum goes wrong. */
enum { CLI_STRETCHES = 8 };

/* What a path gave. */
typedef struct cli_outcome {
    const cli_path *path;
    size_t n_parts; /* 1: all positions; or stretches, and then all */
    cli_part parts[CLI_STRETCHES + 1];
    float *keys, *values; /* as read, [G][length][D] */
    cli_finding misread;  /* the stage keys or values, or none */
} cli_outcome;

/* Of an output row, against float64. */
typedef struct cli_row_errors {
    double worst, bound; /* in units of the row's absolute terms */
    double error_decoded, whole_decoded, error_original, whole_original; /* sums of squares */
    double cosine, kl;
    bool same_top;
} cli_row_errors;

/* A path among those that are checked together. */
typedef struct cli_check_of {
    const cli_outcome *outcome;
    cli_row_errors *rows; /* [H][n] out */
    cli_finding finding;  /* out: what is beyond its bound, or none */
} cli_check_of;

/* Holds the rows of paths to their bounds and measures them, on all threads. truths: [n_truths] float64
 * on what there is to attend to, in their order. A unit of progress a block of queries of a head.
 * CLI_DONE, or CLI_FAILED after a message. */
int cli_check_rows(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                   cli_check_of *paths, size_t n_paths);

/* Blocks of queries of all heads, which are what tasks work on. */
size_t cli_n_blocks(const measure_exact *x);

/* Runs the paths, each against its truth, and fills in the result's rows, and its finding from the first
 * path that is wrong. CLI_DONE or CLI_FAILED after a message. */
int cli_measure_paths(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                      const cli_path *paths, cli_ablation *result);

/* CLI_DONE, or CLI_FAILED after a message. */
int cli_ablate_report(const cli_ablate_input *input, const cli_ablation *result, bool as_json);

/* Several formats side by side: results [n] of ways [n] on the same tensors. */
int cli_ablate_report_all(const cli_ablate_input *input, const cli_way *ways, const cli_ablation *results,
                          size_t n, bool as_json);

/* Which device, and its accuracy: a line, none for the CPU; or fields, "cpu" and null for it. */
void cli_ablate_tell_device(const cli_device *device, bool exact);
void cli_ablate_report_device(cli_report *report, const cli_device *device, bool exact);

/* Prints text in lines of at most 80 columns, broken at blanks. */
void cli_print_wrapped(const char *text);

#endif
