/* SPDX-License-Identifier: MIT
 * Encoded tensors and arrays as the library takes them: nothing is copied. */
#include "core.h"

enum { CODEC, CODES, NORMS, CENTRE, N_POSITIONS, RING_START, STRETCH, FIRST_POSITION, N_PARTS };

static int side_by_side(const core_array *a) {
    size_t n = 1;
    for (int i = 0; i < a->n_dims; i++)
        n *= a->shape[i];
    if (a->n == n) return 0;
    core_refuse(TQ_E_STRIDE, 0, a->field, "%s does not lie side by side; copy it", a->field);
    return -1;
}

static int read_numbers(PyObject *parts, tq_encoded *t) {
    static const char *const names[] = {"n_positions", "ring_start", "centre_stretch", "first_position"};
    size_t *const to[] = {&t->n_positions, &t->ring_start, &t->centre_stretch, &t->first_position};
    for (int i = 0; i < 4; i++) {
        uint64_t n;
        if (core_size(PyTuple_GetItem(parts, N_POSITIONS + i), names[i], 0, &n) < 0) return -1;
        *to[i] = (size_t)n;
    }
    return 0;
}

int core_encoded_begin(PyObject *parts, core_encoded *e) {
    tq_encoded *t = &e->tensor;
    if (!PyTuple_Check(parts) || PyTuple_Size(parts) != N_PARTS) {
        PyErr_SetString(PyExc_TypeError, "an encoded tensor must be a tuple of its 8 parts");
        return -1;
    }
    PyObject *centre = PyTuple_GetItem(parts, CENTRE);
    if (core_codec(PyTuple_GetItem(parts, CODEC), &t->codec) < 0 ||
        core_array_get(PyTuple_GetItem(parts, CODES), &e->codes, "codes", CORE_BIT(CORE_U8), false, 3,
                       3) < 0 ||
        core_array_get(PyTuple_GetItem(parts, NORMS), &e->norms, "norms",
                       CORE_BIT(CORE_F16) | CORE_BIT(CORE_F32), false, 2, 3) < 0 ||
        core_centre(centre != Py_None ? centre : NULL, &e->centre) < 0 || side_by_side(&e->codes) < 0 ||
        side_by_side(&e->norms) < 0 || read_numbers(parts, t) < 0)
        return -1;
    size_t code_bytes, norm_bytes;
    const tq_status status = tq_row_size(&t->codec, &code_bytes, &norm_bytes);
    if (status != TQ_OK) {
        core_raise(status);
        return -1;
    }
    t->n_kv_heads = e->codes.shape[0];
    t->capacity = e->codes.shape[1];
    t->codes = e->codes.data;
    t->n_codes = e->codes.n;
    t->norms = e->norms.data;
    t->n_norms = e->norms.n * e->norms.item;
    if (core_array_expect(&e->codes, 2, code_bytes, "a row of codes, in bytes,") < 0) return -1;
    if (t->n_norms != t->n_kv_heads * t->capacity * norm_bytes || t->n_positions > t->capacity ||
        (t->ring_start != 0 && t->ring_start >= t->capacity)) {
        core_refuse(TQ_E_SIZE, t->n_norms, "norms", "norms, positions and codes contradict each other");
        return -1;
    }
    if (e->centre.data == NULL) return 0;
    t->centre = e->centre.data;
    t->n_centres = e->centre.shape[0];
    return core_array_expect(&e->centre, 1, t->n_kv_heads, "the number of heads") < 0 ||
                   core_array_expect(&e->centre, 2, t->codec.head_dim, "the head_dim") < 0
               ? -1
               : 0;
}

void core_encoded_end(core_encoded *e) {
    core_array_release(&e->codes);
    core_array_release(&e->norms);
    core_array_release(&e->centre);
}

static int view_of_codes(PyObject *parts, core_view *v, const char *field, bool is_key) {
    if (core_encoded_begin(parts, &v->encoded) < 0) return -1;
    const tq_encoded *t = &v->encoded.tensor;
    if (t->centre != NULL && !is_key) {
        core_refuse(TQ_E_FORMAT, 0, field, "%s has a centre, which attention takes of keys alone", field);
        return -1;
    }
    v->view = tq_encoded_view(t);
    if (t->centre != NULL) {
        v->view.centre = t->centre;
        v->view.n_centres = t->n_centres;
        v->view.centre_stretch = t->centre_stretch;
    }
    v->heads = t->n_kv_heads;
    v->length = t->n_positions;
    v->first = t->centre_stretch != 0 ? t->first_position : 0;
    return 0;
}

int core_view_begin(PyObject *o, core_view *v, const char *field, bool is_key) {
    if (PyTuple_Check(o)) return view_of_codes(o, v, field, is_key);
    if (core_array_get(o, &v->dense, field, CORE_FLOATS, false, 3, 3) < 0) return -1;
    static const tq_store stores[] = {
        [CORE_F32] = TQ_STORE_F32, [CORE_F16] = TQ_STORE_F16, [CORE_BF16] = TQ_STORE_BF16};
    const core_array *a = &v->dense;
    if (a->shape[1] == 0 || a->shape[2] > 1024) {
        core_refuse(a->shape[1] == 0 ? TQ_E_POSITION : TQ_E_HEAD_DIM, a->shape[2], field,
                    "%s has %zu positions of %zu values: there must be some, of at most 1024", field,
                    a->shape[1], a->shape[2]);
        return -1;
    }
    v->heads = a->shape[0];
    v->length = a->shape[1];
    v->view = (tq_view){.store = stores[a->kind],
                        .codec = {.head_dim = (uint32_t)a->shape[2]},
                        .data = a->data,
                        .data_bytes = a->n * a->item,
                        .capacity = a->shape[1],
                        .row_stride = a->stride[1] * a->item,
                        .head_stride = a->stride[0] * a->item};
    return 0;
}

void core_view_end(core_view *v) {
    core_encoded_end(&v->encoded);
    core_array_release(&v->dense);
}
