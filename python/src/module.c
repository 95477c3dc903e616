/* SPDX-License-Identifier: MIT
 * The module libtqkv._core: what the package's Python calls. Names and shapes are for it alone; the
 * public ones, and their documentation, are in the Python files beside it. */
#include "core.h"

static int add_all(PyObject *module) {
    PyMethodDef *const groups[] = {
        core_codec_methods, core_file_methods, core_attention_methods,  core_batch_methods,
        core_info_methods,  core_cuda_methods, core_cuda_codec_methods, core_cuda_attention_methods};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (PyModule_AddFunctions(module, groups[i]) < 0) return -1;
    return core_pool_begin(module) < 0 || core_cache_begin(module) < 0 ? -1 : core_errors_begin();
}

PyMODINIT_FUNC PyInit__core(void); /* for the compiler, which wants a prototype */

PyMODINIT_FUNC PyInit__core(void) {
    static PyModuleDef definition = {
        PyModuleDef_HEAD_INIT, "libtqkv._core", NULL, -1, NULL, NULL, NULL, NULL, NULL};
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (add_all(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
