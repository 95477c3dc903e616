/* SPDX-License-Identifier: MIT
 * An ablation's paths: set up on the same caches, run, and measured. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ablate/ablate.h"
#include "base/encoding.h"
#include "base/message.h"
#include "base/progress.h"

static const char *const snap_names[CLI_N_SNAPS] = {"requantised 5", "requantised 6", "requantised 8"};

/* Everything the paths share, and what a fault replaces for the fused one. */
typedef struct lab {
    const cli_ablate_input *in;
    cli_ring ring;
    cli_ablate_side k, v;
    bool ages;              /* some positions are young, or have a centre */
    tq_cache_config config; /* then: of the cache */
    cli_cache cache;
    cli_ageing by_views, by_cache;
    cli_there there;         /* of the fused path on a device */
    size_t *lengths;         /* [n] positions that each query finds */
    size_t *young_from;      /* [n] */
    void *k_norms, *v_norms; /* of a fault of scale */
    float *signs;            /* of a fault of signs */
} lab;

const char *cli_fault_name(cli_fault fault) {
    static const char *const names[] = {"none", "scale", "ring", "signs", "centre"};
    return names[fault];
}

/* The reference file's mistake: norms times sqrt(512), as the format keeps them. To be freed. */
static tq_status scaled_norms(const cli_ablate_side *side, void **out) {
    const bool v1 = TQ_IS_V1(side->codec.format);
    const size_t n = side->encoded.n_norms / (v1 ? sizeof(float) : sizeof(uint16_t));
    const float *floats = side->encoded.norms;
    const uint16_t *halves = side->encoded.norms;
    float *norms = cli_new_floats(n, 1, 1);
    *out = norms;
    if (!norms) return TQ_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        norms[i] = (float)((double)(v1 ? floats[i] : cli_half(halves[i])) * sqrt(512.0));
    if (v1) return TQ_OK;
    *out = calloc(n + 1, sizeof(uint16_t));
    const tq_status status = *out ? tq_round_centre(norms, *out, n) : TQ_E_NO_MEMORY;
    free(norms);
    return status;
}

/* The sign table of a rotation: every entry of the first row of what follows the signs is positive. */
static float *sign_table(const tq_codec *codec) {
    const size_t dim = codec->head_dim;
    float *signs = cli_new_floats(dim, 1, 1), *axis = cli_new_floats(dim, 1, 1);
    tq_status status = signs && axis ? TQ_OK : TQ_E_NO_MEMORY;
    for (size_t j = 0; status == TQ_OK && j < dim; j++) {
        memset(axis, 0, dim * sizeof *axis);
        axis[j] = 1.0f;
        status = tq_rotate(codec, TQ_ROTATED, 1, axis, axis);
        signs[j] = axis[0] < 0.0f ? -1.0f : 1.0f;
    }
    free(axis);
    if (status != TQ_OK) {
        free(signs);
        return NULL;
    }
    return signs;
}

static int prepare_fault(lab *l) {
    bool there = true;
    if (l->in->fault == CLI_FAULT_SCALE) {
        TRY(cli_check("--fault scale", scaled_norms(&l->k, &l->k_norms)));
        TRY(cli_check("--fault scale", scaled_norms(&l->v, &l->v_norms)));
    } else if (l->in->fault == CLI_FAULT_SIGNS) {
        l->signs = sign_table(&l->k.codec);
        there = l->signs != NULL;
    }
    return there ? CLI_DONE : cli_out_of_memory();
}

static size_t ring_start(const lab *l) {
    return (l->ring.ring_start + (l->in->fault == CLI_FAULT_RING ? 1 : 0)) % l->ring.capacity;
}

static tq_view codes_view(const lab *l, const cli_ablate_side *s, const void *norms) {
    tq_view view = tq_encoded_view(&s->encoded);
    view.ring_start = ring_start(l);
    if (norms) view.norms = norms;
    return view;
}

/* A ring's positions count on from the first one written, as they do in a ring that is a model's. */
static tq_encoded codes_there(const lab *l, const cli_ablate_side *s, void *norms) {
    tq_encoded e = s->encoded;
    if (norms) e.norms = norms;
    if (l->ages) return e;
    e.ring_start = ring_start(l);
    e.n_positions = l->ring.held;
    e.first_position = l->ring.written - l->ring.held;
    return e;
}

