/* SPDX-License-Identifier: MIT
 * The type PagePool: pages that caches share. */
#include "core.h"

PyTypeObject *core_pool_type;

static void dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    tq_page_pool_destroy(((core_pool *)self)->pool); /* caches keep their pool: they are gone */
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

/* PagePool(n_kv_heads, k_dim, v_dim, name, n_pages, page_rows, k_store, v_store) */
static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *keywords) {
    unsigned heads, k_dim, v_dim;
    unsigned long long n_pages, page_rows;
    const char *name;
    int k_store, v_store;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "IIIsKKii", &heads, &k_dim, &v_dim, &name, &n_pages, &page_rows, &k_store,
                          &v_store))
        return NULL;
    tq_cache_config c = tq_cache_config_default(heads, k_dim, 1);
    tq_status status = tq_cache_config_from_name(name, &c);
    if (status != TQ_OK) return core_raise(status);
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    core_pool *p = (core_pool *)alloc(type, 0);
    if (p == NULL) return NULL;
    p->layer = c.layer;
    p->layer.v.head_dim = v_dim;
    p->layer.k_store = (tq_store)k_store;
    p->layer.v_store = (tq_store)v_store;
    const tq_page_pool_config config = {.size = sizeof config,
                                        .layer = p->layer,
                                        .n_pages = (size_t)n_pages,
                                        .page_rows = (size_t)page_rows};
    Py_BEGIN_ALLOW_THREADS status = tq_page_pool_create(&config, &p->pool);
    Py_END_ALLOW_THREADS if (status == TQ_OK) return (PyObject *)p;
    core_raise(status);
    Py_DECREF((PyObject *)p);
    return NULL;
}

static PyObject *free_pages(PyObject *self, void *none) {
    (void)none;
    return PyLong_FromSize_t(tq_page_pool_free_pages(((core_pool *)self)->pool));
}

static PyObject *nbytes(PyObject *self, void *none) {
    (void)none;
    return PyLong_FromSize_t(tq_page_pool_bytes(((core_pool *)self)->pool));
}

static PyGetSetDef properties[] = {{"free_pages", free_pages, NULL, "Pages that nobody uses.", NULL},
                                   {"nbytes", nbytes, NULL, "Bytes held.", NULL},
                                   {NULL, NULL, NULL, NULL, NULL}};

int core_pool_begin(PyObject *module) {
    PyType_Slot slots[] = {{Py_tp_new, (void *)new},
                           {Py_tp_dealloc, (void *)dealloc},
                           {Py_tp_getset, properties},
                           {0, NULL}};
    PyType_Spec spec = {"libtqkv._core.PagePool", sizeof(core_pool), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    core_pool_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return core_pool_type != NULL ? PyModule_AddObjectRef(module, "PagePool", (PyObject *)core_pool_type)
                                  : -1;
}
