/* SPDX-License-Identifier: MIT
 * Scenes are made as an engine makes its memory, by the library's codec on the CPU. What no position
 * fills is NaN: rows of pages, float16 vectors, gaps. */
#include "scene.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t scene_length(const scene *s, size_t b) {
    const size_t most = s->config.layer.max_positions;
    return s->lengths[b] < most ? s->lengths[b] : most;
}

size_t scene_coded(const scene *s, size_t b) {
    return s->has_coded && s->coded[b] < s->lengths[b] ? s->coded[b] : s->lengths[b];
}

static size_t heads_of(const scene *s) {
    return s->config.layer.n_kv_heads;
}

static size_t up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* The last byte's end. */
static size_t extent(const scene *s, size_t row, size_t head, size_t page, size_t bytes) {
    return (s->n_pages - 1) * page + (heads_of(s) - 1) * head + (s->page_rows - 1) * row + bytes;
}

static void lay_out_records(const scene *s, side *x) {
    x->row = x->norm_row = x->code_bytes + x->norm_bytes + below(5);
    x->head = x->norm_head = s->page_rows * x->row + below(9);
    x->page = x->norm_page = heads_of(s) * x->head + below(30);
    x->lead = x->norm_lead = below(14);
    x->n_codes = extent(s, x->row, x->head, x->page, x->code_bytes);
    x->n_norms = extent(s, x->row, x->head, x->page, x->norm_bytes);
}

static void lay_out_odd(const scene *s, side *x) {
    x->row = x->code_bytes + below(8);
    x->norm_row = x->norm_bytes + below(6);
    x->head = s->page_rows * x->row + below(9);
    x->norm_head = s->page_rows * x->norm_row + below(3);
    if (s->layout == ODD_OUTERMOST) {
        x->head = x->row, x->row = heads_of(s) * x->head + below(8);
        x->norm_head = x->norm_row, x->norm_row = heads_of(s) * x->norm_head;
    }
    const size_t outer = s->layout == ODD_OUTERMOST ? s->page_rows : heads_of(s);
    x->page = outer * (s->layout == ODD_OUTERMOST ? x->row : x->head) + below(30);
    x->norm_page = outer * (s->layout == ODD_OUTERMOST ? x->norm_row : x->norm_head) + below(30);
    x->lead = below(14), x->norm_lead = below(14);
    x->n_codes = extent(s, x->row, x->head, x->page, x->code_bytes);
    x->n_norms = extent(s, x->norm_row, x->norm_head, x->norm_page, x->norm_bytes);
}

/* As the fast kernels want it. */
static void lay_out_even(const scene *s, side *x) {
    const size_t gap = s->layout == GAPS ? 16 : 0, G = heads_of(s);
    x->row = up(x->code_bytes, 16) + gap * below(3);
    x->head = s->page_rows * x->row + gap * below(3);
    x->page = G * x->head + gap * below(5);
    if (s->layout == OUTERMOST) {
        x->head = x->row, x->row = G * x->head;
        x->page = s->page_rows * x->row;
    }
    x->norm_row = x->norm_bytes;
    x->norm_head = s->page_rows * x->norm_row + gap * below(3);
    x->norm_page = G * x->norm_head + gap * below(3);
    x->lead = gap, x->norm_lead = gap;
    x->n_codes = s->n_pages * x->page, x->n_norms = s->n_pages * x->norm_page;
}

static void make_side(const scene *s, side *x, tq_format format, size_t dim) {
    x->codec = (tq_codec){.format = format, .head_dim = (uint32_t)dim, .scale_factor_d512 = 0.875f};
    x->dim = dim;
    succeed(tq_row_size(&x->codec, &x->code_bytes, &x->norm_bytes));
    if (s->layout == RECORDS)
        lay_out_records(s, x);
    else if (s->layout == ODD || s->layout == ODD_OUTERMOST)
        lay_out_odd(s, x);
    else
        lay_out_even(s, x);
    const size_t more = s->layout == RECORDS ? x->code_bytes + x->n_norms : 0;
    x->codes = host(x->n_codes + more);
    x->norms = s->layout == RECORDS ? x->codes + x->code_bytes : host(x->n_norms);
    memset(x->codes, 0xFF, x->n_codes + more);
    memset(x->norms, 0xFF, x->n_norms);
}

