/* SPDX-License-Identifier: MIT
 * Kernels compiled at run time. */
#include "jit.h"

#include <cuda_runtime_api.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/size.h"
#include "nvrtc.h"

static double seconds_since(const struct timespec *begin) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) * 1e-9;
}

static tq_status check_request(const tq_cuda_jit_request *r) {
    TRY(tq_check_not_null("request", r));
    TRY(tq_check_not_null("source", r->source));
    TRY(tq_check_not_null("name", r->name));
    if (r->n_options > 0) TRY(tq_check_not_null("options", r->options));
    for (size_t i = 0; i < r->n_options; i++)
        TRY(tq_check_not_null("options", r->options[i]));
    if (r->n_options < INT_MAX) return TQ_OK;
    return tq_fail(TQ_E_OVERFLOW, r->n_options, "options", "%zu options are too many", r->n_options);
}

static tq_status no_memory(size_t n) {
    return tq_fail(TQ_E_NO_MEMORY, n, "jit", "no memory to compile a kernel");
}

/* Everything that decides what comes out, each piece with its NUL. */
static tq_status make_key(const tq_nvrtc *nvrtc, const tq_cuda_jit_request *r, tq_cuda_key *key) {
    char versions[128];
    int driver = 0; /* stays 0 where there is none */
    if (cudaDriverGetVersion(&driver) != cudaSuccess) (void)cudaGetLastError();
    snprintf(versions, sizeof versions, "NVRTC %d.%d, driver %d, sm_%d%d, %zu options", nvrtc->major,
             nvrtc->minor, driver, r->major, r->minor, r->n_options);
    size_t n = strlen(versions) + strlen(r->name) + 3;
    bool fits = tq_size_add(n, strlen(r->source), &n);
    for (size_t i = 0; i < r->n_options; i++)
        fits = fits && tq_size_add(n, strlen(r->options[i]) + 1, &n);
    if (!fits) return tq_fail(TQ_E_OVERFLOW, 0, "options", "the options do not fit in memory");
    char *to = malloc(n);
    if (to == NULL) return no_memory(n);
    *key = (tq_cuda_key){to, n};
    to = stpcpy(to, versions) + 1;
    to = stpcpy(to, r->name) + 1;
    for (size_t i = 0; i < r->n_options; i++)
        to = stpcpy(to, r->options[i]) + 1;
    stpcpy(to, r->source);
    return TQ_OK;
}

/* The first line with an error and what follows, as one line. */
static void shorten(char *log) {
    const char *from = strstr(log, "error");
    while (from != NULL && from > log && from[-1] != '\n')
        from--;
    char *to = log;
    for (from = from != NULL ? from : log; *from != '\0'; from++) {
        const char c = *from == '\n' || *from == '\t' ? ' ' : *from;
        if (c != ' ' || (to > log && to[-1] != ' ')) *to++ = c;
    }
    if (to > log && to[-1] == ' ') to--;
    *to = '\0';
}

static tq_status refuse(const tq_nvrtc *nvrtc, const tq_cuda_jit_request *r, tq_nvrtc_program program,
                        int error) {
    size_t n = 0;
    char *log = NULL;
    if (program != NULL && nvrtc->log_size(program, &n) == 0 && n > 1) log = calloc(n + 1, 1);
    if (log != NULL && nvrtc->log(program, log) != 0) log[0] = '\0';
    if (log != NULL) shorten(log);
    const char *words = log != NULL && log[0] != '\0' ? log : nvrtc->error_string(error);
    const tq_status status =
        tq_fail(TQ_E_DEVICE, (uint64_t)error, "jit", "NVRTC %d.%d does not compile %.60s for sm_%d%d: %s",
                nvrtc->major, nvrtc->minor, r->name, r->major, r->minor, words);
    free(log);
    return status;
}

static tq_status take(const tq_nvrtc *nvrtc, const tq_cuda_jit_request *r, tq_nvrtc_program program,
                      tq_cuda_kernel *kernel) {
    const char *lowered = NULL;
    size_t n = 0;
    int error = nvrtc->lowered_name(program, r->name, &lowered);
    if (error == 0) error = nvrtc->cubin_size(program, &n);
    if (error != 0) return refuse(nvrtc, r, program, error);
    if (n == 0)
        return tq_fail(TQ_E_DEVICE, 0, "jit", "NVRTC gives no cubin: is there -arch in the options?");
    *kernel = (tq_cuda_kernel){malloc(n), n, strdup(lowered)};
    if (kernel->cubin == NULL || kernel->name == NULL) return no_memory(n);
    error = nvrtc->cubin(program, kernel->cubin);
    return error == 0 ? TQ_OK : refuse(nvrtc, r, program, error);
}

static tq_status compile(const tq_nvrtc *nvrtc, const tq_cuda_jit_request *r, tq_cuda_kernel *kernel) {
    char arch[48];
    size_t n;
    tq_nvrtc_program program = NULL;
    snprintf(arch, sizeof arch, "-arch=sm_%d%d", r->major, r->minor);
    TRY(tq_check_product("options", r->n_options + 1, 1, sizeof(char *), &n));
    const char **options = malloc(n);
    if (options == NULL) return no_memory(n);
    options[0] = arch;
    for (size_t i = 0; i < r->n_options; i++)
        options[1 + i] = r->options[i];
    int error = nvrtc->create(&program, r->source, "tqkv.cu", 0, NULL, NULL);
    if (error == 0) error = nvrtc->add_name(program, r->name);
    if (error == 0) error = nvrtc->compile(program, (int)r->n_options + 1, options);
    const tq_status status =
        error == 0 ? take(nvrtc, r, program, kernel) : refuse(nvrtc, r, program, error);
    if (program != NULL) nvrtc->destroy(&program);
    free(options);
    return status;
}

static tq_status find_or_compile(const tq_nvrtc *nvrtc, const tq_cuda_jit_request *r,
                                 const tq_cuda_key *key, tq_cuda_jit_result *result) {
    char *path = tq_cuda_kernel_path(r->cache_dir, key);
    tq_status status = TQ_OK;
    if (path != NULL && tq_cuda_kernel_load(path, key, &result->kernel)) {
        result->origin = TQ_CUDA_CACHED;
    } else {
        result->origin = TQ_CUDA_COMPILED;
        status = compile(nvrtc, r, &result->kernel);
        if (status == TQ_OK && path != NULL) (void)tq_cuda_kernel_store(path, key, &result->kernel);
    }
    free(path);
    return status;
}

tq_status tq_cuda_jit(const tq_cuda_jit_request *request, tq_cuda_jit_result *result) {
    const tq_nvrtc *nvrtc;
    tq_cuda_key key;
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    TRY(tq_check_not_null("result", result));
    *result = (tq_cuda_jit_result){0};
    TRY(check_request(request));
    TRY(tq_nvrtc_find(&nvrtc));
    TRY(make_key(nvrtc, request, &key));
    const tq_status status = find_or_compile(nvrtc, request, &key, result);
    free((char *)key.bytes);
    if (status != TQ_OK) tq_cuda_jit_free(result);
    result->seconds = status == TQ_OK ? seconds_since(&begin) : 0;
    return status;
}

void tq_cuda_jit_free(tq_cuda_jit_result *result) {
    if (result == NULL) return;
    tq_cuda_kernel_free(&result->kernel);
    *result = (tq_cuda_jit_result){0};
}
