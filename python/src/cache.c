/* SPDX-License-Identifier: MIT
 * The type Cache: made and taken away, and what it says of itself. */
#include <string.h>

#include "core.h"

PyTypeObject *core_cache_type;

/* Threads that attend one after the other leave no gap, and glibc's usual lock would let them go first
 * for ever. Nobody takes a cache's lock twice: attend_batch() refuses it. */
static void lock_begin(pthread_rwlock_t *lock) {
#ifdef __GLIBC__
    pthread_rwlockattr_t kind;
    if (pthread_rwlockattr_init(&kind) == 0) {
        (void)pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        const int failed = pthread_rwlock_init(lock, &kind);
        (void)pthread_rwlockattr_destroy(&kind);
        if (!failed) return;
    }
#endif
    pthread_rwlock_init(lock, NULL);
}

core_cache *core_cache_alloc(PyTypeObject *type, const core_cache *like) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    core_cache *c = (core_cache *)alloc(type, 0);
    if (c == NULL) return NULL;
    lock_begin(&c->lock);
    if (like != NULL) {
        c->pool = like->pool;
        Py_XINCREF(c->pool);
        c->layer = like->layer;
        c->window = like->window;
        c->sinks = like->sinks;
    }
    return c;
}

static void dealloc(PyObject *self) {
    core_cache *c = (core_cache *)self;
    PyTypeObject *type = Py_TYPE(self);
    tq_cache_destroy(c->cache);
    pthread_rwlock_destroy(&c->lock);
    Py_XDECREF(c->pool);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

int core_cache_kind(const char *name, uint32_t heads, uint32_t dim, uint64_t capacity,
                    tq_cache_config *c) {
    *c = tq_cache_config_default(heads, dim, (size_t)capacity);
    if (strcmp(name, "default") == 0) return 0;
    const tq_status status = tq_cache_config_from_name(name, c);
    if (status == TQ_OK) return 0;
    core_raise(status);
    return -1;
}

typedef struct arguments {
    unsigned heads, k_dim, v_dim;
    int policy, k_store, v_store;
    unsigned long long capacity, window;
    const char *name;
    PyObject *pool, *centre;
} arguments;

static int make(core_cache *c, const arguments *a) {
    tq_cache_config config;
    core_array centre = {0};
    tq_status status = TQ_OK;
    if (core_cache_kind(a->name, a->heads, a->k_dim, a->capacity, &config) < 0) return -1;
    config.policy = (tq_cache_policy)a->policy;
    config.layer.v.head_dim = a->v_dim;
    config.layer.k_store = (tq_store)a->k_store;
    config.layer.v_store = (tq_store)a->v_store;
    config.window = (size_t)a->window;
    config.parallel = core_parallel();
    if (a->pool != Py_None) {
        if (!PyObject_TypeCheck(a->pool, core_pool_type)) {
            PyErr_SetString(PyExc_TypeError, "pool must be a PagePool");
            return -1;
        }
        c->pool = a->pool;
        Py_INCREF(c->pool);
        config.pool = ((core_pool *)a->pool)->pool;
    }
    if (a->centre != Py_None) {
        if (core_array_get(a->centre, &centre, "k_centre", CORE_BIT(CORE_F32), false, 2, 2) < 0 ||
            core_array_expect(&centre, 0, a->heads, "n_kv_heads") < 0 ||
            core_array_expect(&centre, 1, a->k_dim, "head_dim") < 0) {
            core_array_release(&centre);
            return -1;
        }
        if (centre.n != (size_t)a->heads * a->k_dim) {
            core_array_release(&centre);
            core_refuse(TQ_E_STRIDE, 0, "k_centre", "k_centre does not lie side by side; copy it");
            return -1;
        }
        config.k_centre = centre.data;
        config.learn_centre = config.centre_stretch = 0;
    }
    Py_BEGIN_ALLOW_THREADS status = tq_cache_create(&config, &c->cache);
    Py_END_ALLOW_THREADS core_array_release(&centre);
    if (status != TQ_OK) {
        core_raise(status);
        return -1;
    }
    c->layer = config.layer;
    c->sinks = config.sinks;
    c->window = config.policy == TQ_CACHE_RING && config.window == 0 ? config.capacity : config.window;
    return 0;
}

/* Cache(n_kv_heads, k_dim, v_dim, name, capacity, policy, window, k_store, v_store, pool, k_centre) */
static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *keywords) {
    arguments a = {0};
    (void)keywords; /* a subclass's: __init__() reads them */
    if (!PyArg_ParseTuple(args, "IIIsKiKiiOO", &a.heads, &a.k_dim, &a.v_dim, &a.name, &a.capacity,
                          &a.policy, &a.window, &a.k_store, &a.v_store, &a.pool, &a.centre))
        return NULL;
    core_cache *c = core_cache_alloc(type, NULL);
    if (c == NULL) return NULL;
    if (make(c, &a) == 0) return (PyObject *)c;
    Py_DECREF((PyObject *)c);
    return NULL;
}

/* The GIL is not waited for with the lock held, nor the other way round. */
static uint64_t ask(core_cache *c, uint64_t (*what)(const tq_cache *cache)) {
    uint64_t n;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
    n = what(c->cache);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS return n;
}

static PyObject *length(PyObject *self, void *none) {
    (void)none;
    return PyLong_FromUnsignedLongLong(ask((core_cache *)self, tq_cache_length));
}

static PyObject *first(PyObject *self, void *none) {
    (void)none;
    return PyLong_FromUnsignedLongLong(ask((core_cache *)self, tq_cache_first));
}

static PyObject *encoded_end(PyObject *self, void *none) {
    (void)none;
    return PyLong_FromUnsignedLongLong(ask((core_cache *)self, tq_cache_encoded_end));
}

static PyObject *bytes(PyObject *self, void *none) {
    (void)none;
    core_cache *c = (core_cache *)self;
    tq_cache_bytes b = {.size = sizeof b};
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
    (void)tq_cache_count_bytes(c->cache, &b); /* fails for what is NULL alone */
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS return Py_BuildValue(
        "{snsnsnsnsnsnsnsnsnsnsnsn}", "k_codes", b.k_codes, "k_norms", b.k_norms, "v_codes", b.v_codes,
        "v_norms", b.v_norms, "k_dense", b.k_dense, "v_dense", b.v_dense, "centre", b.centre, "table",
        b.table, "object", b.object, "held", b.held, "shared", b.shared, "used", b.used);
}

static PyObject *window(PyObject *self, void *none) {
    (void)none;
    return PyLong_FromSize_t(((core_cache *)self)->window);
}

static PyGetSetDef properties[] = {
    {"length", length, NULL, "Positions appended and not forgotten.", NULL},
    {"first", first, NULL, "The oldest position that is still there, sinks not counted.", NULL},
    {"encoded_end", encoded_end, NULL, "Positions below it are encoded or sinks.", NULL},
    {"bytes", bytes, NULL, "Bytes, part by part: a dict of tq_cache_bytes.", NULL},
    {"window", window, NULL, "Positions that a query is sure to look back on; 0: all.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

int core_cache_begin(PyObject *module) {
    PyType_Slot slots[] = {{Py_tp_new, (void *)new},
                           {Py_tp_dealloc, (void *)dealloc},
                           {Py_tp_methods, core_cache_methods},
                           {Py_tp_getset, properties},
                           {0, NULL}};
    PyType_Spec spec = {"libtqkv._core.Cache", sizeof(core_cache), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    core_cache_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return core_cache_type != NULL ? PyModule_AddObjectRef(module, "Cache", (PyObject *)core_cache_type)
                                   : -1;
}