static dense make_dense(const scene *s, size_t capacity, size_t dim) {
    const size_t G = heads_of(s), wide = s->wide_dense ? 8 : 0;
    const bool outermost = s->wide_dense && chance(50);
    dense d = {.row = dim + wide, .head = capacity * (dim + wide) + wide};
    if (outermost) d.head = dim, d.row = G * dim + wide;
    d.sequence = outermost ? capacity * d.row : G * d.head + wide;
    d.n = s->n_dense_rows * d.sequence;
    d.data = host(d.n * sizeof *d.data);
    memset(d.data, 0xFF, d.n * sizeof *d.data);
    return d;
}

/* Numbers of pages of a sequence. */
static size_t pages_of(const scene *s, size_t b) {
    const size_t coded = scene_coded(s, b);
    return coded <= s->code_first ? 0 : (coded - s->code_first - 1) / s->page_rows + 1;
}

static void shuffle(int32_t *x, size_t n) {
    for (size_t i = n; i > 1; i--) {
        const size_t j = below(i);
        const int32_t kept = x[i - 1];
        x[i - 1] = x[j], x[j] = kept;
    }
}

/* Pages that are full of codes. */
static size_t whole_pages(const scene *s, size_t b) {
    const size_t coded = scene_coded(s, b);
    return coded <= s->code_first ? 0 : (coded - s->code_first) / s->page_rows;
}

/* Pages that all sequences that have some have in common. */
static size_t count_shared(const scene *s) {
    size_t least = s->shared ? SIZE_MAX : 0;
    for (size_t b = 0; b < s->n_sequences; b++)
        if (whole_pages(s, b) > 0 && whole_pages(s, b) < least) least = whole_pages(s, b);
    return least == SIZE_MAX || whole_pages(s, 0) == 0 ? 0 : least;
}

/* Block tables in any order; what is not used is a page that is NaN, the last one. */
static void make_tables(scene *s) {
    size_t total = 0, most = 0;
    for (size_t b = 0; b < s->n_sequences; b++) {
        const size_t n = pages_of(s, b);
        total += n;
        most = n > most ? n : most;
    }
    s->n_pages = s->n_sequences;
    if (!s->paged) return;
    s->n_shared = count_shared(s);
    s->n_pages = total + 3;
    s->table_stride = most + 1 + below(3);
    s->table = host(s->n_sequences * s->table_stride * sizeof *s->table);
    int32_t *order = host(s->n_pages * sizeof *order);
    for (size_t i = 0; i < s->n_pages; i++)
        order[i] = (int32_t)i;
    shuffle(order, s->n_pages - 1);
    for (size_t b = 0, next_page = 0; b < s->n_sequences; b++)
        for (size_t i = 0; i < s->table_stride; i++) {
            const bool in = i < pages_of(s, b);
            const bool common = b > 0 && i < s->n_shared && i < whole_pages(s, b);
            s->table[b * s->table_stride + i] =
                common ? s->table[i] : order[in ? next_page++ : s->n_pages - 1];
        }
    free(order);
}

static void make_centres(scene *s) {
    const size_t width = heads_of(s) * s->config.layer.head_dim;
    size_t most = 1;
    for (size_t b = 0; b < s->n_sequences; b++)
        if (s->stretch > 0 && s->lengths[b] > 0 && (s->lengths[b] - 1) / s->stretch + 1 > most)
            most = (s->lengths[b] - 1) / s->stretch + 1;
    s->centre_table_stride = most + (s->stretch > 0 ? below(2) : 0);
    s->n_centres = s->stretch == 0 ? 1 : s->n_sequences * s->centre_table_stride;
    s->centres = host(s->n_centres * width * sizeof *s->centres);
    s->centre_table = host(s->n_sequences * s->centre_table_stride * sizeof *s->centre_table);
    float *wide = host(width * sizeof *wide);
    for (size_t i = 0; i < s->n_centres; i++) {
        normals(wide, width, 1.5f);
        succeed(tq_round_centre(wide, s->centres + i * width, width));
    }
    free(wide);
    for (size_t i = 0; i < s->n_centres && s->stretch > 0; i++)
        s->centre_table[i] = (int32_t)i;
    if (s->stretch > 0) shuffle(s->centre_table, s->n_centres);
}