/* What a query finds that attends by itself, or all of them. */
static void age_there(const lab *l, cli_there *there) {
    const tq_attention_params *p = &l->in->params;
    cli_device_cache *c = &there->cache;
    there->young_from_end = cli_encoded_end(&l->config, l->ring.n_positions);
    c->k_young = l->k.flat_young;
    c->v_young = l->v.flat_young;
    c->n_sinks = l->config.sinks;
    c->n_sequences = p->bidirectional && p->window != 0 ? 1 : p->n_queries;
    c->lengths = l->lengths;
    c->young_from = l->young_from;
    if (l->in->fault != CLI_FAULT_CENTRE) return;
    there->k.centre = NULL;
    there->k.n_centres = there->k.centre_stretch = 0;
}

static void set_up_there(lab *l, cli_path *fused) {
    cli_there *there = &l->there;
    *there = (cli_there){.device = l->in->device,
                         .exact = l->in->exact,
                         .k = codes_there(l, &l->k, l->k_norms),
                         .v = codes_there(l, &l->v, l->v_norms),
                         .cache = {.k = &there->k, .v = &there->v}};
    if (l->ages) age_there(l, there);
    fused->there = there;
}

/* A path whose views are still to come. */
static cli_path new_path(const lab *l, const char *name, size_t truth, const float *flat_k,
                         const float *flat_v) {
    return (cli_path){
        .name = name,
        .truth = truth,
        .params = l->in->params,
        .q = l->in->q,
        .first = l->ring.n_positions - l->ring.held,
        .length = l->ring.held,
        .n_segments = 1,
        .segments = {{.length = l->ring.held, .first_position = l->ring.n_positions - l->ring.held}},
        .k = flat_k,
        .v = flat_v,
    };
}

static int ring_view(const lab *l, const float *slots, tq_domain domain, tq_view *view) {
    const tq_attention_params *p = &l->in->params;
    const size_t n = p->n_kv_heads * l->ring.capacity * p->head_dim;
    TRY(cli_check(NULL,
                  tq_view_dense(view, TQ_F32, p->head_dim, p->n_kv_heads, l->ring.capacity, slots, n)));
    view->ring_start = l->ring.ring_start;
    view->domain = domain;
    return CLI_DONE;
}

static int ring_views(const lab *l, const float *ring_k, const float *ring_v, cli_path *path) {
    TRY(ring_view(l, ring_k, path->params.domain, &path->segments[0].k));
    return ring_view(l, ring_v, path->params.domain, &path->segments[0].v);
}

/* A dense cache of rotated vectors. */
static int shadow_path(const lab *l, const float *ring_k, const float *ring_v, cli_path *path) {
    path->params.domain = TQ_ROTATED;
    path->k_codec = &l->k.codec;
    path->v_codec = &l->v.codec;
    return ring_views(l, ring_k, ring_v, path);
}

/* Codes as a cache of the same configuration has them in the end, which has aged with each query. */
static int cache_path(lab *l, cli_path *path) {
    const cli_ablate_input *in = l->in;
    TRY(cli_check(in->k_path, cli_cache_create(&l->cache, &l->config, &in->k, &in->v)));
    l->by_cache = (cli_ageing){
        .config = &l->config, .cache = &l->cache, .lacks_centre = in->fault == CLI_FAULT_CENTRE};
    path->ageing = &l->by_cache;
    return CLI_DONE;
}

/* The same positions by views of rotated vectors. */
static int views_path(lab *l, cli_path *path) {
    const cli_ablate_side *k = &l->k, *v = &l->v;
    l->by_views = (cli_ageing){.config = &l->config};
    TRY(shadow_path(l, k->ring_young, v->ring_young, path));
    l->by_views.views[0] = path->segments[0];
    TRY(shadow_path(l, k->ring_decoded, v->ring_decoded, path));
    l->by_views.views[1] = path->segments[0];
    path->ageing = &l->by_views;
    return CLI_DONE;
}

