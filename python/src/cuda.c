/* SPDX-License-Identifier: MIT
 * libtqkv_cuda, a library of its own: it is opened by name where it is, and the package does without it
 * elsewhere. */
#include <dlfcn.h>
#include <string.h>

#include "cuda.h"

enum { MOST_DEVICES = 64 };

static core_cuda_library library;
static tq_cuda *devices[MOST_DEVICES];

static bool find(void *handle, const char *path) {
    core_cuda_library found;
    const char *missing = NULL;
    /* POSIX lets a function be kept as a void *, ISO C does not: its bytes are. */
#define CALL(name, result, parameters)                                                                   \
    *(void **)&found.name = dlsym(handle, "tq_cuda_" #name);                                             \
    if (found.name == NULL) missing = "tq_cuda_" #name;
    CORE_CUDA_CALLS(CALL)
#undef CALL
    *(void **)&found.last_error = dlsym(handle, "tq_last_error");
    if (found.last_error == NULL) missing = "tq_last_error";
    const char *(*version)(void);
    *(void **)&version = dlsym(handle, "tq_version");
    if (version == NULL) missing = "tq_version";
    if (missing != NULL) {
        core_refuse(TQ_E_DEVICE, 0, "library", "%s is no libtqkv_cuda of this version: it has no %s",
                    path, missing);
        return false;
    }
    if (strcmp(version(), tq_version()) != 0) {
        core_refuse(TQ_E_DEVICE, 0, "library", "%s is of version %s, this package of %s", path, version(),
                    tq_version());
        return false;
    }
    library = found;
    return true;
}

/* cuda_load(path): once; then nothing is done. It stays open. */
static PyObject *cuda_load(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &path)) return NULL;
    bool good = library.open != NULL;
    if (!good) {
        const char *name = PyBytes_AsString(path);
        void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL)
            core_refuse(TQ_E_DEVICE, 0, "library", "libtqkv_cuda cannot be opened: %s", dlerror());
        good = handle != NULL && find(handle, name);
        if (handle != NULL && !good) dlclose(handle);
    }
    Py_DECREF(path);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

const core_cuda_library *core_cuda(void) {
    if (library.open != NULL) return &library;
    PyErr_SetString(PyExc_RuntimeError, "cuda_load() has not been called");
    return NULL;
}

tq_status core_cuda_status(tq_status status) {
    if (status == TQ_OK) return TQ_OK;
    const tq_error *e = library.last_error();
    return e->status == status
               ? tq_fail(status, e->index, e->field, "%s", e->message)
               : tq_fail(status, 0, "cuda", "libtqkv_cuda fails: %s", tq_status_name(status));
}

tq_cuda *core_cuda_device(int device) {
    if (core_cuda() == NULL) return NULL;
    if (device < 0 || device >= MOST_DEVICES) {
        core_refuse(TQ_E_DEVICE, 0, "device", "device %d: 0 to %d are known", device, MOST_DEVICES - 1);
        return NULL;
    }
    if (devices[device] != NULL) return devices[device];
    tq_cuda *made = NULL;
    tq_status status;
    Py_BEGIN_ALLOW_THREADS status = library.open(device, &made);
    if (status != TQ_OK) status = core_cuda_status(status);
    Py_END_ALLOW_THREADS if (status != TQ_OK) return (tq_cuda *)core_raise(status);
    if (devices[device] == NULL)
        devices[device] = made; /* else another thread was first: one is enough, and */
    return devices[device];     /* the other, 100 KiB, stays until the process ends */
}

int core_cuda_place_get(PyObject *tuple, core_cuda_place *place) {
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != 2) {
        PyErr_SetString(PyExc_TypeError, "a place must be (device, stream)");
        return -1;
    }
    const long device = PyLong_AsLong(PyTuple_GetItem(tuple, 0));
    place->stream_given = PyTuple_GetItem(tuple, 1);
    place->stream = PyLong_AsVoidPtr(place->stream_given);
    place->device = device >= 0 && device < MOST_DEVICES ? (int)device : -1;
    return PyErr_Occurred() ? -1 : 0;
}

int core_cuda_array(PyObject *o, core_array *a, const char *field, unsigned kinds, bool writable,
                    int least, int most, const core_cuda_place *place) {
    a->stream = place->stream_given;
    a->device = place->device;
    return core_array_get(o, a, field, kinds, writable, least, most);
}

int core_cuda_packed(PyObject *o, core_array *a, const char *field, unsigned kinds, int n_dims,
                     const core_cuda_place *place) {
    if (o == NULL || o == Py_None) return 0;
    if (core_cuda_array(o, a, field, kinds, false, n_dims, n_dims, place) < 0) return -1;
    size_t n = 1;
    for (int i = 0; i < n_dims; i++)
        n *= a->shape[i];
    if (a->n == n) return 0;
    core_refuse(TQ_E_STRIDE, 0, field, "%s does not lie side by side", field);
    return -1;
}

/* cuda_devices() -> [(name, major, minor, served, bytes)] */
static PyObject *cuda_devices(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    if (core_cuda() == NULL) return NULL;
    PyObject *list = PyList_New(0);
    for (int i = 0, n = library.count(); list != NULL && i < n; i++) {
        tq_cuda_info info = {.size = sizeof info};
        const tq_status status = core_cuda_status(library.describe(i, &info));
        PyObject *one = status != TQ_OK ? core_raise(status)
                                        : Py_BuildValue("siiOK", info.name, info.major, info.minor,
                                                        info.served ? Py_True : Py_False,
                                                        (unsigned long long)info.memory_bytes);
        if (one == NULL || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

PyMethodDef core_cuda_methods[] = {{"cuda_load", cuda_load, METH_VARARGS, NULL},
                                   {"cuda_devices", cuda_devices, METH_NOARGS, NULL},
                                   {NULL, NULL, 0, NULL}};