/* Of a position of a sequence, [G][D]. */
static const uint16_t *centre_at(const scene *s, size_t b, size_t position) {
    const size_t j = s->stretch == 0 ? 0 : position / s->stretch;
    const int32_t number = s->stretch == 0 ? 0 : s->centre_table[b * s->centre_table_stride + j];
    return s->centres + (size_t)number * heads_of(s) * s->config.layer.head_dim;
}

static void make_queries(scene *s) {
    const tq_attention_config *c = &s->config.layer;
    const size_t H = c->n_heads, D = c->head_dim, tokens = scene_tokens(s);
    const size_t head = s->q_head == 0 ? D : s->q_head, token = s->q_token == 0 ? H * head : s->q_token;
    const float spread = s->spread == 0.0f ? 1.0f : s->spread;
    s->n_q = (tokens - 1) * token + (H - 1) * head + D;
    s->n_out = (tokens - 1) * (s->out_token == 0 ? H * c->v_head_dim : s->out_token) +
               (H - 1) * (s->out_head == 0 ? c->v_head_dim : s->out_head) + c->v_head_dim;
    s->q = host(tokens * H * D * sizeof *s->q);
    s->q_image = host((s->q_lead + s->n_q) * type_size(c->q_type));
    for (size_t r = 0; r < tokens * H; r++) {
        const float size = spread / (fabsf(c->scale) * sqrtf((float)D));
        const size_t b = r / H / s->n_queries, last = s->lengths[b] > 0 ? s->lengths[b] - 1 : 0;
        const uint16_t *centre = s->along ? centre_at(s, b, last) + r % H / (H / heads_of(s)) * D : NULL;
        normals(s->q + r * D, D, size * (s->along ? 0.1f : 1.0f));
        for (size_t d = 0; d < D; d++) {
            if (s->along) s->q[r * D + d] += size * from_f16(centre[d]);
            const size_t at = s->q_lead + r / H * token + r % H * head + d;
            put(c->q_type, s->q_image, at, s->q[r * D + d]);
            s->q[r * D + d] = get(c->q_type, s->q_image, at);
        }
    }
}

static void make_extras(scene *s) {
    const size_t H = s->config.layer.n_heads, rows = scene_tokens(s), words = (s->n_tree + 63) / 64;
    s->sink_logits = host(H * sizeof(float)), s->slope_values = host(H * sizeof(float));
    s->tree = host((rows * words + 1) * sizeof *s->tree);
    normals(s->sink_logits, H, 2.0f);
    for (size_t h = 0; h < H; h++)
        s->slope_values[h] = (s->slope_size == 0.0f ? 0.5f : s->slope_size) / (float)(1 + h);
    for (size_t i = 0; i < rows * words; i++)
        s->tree[i] = ((uint64_t)next() << 32 | next()) & (chance(30) ? (uint64_t)next() << 20 : ~0ull);
    for (size_t i = 0; i < rows && s->n_tree > 0; i++) { /* as a rule a query sees itself */
        const size_t behind = s->n_queries - i % s->n_queries;
        if (behind > s->n_tree || chance(15)) continue;
        const size_t bit = s->n_tree - behind;
        s->tree[i * words + bit / 64] |= 1ull << bit % 64;
    }
}

/* A position's vectors of all heads lie dim apart by T rows. */
static void scale_row(const scene *s, float *raw, size_t T, size_t dim, size_t t, float by) {
    for (size_t g = 0; g < heads_of(s); g++)
        for (size_t d = 0; d < dim; d++)
            raw[(g * T + t) * dim + d] *= by;
}

