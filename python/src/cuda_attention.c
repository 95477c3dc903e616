/* SPDX-License-Identifier: MIT
 * Attention on codes of CUDA tensors: plans, which Python keeps, and runs. */
#include "cuda.h"

static const char plan_name[] = "libtqkv._core.cuda_plan";

static void forget_plan(PyObject *capsule) {
    core_cuda()->attention_free(PyCapsule_GetPointer(capsule, plan_name));
}

/* cuda_plan(device, (H, G, D, E), (k_format, v_format), (scale, softcap), (causal, window, sinks),
 * (sequences, queries, positions), (q_type, out_type), (any_layout, stretch, dense)) -> (plan, bytes of
 * workspace). It may compile for seconds. */
static PyObject *cuda_plan(PyObject *self, PyObject *args) {
    (void)self;
    int device, k_format, v_format, causal, q_type, out_type;
    unsigned heads, kv_heads, k_dim, v_dim;
    float scale, softcap;
    unsigned long long window, sinks, sequences, queries, positions, stretch;
    tq_cuda_attention_config c = {.size = sizeof c};
    tq_cuda_attention_info info = {0};
    tq_cuda_attention *plan = NULL;
    tq_status status;
    if (!PyArg_ParseTuple(args, "i(IIII)(ii)(ff)(pKK)(KKK)(ii)(pKp)", &device, &heads, &kv_heads, &k_dim,
                          &v_dim, &k_format, &v_format, &scale, &softcap, &causal, &window, &sinks,
                          &sequences, &queries, &positions, &q_type, &out_type, &c.any_layout, &stretch,
                          &c.dense))
        return NULL;
    tq_cuda *cuda = core_cuda_device(device);
    if (cuda == NULL) return NULL;
    c.centre_stretch = (size_t)stretch;
    c.layer = (tq_attention_config){.size = sizeof c.layer,
                                    .n_heads = heads,
                                    .n_kv_heads = kv_heads,
                                    .head_dim = k_dim,
                                    .v_head_dim = v_dim,
                                    .k_format = (tq_format)k_format,
                                    .v_format = (tq_format)v_format,
                                    .q_type = (tq_type)q_type,
                                    .out_type = (tq_type)out_type,
                                    .scale = scale,
                                    .softcap = softcap,
                                    .bidirectional = !causal,
                                    .window = window,
                                    .sink_positions = (size_t)sinks,
                                    .max_sequences = (size_t)sequences,
                                    .max_queries = (size_t)queries,
                                    .max_positions = (size_t)positions};
    Py_BEGIN_ALLOW_THREADS status = core_cuda_status(core_cuda()->attention_plan(cuda, &c, &plan, &info));
    Py_END_ALLOW_THREADS if (status != TQ_OK) return core_raise(status);
    PyObject *capsule = PyCapsule_New(plan, plan_name, forget_plan);
    if (capsule == NULL) {
        core_cuda()->attention_free(plan);
        return NULL;
    }
    return Py_BuildValue("Nn", capsule, (Py_ssize_t)info.workspace_bytes);
}

/* Keys or values: (codec, codes [P][G][R][..], norms [P][G][R]), and of keys a centre float16 [S][G][D]
 * or None. */
typedef struct side {
    core_array codes, norms, centre;
    tq_view view;
} side;

static int take_side(PyObject *tuple, side *s, const core_cuda_place *place) {
    tq_view *v = &s->view;
    PyObject *codec, *codes, *norms, *centre;
    unsigned long long stretch;
    if (!PyArg_ParseTuple(tuple, "OOOOK", &codec, &codes, &norms, &centre, &stretch) ||
        core_codec(codec, &v->codec) < 0 ||
        core_cuda_array(codes, &s->codes, "codes", CORE_BIT(CORE_U8), false, 4, 4, place) < 0 ||
        core_cuda_array(norms, &s->norms, "norms", CORE_BIT(CORE_F16) | CORE_BIT(CORE_F32), false, 3, 4,
                        place) < 0 ||
        core_cuda_packed(centre, &s->centre, "centre", CORE_BIT(CORE_F16), 3, place) < 0)
        return -1;
    v->store = TQ_STORE_CODES;
    v->data = s->codes.data, v->data_bytes = s->codes.n;
    v->norms = s->norms.data, v->n_norms = s->norms.n * s->norms.item;
    v->centre = s->centre.data, v->n_centres = s->centre.data != NULL ? s->centre.shape[0] : 0;
    v->centre_stretch = (size_t)stretch;
    v->pool_pages = s->codes.shape[0];
    v->capacity = v->page_rows = s->codes.shape[2];
    v->page_stride = s->codes.stride[0], v->head_stride = s->codes.stride[1],
    v->row_stride = s->codes.stride[2];
    v->norm_page_stride = s->norms.stride[0] * s->norms.item;
    v->norm_head_stride = s->norms.stride[1] * s->norms.item;
    v->norm_row_stride = s->norms.stride[2] * s->norms.item;
    return 0;
}

