/* SPDX-License-Identifier: MIT
 * A step of attention on the host: what is asked for, and the arrays that are made of it. */
#ifndef TESTS_DEVICES_SCENE_H
#define TESTS_DEVICES_SCENE_H

#include "support.h"
#include "tqkv/cuda_attention.h"

enum { MOST_SEQUENCES = 260, MOST_MARKS = 16 };

/* How the pages of codes lie. */
typedef enum layout {
    SIDE_BY_SIDE, /* rows on multiples of 16 bytes, a head's one after the other */
    GAPS,         /* likewise, with gaps */
    OUTERMOST,    /* positions outermost */
    ODD,          /* odd strides and addresses */
    ODD_OUTERMOST,
    RECORDS /* codes and norms by turns in one array */
} layout;

/* Something hostile at a position: a coded vector's norm, or an element of one in float16. */
typedef struct mark {
    size_t sequence, position;
    int head;   /* KV head; -1: all */
    bool value; /* of the value, not the key */
    float number;
} mark;

/* Float16 vectors [rows][G][capacity][dim]. */
typedef struct dense {
    uint16_t *data;
    size_t n, row, head, sequence; /* elements */
} dense;

/* Keys, or values. */
typedef struct side {
    tq_codec codec;
    size_t dim, code_bytes, norm_bytes;
    size_t row, head, page, norm_row, norm_head, norm_page; /* bytes */
    size_t lead, norm_lead;                                 /* bytes before the first row */
    uint8_t *codes, *norms;                                 /* with RECORDS norms lie in codes */
    size_t n_codes, n_norms;
    dense sinks, recent;
    float *values[MOST_SEQUENCES]; /* decoded, [G][room][dim], in the layer's domain */
    double
        *length[MOST_SEQUENCES]; /* [G][room]: |v|, or |k| + 2 |c|; NaN where something is not finite */
} side;

typedef struct scene {
    const char *name;
    tq_cuda_attention_config config;

    /* What is asked for. Zero is the plain thing. */
    size_t n_sequences, n_queries;
    size_t lengths[MOST_SEQUENCES], coded[MOST_SEQUENCES];
    bool has_coded; /* coded counts */
    size_t page_rows;
    bool paged, shared;    /* block tables; sequences have their first pages in common */
    bool rows_of_capacity; /* page_rows is told as the views' capacity */
    layout layout;
    size_t code_first, n_sinks, recent_capacity;
    bool wide_dense, permuted_dense;
    bool centre, along; /* keys have centres; queries lie along one, so that products add up */
    size_t stretch;
    bool random_codes;
    float spread;     /* standard deviation of scores; 0: 1 */
    double v_decades; /* lengths of values differ by so many powers of ten */
    bool against;     /* values are the longer the less they weigh, for head 0 of sequence 0 */
    size_t q_lead, q_token, q_head, out_lead, out_token, out_head; /* elements; 0: side by side */
    bool lse, open, base2, logits, slopes;
    size_t n_tree;
    float slope_size;
    mark marks[MOST_MARKS];
    size_t n_marks;
    bool ordinary; /* out: normally distributed, so that more than the bound can be asked */

    /* What is made of it. */
    size_t room[MOST_SEQUENCES]; /* positions that are there: lengths may be made less */
    side k, v;
    size_t n_pages, n_shared, table_stride;
    int32_t *table;
    size_t n_centres, centre_table_stride, centre_lead; /* elements before them */
    uint16_t *centres;
    int32_t *centre_table;
    size_t n_dense_rows;
    int32_t dense_rows[MOST_SEQUENCES];
    float *q; /* [B][n][H][D], as the type holds them */
    uint8_t *q_image;
    size_t n_q, n_out; /* elements, strides included, without lead */
    float *sink_logits, *slope_values;
    uint64_t *tree;
} scene;

static inline size_t group_of(const scene *s) {
    return s->config.layer.n_heads / s->config.layer.n_kv_heads;
}

static inline size_t scene_tokens(const scene *s) {
    return s->n_sequences * s->n_queries;
}

/* Length as the run sees it, and where codes end. */
size_t scene_length(const scene *s, size_t b);
size_t scene_coded(const scene *s, size_t b);

/* Draws keys, values and queries, encodes them, and puts them where they belong. */
void scene_build(scene *s);
void scene_free(scene *s);

/* One line that says what a scene is. */
void scene_tell(const scene *s, char *line, size_t bytes);

#endif
