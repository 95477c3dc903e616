/* SPDX-License-Identifier: MIT
 * NVRTC, by dlopen(). */
#include "nvrtc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "kernel_file.h"

static const struct {
    const char *name;
    size_t at;
} calls[] = {
    {"nvrtcVersion", offsetof(tq_nvrtc, version)},
    {"nvrtcGetErrorString", offsetof(tq_nvrtc, error_string)},
    {"nvrtcCreateProgram", offsetof(tq_nvrtc, create)},
    {"nvrtcDestroyProgram", offsetof(tq_nvrtc, destroy)},
    {"nvrtcAddNameExpression", offsetof(tq_nvrtc, add_name)},
    {"nvrtcCompileProgram", offsetof(tq_nvrtc, compile)},
    {"nvrtcGetProgramLogSize", offsetof(tq_nvrtc, log_size)},
    {"nvrtcGetProgramLog", offsetof(tq_nvrtc, log)},
    {"nvrtcGetLoweredName", offsetof(tq_nvrtc, lowered_name)},
    {"nvrtcGetCUBINSize", offsetof(tq_nvrtc, cubin_size)},
    {"nvrtcGetCUBIN", offsetof(tq_nvrtc, cubin)},
};

static const char *const places[] = {
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so",
    "/usr/local/cuda/lib64/libnvrtc.so.13",
    "/usr/local/cuda/lib64/libnvrtc.so.12",
    "/usr/local/cuda/lib64/libnvrtc.so",
};

/* POSIX has the two kinds of pointers look alike, C has no cast from one to the other. */
_Static_assert(sizeof(void *) == sizeof(int (*)(void)), "dlsym() returns functions as void *");

/* Why not goes to `why`. */
static bool open_one(const char *file, tq_nvrtc *nvrtc, char *why, size_t room) {
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *error = dlerror();
        snprintf(why, room, "%s", error != NULL ? error : file);
        return false;
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        void *call = dlsym(library, calls[i].name);
        memcpy((char *)nvrtc + calls[i].at, &call, sizeof call);
        if (call != NULL) continue;
        snprintf(why, room, "%s lacks %s", file, calls[i].name);
        dlclose(library);
        return false;
    }
    if (nvrtc->version(&nvrtc->major, &nvrtc->minor) == 0) return true;
    snprintf(why, room, "%s does not tell its version", file);
    dlclose(library);
    return false;
}

static tq_status open_any(tq_nvrtc *nvrtc) {
    char why[160];
    const char *named = tq_cuda_environment("TQKV_NVRTC");
    if (named != NULL && named[0] != '\0') {
        if (open_one(named, nvrtc, why, sizeof why)) return TQ_OK;
        return tq_fail(TQ_E_DEVICE, 0, "TQKV_NVRTC",
                       "no NVRTC, which compiles this kernel: TQKV_NVRTC: %s", why);
    }
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (open_one(places[i], nvrtc, why, sizeof why)) return TQ_OK;
    return tq_fail(
        TQ_E_DEVICE, 0, "nvrtc",
        "no NVRTC, which compiles this kernel: libnvrtc.so.13 and .12 are not in the loader's path and "
        "not in /usr/local/cuda/lib64: install CUDA's NVRTC, or set TQKV_NVRTC to the file");
}

tq_status tq_nvrtc_find(const tq_nvrtc **nvrtc) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static tq_nvrtc found;
    static bool is_found;
    tq_status status = TQ_OK;
    pthread_mutex_lock(&lock);
    if (!is_found) status = open_any(&found);
    is_found = status == TQ_OK;
    pthread_mutex_unlock(&lock);
    *nvrtc = status == TQ_OK ? &found : NULL;
    return status;
}