/* Values as long as their weight is small, for the first head and the last query. */
static float against(const scene *s, const float *k, size_t T, size_t t) {
    const size_t D = s->config.layer.head_dim, H = s->config.layer.n_heads;
    const float *q = s->q + (s->n_queries - 1) * H * D;
    double score = 0;
    (void)T;
    for (size_t d = 0; d < D; d++)
        score += (double)q[d] * (double)k[t * D + d];
    return (float)fmax(1e-3, fmin(2e3, exp(-score * (double)s->config.layer.scale)));
}

static void draw(const scene *s, size_t b, float *k, float *v) {
    const size_t T = s->lengths[b], G = heads_of(s), D = s->k.dim, E = s->v.dim;
    for (size_t i = 0; i < G * T; i++) {
        normals(k + i * D, D, 1.0f);
        normals(v + i * E, E, 1.0f);
    }
    for (size_t t = 0; t < T; t++) {
        const double power = ((double)below(1001) / 1000 - 0.5) * s->v_decades;
        if (s->v_decades > 0) scale_row(s, v, T, E, t, (float)pow(10, power));
        if (s->against && b == 0) scale_row(s, v, T, E, t, against(s, k, T, t));
        for (size_t i = 0; i < G * D && s->centre; i++)
            k[(i / D * T + t) * D + i % D] += from_f16(centre_at(s, b, t)[i]);
    }
}

/* The beginning that sequences have in common. */
static void share(const scene *s, size_t b, float *raw, const float *first, size_t dim) {
    const size_t T = s->lengths[b], from = s->lengths[0];
    const size_t n = s->n_shared == 0 ? 0 : s->code_first + s->n_shared * s->page_rows;
    for (size_t g = 0; g < heads_of(s) && n <= T && n <= from; g++)
        memcpy(raw + g * T * dim, first + g * from * dim, n * dim * sizeof *raw);
}

/* Sequence b's centres in the order of its positions, [stretches][G][D]. */
static uint16_t *gather_centres(const scene *s, size_t b, size_t *n) {
    const size_t width = heads_of(s) * s->k.dim, T = s->lengths[b];
    const size_t stretches = s->stretch == 0 ? 1 : (T - 1) / s->stretch + 1;
    uint16_t *all = host(stretches * width * sizeof *all);
    for (size_t j = 0; j < stretches; j++)
        memcpy(all + j * width, centre_at(s, b, j * s->stretch), width * sizeof *all);
    *n = stretches * width;
    return all;
}

static void mark_norms(const scene *s, const side *x, size_t b, uint8_t *norms) {
    const size_t T = s->lengths[b];
    for (size_t i = 0; i < s->n_marks; i++)
        for (size_t g = 0; g < heads_of(s); g++) {
            const mark *m = &s->marks[i];
            if (m->sequence != b || m->value != (x == &s->v) || m->position >= T ||
                (m->head >= 0 && (size_t)m->head != g))
                continue;
            uint8_t *at = norms + (g * T + m->position) * x->norm_bytes;
            const uint16_t half = to_f16(m->number);
            if (x->norm_bytes == 2) memcpy(at, &half, 2);
            for (size_t j = 0; j < x->norm_bytes / 4; j++)
                memcpy(at + 4 * j, &m->number, 4);
        }
}

static uint16_t marked(const scene *s, const side *x, size_t b, size_t g, size_t t, size_t d,
                       uint16_t half) {
    for (size_t i = 0; i < s->n_marks; i++) {
        const mark *m = &s->marks[i];
        if (m->sequence == b && m->value == (x == &s->v) && m->position == t &&
            (m->head < 0 || (size_t)m->head == g) && d == t % x->dim)
            return to_f16(m->number);
    }
    return half;
}

/* A vector in float16, where it belongs and as it then is. */
static void place_dense(const scene *s, side *x, size_t b, size_t g, size_t t, float *values) {
    const bool sink = t < s->n_sinks;
    const dense *to = sink ? &x->sinks : &x->recent;
    uint16_t *at = to->data + (size_t)s->dense_rows[b] * to->sequence + g * to->head +
                   (sink ? t : t % s->recent_capacity) * to->row;
    for (size_t d = 0; d < x->dim; d++) {
        at[d] = marked(s, x, b, g, t, d, to_f16(values[d]));
        values[d] = from_f16(at[d]);
    }
}