static int set_up_ageing(lab *l, cli_path *decoded, cli_path *fused) {
    *decoded = new_path(l, "decoded", CLI_TRUTH_DECODED, l->k.flat_end, l->v.flat_end);
    *fused = new_path(l, "fused", CLI_TRUTH_DECODED, l->k.flat_end, l->v.flat_end);
    decoded->centre_length = fused->centre_length = l->k.centre_length;
    TRY(views_path(l, decoded));
    TRY(cache_path(l, fused));
    if (l->in->device) set_up_there(l, fused);
    return CLI_DONE;
}

static int set_up_codes(lab *l, cli_path *decoded, cli_path *fused) {
    const cli_ablate_side *k = &l->k, *v = &l->v;
    *decoded = new_path(l, "decoded", CLI_TRUTH_DECODED, k->flat_decoded, v->flat_decoded);
    TRY(shadow_path(l, k->ring_decoded, v->ring_decoded, decoded));
    *fused = new_path(l, "fused", CLI_TRUTH_DECODED, k->flat_decoded, v->flat_decoded);
    fused->segments[0].k = codes_view(l, k, l->k_norms);
    fused->segments[0].v = codes_view(l, v, l->v_norms);
    fused->signs = l->signs;
    if (l->in->device) set_up_there(l, fused);
    return CLI_DONE;
}

/* In the order of the table. */
static int set_up(lab *l, cli_path paths[CLI_MAX_PATHS], size_t *n) {
    const cli_ablate_side *k = &l->k, *v = &l->v;
    *n = 0;
    if (!l->in->brief) {
        paths[*n] = new_path(l, "dense", CLI_TRUTH_ORIGINAL, k->flat_original, v->flat_original);
        TRY(ring_views(l, l->ages ? k->flat_original : k->ring_original,
                       l->ages ? v->flat_original : v->ring_original, &paths[(*n)++]));
    }
    cli_path *decoded = &paths[(*n)++], *fused = &paths[(*n)++];
    if (l->ages) return set_up_ageing(l, decoded, fused);
    TRY(set_up_codes(l, decoded, fused));
    for (size_t b = 0; !l->in->brief && b < CLI_N_SNAPS; b++) {
        paths[*n] =
            new_path(l, snap_names[b], CLI_TRUTH_SNAPPED + b, k->flat_snapped[b], v->flat_snapped[b]);
        TRY(shadow_path(l, k->ring_snapped[b], v->ring_snapped[b], &paths[(*n)++]));
    }
    return CLI_DONE;
}

static measure_exact exact_on(const lab *l, const float *k, const float *v) {
    const tq_attention_params *p = &l->in->params;
    const size_t origin = l->ring.n_positions - l->ring.held;
    return (measure_exact){
        .n_heads = p->n_heads,
        .n_kv_heads = p->n_kv_heads,
        .head_dim = p->head_dim,
        .n_queries = p->n_queries,
        .n_positions = l->ring.held,
        .first_query = (size_t)p->query_end - p->n_queries - origin,
        .scale = (double)p->scale,
        .softcap = (double)p->softcap,
        .causal = !p->bidirectional,
        .window = (size_t)p->window,
        .q = l->in->q,
        .k = k,
        .v = v,
    };
}

/* On what a path with ageing holds, query by query; the other paths hold k and v alone. */
static measure_exact exact_of(const lab *l, const cli_path *path) {
    measure_exact x = exact_on(l, path->k, path->v);
    if (!path->ageing) return x;
    x.k = l->k.flat_decoded;
    x.v = l->v.flat_decoded;
    x.k_young = l->k.flat_young;
    x.v_young = l->v.flat_young;
    x.young_from = l->young_from;
    x.n_sinks = l->config.sinks;
    return x;
}

