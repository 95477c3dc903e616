/* SPDX-License-Identifier: MIT
 * Random plans of scenes. */
#include "draw.h"

#include <math.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const tq_format formats[ENCODED_STORES] = {
    TQ_TQ2, TQ_TQ3, TQ_TQ4, TQ_TQ5, TQ_TQ6, TQ_TQ7, TQ_TQ8, TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};

void set_store(side_plan *p, unsigned number) {
    p->store = number < ENCODED_STORES        ? TQ_STORE_CODES
               : number == ENCODED_STORES     ? TQ_STORE_F32
               : number == ENCODED_STORES + 1 ? TQ_STORE_F16
                                              : TQ_STORE_BF16;
    p->format = number < ENCODED_STORES ? formats[number] : (tq_format)0;
    p->scale_factor = 1.0f;
}

size_t draw_size(rng *r, size_t most) {
    return (size_t)floor(pow((double)most + 1, rng_uniform(r)) - 1);
}

scene_plan plain_plan(uint32_t heads, uint32_t kv_heads, uint32_t dim, size_t queries, size_t length) {
    scene_plan p = {.n_heads = heads,
                    .n_kv_heads = kv_heads,
                    .head_dim = dim,
                    .n_queries = queries,
                    .domain = TQ_ORIGINAL,
                    .spread = 1,
                    .n_segments = 1};
    p.segment[0].length = length;
    set_store(&p.segment[0].k, ENCODED_STORES);
    set_store(&p.segment[0].v, ENCODED_STORES);
    return p;
}

/* One in three is dense; the encoded ones share a rotation. */
static void draw_store(side_plan *p, bool v1, rng *r) {
    static const float factors[] = {1.0f, 0.5f, 3.0f};
    unsigned number = ENCODED_STORES + rng_below(r, STORES - ENCODED_STORES);
    if (rng_below(r, 3) != 0)
        number = v1 ? V2_STORES + rng_below(r, ENCODED_STORES - V2_STORES) : rng_below(r, V2_STORES);
    set_store(p, number);
    p->scale_factor = factors[rng_below(r, COUNT(factors))];
}

void draw_segments(scene_plan *p, size_t length, rng *r) {
    const uint32_t v_dim = p->v_head_dim == 0 ? p->head_dim : p->v_head_dim;
    const bool k_v1 = (p->head_dim == 256 || p->head_dim == 512) && rng_below(r, 2) == 0;
    const bool v_v1 = (v_dim == 256 || v_dim == 512) && rng_below(r, 2) == 0;
    size_t from = 0;
    p->n_segments = 1 + rng_below(r, MOST_SEGMENTS);
    memset(p->segment, 0, sizeof p->segment);
    for (size_t i = 0; i < p->n_segments; i++) {
        segment_plan *s = &p->segment[i];
        s->first_position = from;
        s->length = i + 1 == p->n_segments ? length - from : draw_size(r, length - from);
        from += s->length;
        draw_store(&s->k, k_v1, r);
        draw_store(&s->v, v_v1, r);
    }
    for (size_t i = p->n_segments; i > 1; i--) {
        const size_t j = rng_below(r, (uint32_t)i);
        const segment_plan kept = p->segment[i - 1];
        p->segment[i - 1] = p->segment[j];
        p->segment[j] = kept;
    }
}

static void draw_layout(side_plan *p, rng *r) {
    static const size_t pages[] = {0, 0, 1, 7, 16, 64}, gaps[] = {0, 0, 1, 3, 16};
    p->layout = rng_below(r, 2) == 0 ? BY_HEAD : BY_POSITION;
    p->gap = gaps[rng_below(r, COUNT(gaps))];
    p->spare = rng_below(r, 3) == 0 ? 0 : draw_size(r, 70);
    p->ring_start = rng_below(r, 1000);
    p->page_rows = pages[rng_below(r, COUNT(pages))];
    p->blocks = rng_below(r, 2) == 0;
}

void draw_layouts(scene_plan *p, rng *r) {
    for (size_t i = 0; i < p->n_segments; i++) {
        draw_layout(&p->segment[i].k, r);
        draw_layout(&p->segment[i].v, r);
    }
}

void draw_centres(scene_plan *p, rng *r) {
    static const size_t stretches[] = {0, 1, 3, 7, 64, 256};
    p->centre = rng_below(r, 2) == 0;
    p->stretch = stretches[rng_below(r, COUNT(stretches))];
    p->centre_table = rng_below(r, 3) == 0;
}

void draw_plan(scene_plan *p, double work, rng *r) {
    static const uint32_t groups[] = {1, 2, 4, 8},
                          dims[] = {32, 64, 80, 96, 112, 128, 192, 256, 512, 576};
    const uint32_t kv_heads = 1 + rng_below(r, 3), dim = dims[rng_below(r, COUNT(dims))];
    const uint32_t heads = kv_heads * groups[rng_below(r, COUNT(groups))];
    const size_t length = draw_size(r, 700);
    size_t queries = rng_below(r, 2) == 0 ? 1 : 1 + draw_size(r, 199);
    const double most = work / (2.0 * heads * dim * ((double)length + 1));
    if ((double)queries > most) queries = most < 1 ? 1 : (size_t)most;
    *p = plain_plan(heads, kv_heads, dim, queries, length);
    if (rng_below(r, 3) == 0) p->v_head_dim = dims[rng_below(r, COUNT(dims))];
    p->slopes = rng_below(r, 4) == 0;
    draw_segments(p, length, r);
    draw_layouts(p, r);
    p->domain = rng_below(r, 2) == 0 ? TQ_ORIGINAL : TQ_ROTATED;
    draw_centres(p, r);
    p->sinks = rng_below(r, 2) == 0;
    p->spread = ldexp(1, (int)rng_below(r, 3) - 1);
}

void draw_masks(tq_attention_params *p, size_t length, rng *r) {
    static const float caps[] = {0.0f, 0.0f, 1.0f, 30.0f};
    p->bidirectional = rng_below(r, 3) == 0;
    p->window = rng_below(r, 2) == 0 ? 0 : 1 + draw_size(r, length + 10);
    p->sink_positions = rng_below(r, 2) == 0 ? 0 : draw_size(r, length);
    const size_t first = rng_below(r, 4) == 0    ? draw_size(r, 2 * length)
                         : length > p->n_queries ? length - p->n_queries
                                                 : 0;
    p->query_end = first + p->n_queries;
    p->softcap = caps[rng_below(r, COUNT(caps))];
    p->scale *= (float)(0.5 + rng_uniform(r));
}