static void place_codes(const scene *s, side *x, size_t b, size_t g, size_t t, const uint8_t *codes,
                        const uint8_t *norms) {
    const size_t slot = t - s->code_first, r = slot % s->page_rows, at = g * s->lengths[b] + t;
    const size_t page = s->paged ? (size_t)s->table[b * s->table_stride + slot / s->page_rows] : b;
    memcpy(x->codes + page * x->page + g * x->head + r * x->row, codes + at * x->code_bytes,
           x->code_bytes);
    memcpy(x->norms + page * x->norm_page + g * x->norm_head + r * x->norm_row,
           norms + at * x->norm_bytes, x->norm_bytes);
}

/* Lengths that bounds are made of; of what is not finite NaN. */
static double length_of(const scene *s, const side *x, size_t b, size_t g, size_t t, bool coded) {
    const float *values = x->values[b] + (g * s->lengths[b] + t) * x->dim;
    double square = 0, centre = 0;
    for (size_t d = 0; d < x->dim; d++)
        square += (double)values[d] * (double)values[d];
    for (size_t d = 0; d < x->dim && coded && s->centre && x == &s->k; d++) {
        const double c = (double)from_f16(centre_at(s, b, t)[g * x->dim + d]);
        centre += c * c;
    }
    return isfinite(square) ? sqrt(square) + 2 * sqrt(centre) : (double)NAN;
}

static void place(scene *s, side *x, size_t b, const float *raw, const uint8_t *codes,
                  const uint8_t *norms) {
    const size_t T = s->lengths[b], coded = scene_coded(s, b);
    x->length[b] = host(heads_of(s) * T * sizeof(double));
    for (size_t g = 0; g < heads_of(s); g++)
        for (size_t t = 0; t < T; t++) {
            float *values = x->values[b] + (g * T + t) * x->dim;
            const bool is_coded = t >= s->n_sinks && t < coded;
            if (is_coded && t >= s->code_first)
                place_codes(s, x, b, g, t, codes, norms);
            else if (!is_coded) {
                memcpy(values, raw + (g * T + t) * x->dim, x->dim * sizeof *values);
                place_dense(s, x, b, g, t, values);
            }
            x->length[b][g * T + t] = length_of(s, x, b, g, t, is_coded);
        }
}

/* Encodes all positions of a sequence, whether or not they will be codes. */
static void encode(scene *s, side *x, size_t b, const float *raw) {
    const size_t T = s->lengths[b], G = heads_of(s), n = G * T;
    const bool centred = s->centre && x == &s->k && T > 0;
    const tq_batch batch = {.heads = G, .rows = T, .centre_stretch = s->stretch};
    uint8_t *codes = host(n * x->code_bytes), *norms = host(n * x->norm_bytes);
    size_t n_centre = 0;
    uint16_t *centre = centred ? gather_centres(s, b, &n_centre) : NULL;
    succeed(tq_encode(&x->codec, &batch, raw, n * x->dim, centre, n_centre, codes, n * x->code_bytes,
                      norms, n * x->norm_bytes));
    for (size_t i = 0; i < n * x->code_bytes && s->random_codes; i++)
        codes[i] = (uint8_t)next();
    mark_norms(s, x, b, norms);
    x->values[b] = host(n * x->dim * sizeof(float));
    succeed(tq_decode(&x->codec, &batch, s->config.layer.domain, codes, n * x->code_bytes, norms,
                      n * x->norm_bytes, centre, n_centre, x->values[b], n * x->dim));
    place(s, x, b, raw, codes, norms);
    free(centre), free(codes), free(norms);
}