static int run_paths(lab *l, cli_ablation *result) {
    cli_path paths[CLI_MAX_PATHS];
    measure_exact truths[CLI_MAX_TRUTHS];
    size_t n_truths = CLI_TRUTH_DECODED + 1;
    TRY(set_up(l, paths, &result->n_rows));
    result->decoded = &result->rows[l->in->brief ? 0 : 1];
    result->fused = result->decoded + 1;
    truths[CLI_TRUTH_ORIGINAL] = exact_on(l, l->k.flat_original, l->v.flat_original);
    for (size_t i = 0; i < result->n_rows; i++) {
        if (paths[i].truth != CLI_TRUTH_ORIGINAL) truths[paths[i].truth] = exact_of(l, &paths[i]);
        if (paths[i].truth >= n_truths) n_truths = paths[i].truth + 1;
    }
    cli_progress_begin("ablating", cli_n_blocks(truths));
    const int rc = cli_measure_paths(truths, n_truths, &l->in->threads, paths, result);
    cli_progress_end();
    return rc;
}

/* Codes and norms alone, of both sides. A cache that a device stood in for is still to be filled. */
static tq_status count_bits(lab *l, double *bits) {
    size_t codes[2], norms[2];
    if (l->ages) TRY_STATUS(cli_cache_grow(&l->cache, l->ring.n_positions));
    if (l->ages) return cli_cache_bits(&l->cache, bits);
    TRY_STATUS(tq_row_size(&l->k.codec, &codes[0], &norms[0]));
    TRY_STATUS(tq_row_size(&l->v.codec, &codes[1], &norms[1]));
    *bits = 4.0 * (double)(codes[0] + norms[0] + codes[1] + norms[1]) / (double)l->k.codec.head_dim;
    return TQ_OK;
}

/* Where each query finds young positions. One that sees all finds what there is in the end. */
static int find_borders(lab *l) {
    const tq_attention_params *p = &l->in->params;
    l->lengths = calloc(p->n_queries, sizeof *l->lengths);
    l->young_from = calloc(p->n_queries, sizeof *l->young_from);
    if (!l->lengths || !l->young_from) return cli_out_of_memory();
    for (size_t i = 0; i < p->n_queries; i++) {
        l->lengths[i] =
            p->bidirectional ? l->ring.n_positions : (size_t)p->query_end - p->n_queries + i + 1;
        l->young_from[i] = cli_encoded_end(&l->config, l->lengths[i]);
    }
    return CLI_DONE;
}

static int build(lab *l) {
    const cli_ablate_input *in = l->in;
    tq_codec k = in->way->config.layer.k, v = in->way->config.layer.v;
    k.head_dim = v.head_dim = in->params.head_dim;
    if (l->ages) {
        TRY(cli_aged_side_build(in->k_path, &in->k, &l->config, true, in->device, &l->k));
        TRY(cli_aged_side_build(in->v_path, &in->v, &l->config, false, in->device, &l->v));
        return find_borders(l);
    }
    TRY(cli_ablate_side_build(in->k_path, &in->k, &l->ring, &k, in->device, &l->k));
    TRY(cli_ablate_side_build(in->v_path, &in->v, &l->ring, &v, in->device, &l->v));
    return prepare_fault(l);
}

int cli_ablate(const cli_ablate_input *input, cli_ablation *result) {
    const size_t window = (size_t)input->params.window;
    lab l = {.in = input, .ages = cli_way_ages(&input->way->config)};
    l.config = cli_fit_config(&input->way->config, &input->k, input->params.bidirectional ? 0 : window);
    l.config.parallel = input->params.parallel;
    l.ring = cli_ring_plan(input->k.n_positions, input->params.n_queries, l.ages ? 0 : window);
    *result = (cli_ablation){.n_heads = input->params.n_heads, .ring = l.ring};
    if (l.ages) cli_note_dense(input->way, &l.config, input->k.n_positions);
    int rc = build(&l);
    if (rc == CLI_DONE) rc = run_paths(&l, result);
    if (rc == CLI_DONE) rc = cli_check(NULL, count_bits(&l, &result->bits));
    cli_cache_free(&l.cache);
    cli_ablate_side_free(&l.k);
    cli_ablate_side_free(&l.v);
    free(l.lengths);
    free(l.young_from);
    free(l.k_norms);
    free(l.v_norms);
    free(l.signs);
    return rc;
}

void cli_ablation_free(cli_ablation *result) {
    for (size_t i = 0; i < CLI_MAX_PATHS; i++) {
        free(result->rows[i].head_mean);
        free(result->rows[i].head_p1);
        result->rows[i].head_mean = result->rows[i].head_p1 = NULL;
    }
}
