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
    void *k_norms, *v_norms; /* of a fault of scale */
    float *signs;            /* of a fault of signs */
} lab;

const char *cli_fault_name(cli_fault fault) {
    static const char *const names[] = {"none", "scale", "ring", "signs"};
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

static tq_view codes_view(const lab *l, const cli_ablate_side *s, const void *norms) {
    const size_t start = l->ring.ring_start + (l->in->fault == CLI_FAULT_RING ? 1 : 0);
    tq_view view = tq_encoded_view(&s->encoded);
    view.ring_start = start % l->ring.capacity;
    if (norms) view.norms = norms;
    return view;
}

/* A path whose views are still to come. */
static cli_path new_path(const lab *l, const char *name, const float *flat_k, const float *flat_v) {
    return (cli_path){
        .name = name,
        .params = l->in->params,
        .segment = {.length = l->ring.held, .first_position = l->ring.n_positions - l->ring.held},
        .q = l->in->q,
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
    TRY(ring_view(l, ring_k, path->params.domain, &path->segment.k));
    return ring_view(l, ring_v, path->params.domain, &path->segment.v);
}

/* A dense cache of rotated vectors. */
static int shadow_path(const lab *l, const float *ring_k, const float *ring_v, cli_path *path) {
    path->params.domain = TQ_ROTATED;
    path->k_codec = &l->k.codec;
    path->v_codec = &l->v.codec;
    return ring_views(l, ring_k, ring_v, path);
}

static int set_up(const lab *l, cli_path paths[CLI_N_PATHS]) {
    const cli_ablate_side *k = &l->k, *v = &l->v;
    paths[0] = new_path(l, "dense", k->flat_original, v->flat_original);
    TRY(ring_views(l, k->ring_original, v->ring_original, &paths[0]));
    paths[1] = new_path(l, "decoded", k->flat_decoded, v->flat_decoded);
    TRY(shadow_path(l, k->ring_decoded, v->ring_decoded, &paths[1]));
    paths[2] = new_path(l, "fused", k->flat_decoded, v->flat_decoded);
    paths[2].segment.k = codes_view(l, k, l->k_norms);
    paths[2].segment.v = codes_view(l, v, l->v_norms);
    paths[2].signs = l->signs;
    for (size_t b = 0; b < CLI_N_SNAPS; b++) {
        paths[3 + b] = new_path(l, snap_names[b], k->flat_snapped[b], v->flat_snapped[b]);
        TRY(shadow_path(l, k->ring_snapped[b], v->ring_snapped[b], &paths[3 + b]));
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

static int run_paths(const lab *l, cli_ablation *result) {
    cli_path paths[CLI_N_PATHS];
    cli_references references;
    const measure_exact original = exact_on(l, l->k.flat_original, l->v.flat_original);
    const measure_exact decoded = exact_on(l, l->k.flat_decoded, l->v.flat_decoded);
    TRY(set_up(l, paths));
    cli_progress_begin("ablating", (CLI_N_PATHS + 1) * (size_t)original.n_heads);
    int rc = cli_references_begin(&references, &original, &decoded);
    for (size_t i = 0; rc == CLI_DONE && i < CLI_N_PATHS; i++) {
        const measure_exact own = exact_on(l, paths[i].k, paths[i].v);
        rc = cli_measure_path(&references, &paths[i], &own, result, &result->rows[i]);
    }
    cli_progress_end();
    cli_references_end(&references);
    return rc;
}

static int build(lab *l) {
    const cli_ablate_input *in = l->in;
    const uint32_t dim = in->params.head_dim;
    const tq_codec k = {.format = in->k_format, .head_dim = dim, .scale_factor_d512 = 1.0f};
    const tq_codec v = {.format = in->v_format, .head_dim = dim, .scale_factor_d512 = 1.0f};
    TRY(cli_ablate_side_build(in->k_path, &in->k, &l->ring, &k, &l->k));
    TRY(cli_ablate_side_build(in->v_path, &in->v, &l->ring, &v, &l->v));
    return prepare_fault(l);
}

int cli_ablate(const cli_ablate_input *input, cli_ablation *result) {
    lab l = {.in = input};
    l.ring = cli_ring_plan(input->k.n_positions, input->params.n_queries, (size_t)input->params.window);
    *result = (cli_ablation){.n_heads = input->params.n_heads, .ring = l.ring};
    int rc = build(&l);
    if (rc == CLI_DONE) rc = run_paths(&l, result);
    cli_ablate_side_free(&l.k);
    cli_ablate_side_free(&l.v);
    free(l.k_norms);
    free(l.v_norms);
    free(l.signs);
    return rc;
}

void cli_ablation_free(cli_ablation *result) {
    for (size_t i = 0; i < CLI_N_PATHS; i++) {
        free(result->rows[i].head_mean);
        free(result->rows[i].head_p1);
        result->rows[i].head_mean = result->rows[i].head_p1 = NULL;
    }
}