static void make_sequences(scene *s) {
    const size_t G = heads_of(s);
    float *first_k = NULL, *first_v = NULL;
    for (size_t b = 0; b < s->n_sequences; b++) {
        const size_t n = G * s->lengths[b];
        float *k = host(n * s->k.dim * sizeof *k), *v = host(n * s->v.dim * sizeof *v);
        draw(s, b, k, v);
        if (b == 0) first_k = k, first_v = v;
        if (b > 0 && s->n_shared > 0)
            share(s, b, k, first_k, s->k.dim), share(s, b, v, first_v, s->v.dim);
        encode(s, &s->k, b, k), encode(s, &s->v, b, v);
        if (b > 0) free(k), free(v);
    }
    free(first_k), free(first_v);
}

void scene_build(scene *s) {
    tq_attention_config *c = &s->config.layer;
    if (c->v_head_dim == 0) c->v_head_dim = c->head_dim;
    memcpy(s->room, s->lengths, sizeof s->room);
    make_tables(s);
    make_side(s, &s->k, c->k_format, c->head_dim);
    make_side(s, &s->v, c->v_format, c->v_head_dim);
    if (s->centre) make_centres(s);
    s->n_dense_rows = s->n_sequences + (s->permuted_dense ? 2 : 0);
    int32_t order[MOST_SEQUENCES + 2];
    for (size_t i = 0; i < s->n_dense_rows; i++)
        order[i] = (int32_t)i;
    if (s->permuted_dense) shuffle(order, s->n_dense_rows);
    memcpy(s->dense_rows, order, sizeof s->dense_rows);
    for (int i = 0; i < 2; i++) {
        side *x = i == 0 ? &s->k : &s->v;
        if (s->n_sinks > 0) x->sinks = make_dense(s, s->n_sinks, x->dim);
        if (s->recent_capacity > 0) x->recent = make_dense(s, s->recent_capacity, x->dim);
    }
    make_queries(s);
    make_extras(s);
    make_sequences(s);
}

static void side_free(const scene *s, side *x) {
    free(x->codes);
    if (s->layout != RECORDS) free(x->norms);
    free(x->sinks.data), free(x->recent.data);
    for (size_t b = 0; b < s->n_sequences; b++)
        free(x->values[b]), free(x->length[b]);
}

void scene_free(scene *s) {
    side_free(s, &s->k), side_free(s, &s->v);
    free(s->table), free(s->centres), free(s->centre_table), free(s->q), free(s->q_image);
    free(s->sink_logits), free(s->slope_values), free(s->tree);
}

void scene_tell(const scene *s, char *line, size_t bytes) {
    static const char *const layouts[] = {"side by side", "gaps",           "positions outermost",
                                          "odd",          "odd, outermost", "records"};
    const tq_attention_config *c = &s->config.layer;
    const tq_cuda_attention_config *p = &s->config;
    int n =
        snprintf(line, bytes,
                 "%s %s: %s/%s D %u E %u H %u G %u, q type %d, out type %d, domain %d, scale %g, "
                 "softcap %g, bidirectional %d, window %llu, sink positions %llu, dense %d, any "
                 "layout %d; n %zu, %s pages of %zu, %s, code_first %zu, sinks %zu, recent %zu, "
                 "centre %d, stretch %zu, tree %zu, open %d, base2 %d, logits %d, slopes %d; lengths",
                 s->name, p->accuracy == TQ_CUDA_FAST ? "fast" : "exact", tq_format_name(c->k_format),
                 tq_format_name(c->v_format), c->head_dim, c->v_head_dim, c->n_heads, c->n_kv_heads,
                 (int)c->q_type, (int)c->out_type, (int)c->domain, (double)c->scale, (double)c->softcap,
                 c->bidirectional, (unsigned long long)c->window, (unsigned long long)c->sink_positions,
                 p->dense, p->any_layout, s->n_queries, s->paged ? "block tables," : "", s->page_rows,
                 layouts[s->layout], s->code_first, s->n_sinks, s->recent_capacity, s->centre, s->stretch,
                 s->n_tree, s->open, s->base2, s->logits, s->slopes);
    for (size_t b = 0; b < s->n_sequences && n > 0 && (size_t)n < bytes; b++)
        n += snprintf(line + n, bytes - (size_t)n, " %zu (%zu codes)", s->lengths[b], scene_coded(s, b));
}
