/* SPDX-License-Identifier: MIT
 * Inputs of one attention call, laid out as a plan says, with the values that they stand for in float64.
 */
#ifndef TESTS_ATTENTION_SCENE_H
#define TESTS_ATTENTION_SCENE_H

#include <stdbool.h>

#include "edge.h"
#include "support/rng.h"
#include "tqkv/attention.h"

enum { MOST_SEGMENTS = 4 };

/* How rows lie within a view, or within each of its pages. */
typedef enum layout {
    BY_HEAD,     /* [G][rows] */
    BY_POSITION, /* [rows][G] */
    ALONE_LAST,  /* each row at the end of a memory page of its own; pages without a row are unreadable */
    ALONE_FIRST  /* each row at the start of such a page */
} layout;

typedef struct side_plan {
    tq_store store;
    tq_format format;   /* of codes */
    float scale_factor; /* of v1 codes */
    layout layout;
    size_t gap;        /* elements left free behind every row: bytes of codes and norms, else values */
    size_t spare;      /* slots beyond the length */
    size_t ring_start; /* taken modulo the capacity */
    size_t page_rows;  /* 0: no pages */
    bool blocks;       /* pages are given by their addresses */
} side_plan;

typedef struct segment_plan {
    size_t length;
    uint64_t first_position;
    side_plan k, v;
} segment_plan;

typedef struct scene_plan {
    uint32_t n_heads, n_kv_heads, head_dim, v_head_dim; /* v_head_dim 0: head_dim */
    size_t n_queries;
    tq_domain domain;
    bool centre, sinks, slopes;
    size_t stretch;    /* positions that share a centre; 0: all of a segment do */
    bool centre_table; /* centres are found through a table */
    double spread;     /* standard deviation of the queries' coordinates; that of keys and values is 1 */
    size_t n_segments;
    segment_plan segment[MOST_SEGMENTS];
} scene_plan;

typedef struct side {
    edge data, norms, pages, blocks, norm_blocks;
    double *values; /* [G][length][D], in the scene's domain, centre added */
} side;

typedef struct scene {
    tq_attention_params params; /* no masks, no softcap, scale 1/sqrt(D) until a test sets them */
    tq_segment segments[MOST_SEGMENTS];
    size_t n_segments;
    const uint64_t *tree; /* [n][(n_tree + 63) / 64]; the model looks at it, single calls have none */
    size_t n_tree;
    const float *q;
    side k[MOST_SEGMENTS], v[MOST_SEGMENTS];
    edge q_memory, sinks, slopes, centres[MOST_SEGMENTS], tables[MOST_SEGMENTS];
} scene;

void scene_open(scene *s, const scene_plan *plan, rng *r);
void scene_close(scene *s);

/* Rows of results, H * n, and values of one. */
size_t scene_rows(const scene *s);
size_t scene_v_dim(const scene *s);

/* What position i of a view's key lacks in KV head g, [D], by the rule of tqkv/view.h; NULL: nothing. */
const uint16_t *scene_centre(const scene *s, size_t segment, size_t g, size_t i);

#endif