static void release_side(side *s) {
    core_array_release(&s->codes);
    core_array_release(&s->norms);
    core_array_release(&s->centre);
}

/* What a run has beside its codes. */
typedef struct run {
    core_array q, out, lse, sinks, slopes, lengths, tables, workspace;
    core_array coded, sink_k, sink_v, recent_k, recent_v;
} run;

static void release_run(run *r) {
    core_array *const all[] = {&r->q,       &r->out,      &r->lse,       &r->sinks, &r->slopes,
                               &r->lengths, &r->tables,   &r->workspace, &r->coded, &r->sink_k,
                               &r->sink_v,  &r->recent_k, &r->recent_v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        core_array_release(all[i]);
}

/* (encoded lengths int32 [B], sinks of k and v, recent ones), float16 [B][G][..][D], each or None; or
 * None in all. */
static int take_dense(PyObject *tuple, run *r, const core_cuda_place *place) {
    PyObject *coded, *given[4];
    if (tuple == Py_None) return 0;
    if (!PyArg_ParseTuple(tuple, "OOOOO", &coded, &given[0], &given[1], &given[2], &given[3]) ||
        core_cuda_packed(coded, &r->coded, "coded", CORE_BIT(CORE_I32), 1, place) < 0)
        return -1;
    core_array *const to[] = {&r->sink_k, &r->sink_v, &r->recent_k, &r->recent_v};
    static const char *const names[] = {"sink_k", "sink_v", "recent_k", "recent_v"};
    for (int i = 0; i < 4; i++)
        if (core_cuda_packed(given[i], to[i], names[i], CORE_BIT(CORE_F16), 4, place) < 0 ||
            (to[i]->data != NULL &&
             core_array_expect(to[i], 0, r->lengths.shape[0], "the number of sequences") < 0))
            return -1;
    if (r->coded.data != NULL)
        return core_array_expect(&r->coded, 0, r->lengths.shape[0], "the number of sequences");
    return 0;
}

static tq_cuda_dense dense_of(const core_array *a) {
    return (tq_cuda_dense){.data = a->data, .n = a->n};
}

static size_t rows_of(const core_array *a) {
    return a->data != NULL ? a->shape[2] : 0;
}

/* cuda_attend(place, plan, q, out, lse, k, v, n, lengths, tables, sinks, slopes, dense, workspace): q [B
 * n][H][D], out [B n][H][E], lse float32 [B n][H] or None, lengths int32 [B], tables int32 [B][stretches]
 * or None, sinks and slopes float32 [H] or None, workspace uint8. Nobody waits. */
static PyObject *cuda_attend(PyObject *self, PyObject *args) {
    (void)self;
    enum { PLACE, PLAN, Q, OUT, LSE, K, V, LENGTHS, TABLES, SINKS, SLOPES, DENSE, WORKSPACE, N };
    PyObject *a[N];
    unsigned long long n;
    core_cuda_place place;
    side k = {0}, v = {0};
    run r = {0};
    tq_status status = TQ_OK;
    if (!PyArg_ParseTuple(args, "OOOOOOOKOOOOOO", &a[PLACE], &a[PLAN], &a[Q], &a[OUT], &a[LSE], &a[K],
                          &a[V], &n, &a[LENGTHS], &a[TABLES], &a[SINKS], &a[SLOPES], &a[DENSE],
                          &a[WORKSPACE]))
        return NULL;
    const tq_cuda_attention *plan = PyCapsule_GetPointer(a[PLAN], plan_name);
    const unsigned f32 = CORE_BIT(CORE_F32), i32 = CORE_BIT(CORE_I32);
    const bool ready =
        plan != NULL && core_cuda_place_get(a[PLACE], &place) == 0 &&
        core_cuda_array(a[Q], &r.q, "q", CORE_FLOATS, false, 3, 3, &place) == 0 &&
        core_cuda_array(a[OUT], &r.out, "out", CORE_FLOATS, true, 3, 3, &place) == 0 &&
        take_side(a[K], &k, &place) == 0 && take_side(a[V], &v, &place) == 0 &&
        core_cuda_packed(a[LSE], &r.lse, "lse", f32, 2, &place) == 0 &&
        core_cuda_packed(a[LENGTHS], &r.lengths, "lengths", i32, 1, &place) == 0 &&
        core_cuda_packed(a[TABLES], &r.tables, "tables", i32, 2, &place) == 0 &&
        core_cuda_packed(a[SINKS], &r.sinks, "sinks", f32, 1, &place) == 0 &&
        core_cuda_packed(a[SLOPES], &r.slopes, "slopes", f32, 1, &place) == 0 &&
        take_dense(a[DENSE], &r, &place) == 0 &&
        core_cuda_packed(a[WORKSPACE], &r.workspace, "workspace", CORE_BIT(CORE_U8), 1, &place) == 0 &&
        core_array_expect(&r.q, 0, r.lengths.shape[0] * (size_t)n, "sequences times queries") == 0 &&
        core_array_expect(&r.out, 0, r.q.shape[0], "that of q") == 0 &&
        core_array_expect(&r.out, 1, r.q.shape[1], "that of q") == 0 &&
        (r.sinks.data == NULL ||
         core_array_expect(&r.sinks, 0, r.q.shape[1], "the number of query heads") == 0) &&
        (r.slopes.data == NULL ||
         core_array_expect(&r.slopes, 0, r.q.shape[1], "the number of query heads") == 0);
    if (ready) {
        const tq_cuda_attention_batch batch = {.size = sizeof batch,
                                               .n_sequences = r.lengths.shape[0],
                                               .n_queries = (size_t)n,
                                               .k = &k.view,
                                               .v = &v.view,
                                               .lengths = r.lengths.data,
                                               .centre_tables = r.tables.data,
                                               .centre_table_stride =
                                                   r.tables.data != NULL ? r.tables.shape[1] : 0,
                                               .coded_lengths = r.coded.data,
                                               .n_sinks = rows_of(&r.sink_k),
                                               .recent_capacity = rows_of(&r.recent_k),
                                               .sink_k = dense_of(&r.sink_k),
                                               .sink_v = dense_of(&r.sink_v),
                                               .recent_k = dense_of(&r.recent_k),
                                               .recent_v = dense_of(&r.recent_v),
                                               .q = r.q.data,
                                               .n_q = r.q.n,
                                               .q_token_stride = r.q.stride[0],
                                               .q_head_stride = r.q.stride[1],
                                               .out = r.out.data,
                                               .n_out = r.out.n,
                                               .out_token_stride = r.out.stride[0],
                                               .out_head_stride = r.out.stride[1],
                                               .lse = r.lse.data,
                                               .n_lse = r.lse.n,
                                               .sinks = r.sinks.data,
                                               .slopes = r.slopes.data};
        Py_BEGIN_ALLOW_THREADS status = core_cuda_status(
            core_cuda()->attention_run(plan, &batch, r.workspace.data, r.workspace.n, place.stream));
        Py_END_ALLOW_THREADS
    }
    release_run(&r);
    release_side(&k);
    release_side(&v);
    return core_done(ready, status);
}

PyMethodDef core_cuda_attention_methods[] = {{"cuda_plan", cuda_plan, METH_VARARGS, NULL},
                                             {"cuda_attend", cuda_attend, METH_VARARGS, NULL},
                                             {NULL, NULL, 0, NULL}};
