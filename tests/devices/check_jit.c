/* SPDX-License-Identifier: MIT
 * Kernels compiled at run time, and the folder that keeps them. Where there is no NVRTC the folder is
 * tested, and then it exits with 77; a kernel runs where there is a device. */
#include <cuda_runtime_api.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attend/plan.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "jit.h"
#include "nvrtc.h"
#include "support/cm.h"

extern const char check_jit_text[]; /* check_jit.cuh */

enum { PROCESSES = 8, THREADS = 4, MOST_FILE = 1 << 20 };

static char top[] = "/tmp/check_jit.XXXXXX";
static char folder[64]; /* in it; of one test */
static uint8_t file_bytes[MOST_FILE];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int remove_folder(void **state) {
    (void)state;
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static int name_folder(void **state) {
    static int number;
    (void)state;
    snprintf(folder, sizeof folder, "%s/%d", top, number++);
    return 0;
}

/* Files in the folder; *kernels of them have the name of one, the last of which is `path`. */
static int count_files(int *kernels, char *path, size_t room) {
    int n = 0;
    DIR *files = opendir(folder);
    *kernels = 0;
    for (const struct dirent *e = NULL; files != NULL && (e = readdir(files)) != NULL;) {
        const size_t length = strlen(e->d_name);
        if (e->d_name[0] == '.') continue;
        n++;
        if (length < 7 || strcmp(e->d_name + length - 7, ".kernel") != 0) continue;
        ++*kernels;
        if (path != NULL) snprintf(path, room, "%s/%.60s", folder, e->d_name);
    }
    if (files != NULL) closedir(files);
    return n;
}

static void expect_files(int n) {
    int kernels;
    assert_int_equal(count_files(&kernels, NULL, 0), n);
    assert_int_equal(kernels, n);
}

static size_t read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t n = fread(file_bytes, 1, sizeof file_bytes, file);
    assert_int_equal(fclose(file), 0);
    assert_in_range(n, 1, sizeof file_bytes - 1);
    return n;
}

static void write_file(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* -- the folder -- */

static char cubin[] = "\177ELF and more of it";
static const tq_cuda_kernel kernel = {cubin, sizeof cubin, (char[]){"_Z5scaleILi3EEvPf"}};
static const tq_cuda_key key = {"versions\0name\0text", 19};

static bool loads(const char *path) {
    tq_cuda_kernel got;
    const bool loaded = tq_cuda_kernel_load(path, &key, &got);
    if (loaded) {
        assert_int_equal(got.n, kernel.n);
        assert_memory_equal(got.cubin, kernel.cubin, kernel.n);
        assert_string_equal(got.name, kernel.name);
        tq_cuda_kernel_free(&got);
    }
    assert_null(got.cubin);
    assert_null(got.name);
    return loaded;
}

static char *stored(void) {
    char *path = tq_cuda_kernel_path(folder, &key);
    assert_non_null(path);
    assert_false(loads(path));
    assert_true(tq_cuda_kernel_store(path, &key, &kernel));
    assert_true(loads(path));
    return path;
}

static void test_file(void **state) {
    struct stat st;
    (void)state;
    snprintf(folder + strlen(folder), 16, "/deep/er");
    char *path = stored();
    assert_true(tq_cuda_kernel_store(path, &key, &kernel));
    expect_files(1);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    /* another key that has the same hash */
    assert_true(tq_cuda_kernel_store(path, &(tq_cuda_key){"versions\0name\0texT", 19}, &kernel));
    assert_false(loads(path));
    free(path);
    *strstr(folder, "/deep") = '\0';
}

static void test_flips_and_cuts(void **state) {
    (void)state;
    char *path = stored();
    const size_t n = read_file(path);
    for (size_t i = 0; i < 8 * n; i++) {
        file_bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        write_file(path, file_bytes, n);
        assert_false(loads(path));
        file_bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t i = 0; i < n; i++) {
        write_file(path, file_bytes, i);
        assert_false(loads(path));
    }
    file_bytes[n] = 0;
    write_file(path, file_bytes, n + 1);
    assert_false(loads(path));
    write_file(path, file_bytes, n);
    assert_true(loads(path));
    free(path);
}

static bool loads_with(const char *path, size_t n, size_t field, uint64_t value) {
    const uint64_t was = tq_get_u64(file_bytes + field);
    tq_put_u64(file_bytes + field, value);
    tq_put_u64(file_bytes + n - 8, tq_hash(file_bytes, n - 8));
    write_file(path, file_bytes, n);
    tq_put_u64(file_bytes + field, was);
    return loads(path);
}

/* What somebody wrote on purpose: the checksum is right. */
static void test_sizes(void **state) {
    static const uint64_t sizes[] = {0, 1, 1 << 20, UINT64_MAX, UINT64_MAX - 47, (uint64_t)1 << 63};
    (void)state;
    char *path = stored();
    const size_t n = read_file(path);
    for (size_t field = 16; field < 40; field += 8)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            assert_false(loads_with(path, n, field, sizes[i]));
    assert_false(loads_with(path, n, 0, 0));
    assert_false(loads_with(path, n, 8, 2)); /* another version */
    assert_true(loads_with(path, n, 8, 1));
    assert_true(tq_cuda_kernel_store(path, &key, &(tq_cuda_kernel){cubin, 0, kernel.name}));
    assert_false(loads(path));
    assert_true(tq_cuda_kernel_store(path, &key, &(tq_cuda_kernel){cubin, sizeof cubin, (char[]){""}}));
    assert_false(loads(path));
    tq_put_u64(file_bytes + 24, (uint64_t)0 - 8); /* a sum that wraps to what is there */
    assert_false(loads_with(path, n, 32, n - 48 - key.n + 8));
    free(path);
}

/* A folder, a pipe or something huge where the file should be. */
static void test_no_files(void **state) {
    (void)state;
    char *path = stored();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(loads(path));
    assert_false(tq_cuda_kernel_store(path, &key, &kernel));
    assert_int_equal(rmdir(path), 0);
    expect_files(0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(loads(path));
    assert_true(tq_cuda_kernel_store(path, &key, &kernel)); /* in its place */
    assert_true(loads(path));
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_false(loads(path));
    assert_true(tq_cuda_kernel_store(path, &key, &kernel));
    assert_true(loads(path));
    expect_files(1);
    free(path);
}

static void expect_path(const char *cache_dir, const char *begin) {
    char *path = tq_cuda_kernel_path(cache_dir, &key);
    if (begin == NULL) {
        assert_null(path);
        return;
    }
    assert_non_null(path);
    assert_memory_equal(path, begin, strlen(begin));
    assert_null(strchr(path + strlen(begin), '/'));
    free(path);
}

static void test_where(void **state) {
    (void)state;
    expect_path("", NULL);
    expect_path("a/b", "a/b/");
    setenv("TQKV_CUDA_CACHE", "/of/env", 1);
    setenv("XDG_CACHE_HOME", "/xdg", 1);
    setenv("HOME", "/home/me", 1);
    expect_path("/x", "/x/");
    expect_path(NULL, "/of/env/");
    setenv("TQKV_CUDA_CACHE", "", 1);
    expect_path(NULL, NULL);
    unsetenv("TQKV_CUDA_CACHE");
    expect_path(NULL, "/xdg/tqkv/");
    setenv("XDG_CACHE_HOME", "relative", 1);
    expect_path(NULL, "/home/me/.cache/tqkv/");
    unsetenv("XDG_CACHE_HOME");
    expect_path(NULL, "/home/me/.cache/tqkv/");
    unsetenv("HOME");
    expect_path(NULL, NULL);
}

static void test_embedded(void **state) {
    (void)state;
    const size_t n = read_file(TQKV_TEST_DIR "/check_jit.cuh");
    file_bytes[n] = '\0';
    assert_memory_equal(check_jit_text, file_bytes, n + 1);
}

/* -- compiling -- */

static tq_cuda_jit_request request(void) {
    return (tq_cuda_jit_request){
        .source = check_jit_text, .name = "scale<3>", .major = 9, .minor = 0, .cache_dir = folder};
}

static tq_cuda_jit_result get(const tq_cuda_jit_request *r, tq_cuda_origin origin) {
    tq_cuda_jit_result result;
    if (tq_cuda_jit(r, &result) != TQ_OK) fail_msg("%s", tq_last_error()->message);
    assert_int_equal(result.origin, origin);
    assert_true(result.seconds > 0);
    assert_in_range(result.kernel.n, 256, MOST_FILE);
    assert_memory_equal(result.kernel.cubin, "\177ELF", 4);
    return result;
}

static void get_same(const tq_cuda_jit_request *r, tq_cuda_origin origin, const tq_cuda_jit_result *as) {
    tq_cuda_jit_result result = get(r, origin);
    assert_int_equal(result.kernel.n, as->kernel.n);
    assert_memory_equal(result.kernel.cubin, as->kernel.cubin, as->kernel.n);
    assert_string_equal(result.kernel.name, as->kernel.name);
    tq_cuda_jit_free(&result);
}

static void get_new(const tq_cuda_jit_request *r) {
    tq_cuda_jit_result result = get(r, TQ_CUDA_COMPILED);
    get_same(r, TQ_CUDA_CACHED, &result);
    tq_cuda_jit_free(&result);
    assert_null(result.kernel.cubin);
}

static void test_missing(void **state) {
    const tq_cuda_jit_request r = request();
    tq_cuda_jit_result result;
    (void)state;
    setenv("TQKV_NVRTC", "/nonexistent", 1);
    assert_int_equal(tq_cuda_jit(&r, &result), TQ_E_DEVICE);
    assert_null(result.kernel.cubin);
    assert_non_null(strstr(tq_last_error()->message, "/nonexistent"));
    setenv("TQKV_NVRTC", "libm.so.6", 1);
    assert_int_equal(tq_cuda_jit(&r, &result), TQ_E_DEVICE);
    assert_non_null(strstr(tq_last_error()->message, "lacks nvrtcVersion"));
    unsetenv("TQKV_NVRTC");
    expect_files(0);
}

/* Attention's texts, one kernel of each. */
static void test_attention(void **state) {
    static const char *const names[] = {
        "tq_attend<80, 80, 4, 8, 0, 1, 227>", "tq_prefill<128, 128, 4, 4, 1, 0, 227>",
        "tq_prefill<256, 256, 4, 4, 1, 0, 227>", "tq_prefill<256, 256, 6, 4, 8, 0, 163>"};
    static const char *const options[] = {"-std=c++17", "-default-device"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *const text = tq_attend_text(i > 0);
        tq_cuda_jit_request r = request();
        assert_non_null(text);
        r.source = text, r.name = names[i], r.options = options, r.n_options = 2;
        tq_cuda_jit_result result = get(&r, TQ_CUDA_COMPILED);
        printf("%s: %.1f s, %zu bytes\n", names[i], result.seconds, result.kernel.n);
        tq_cuda_jit_free(&result);
        free(text);
    }
}

/* 0 and the result's hash, or 1. */
static int get_hash(uint64_t *hash) {
    const tq_cuda_jit_request r = request();
    tq_cuda_jit_result result;
    if (tq_cuda_jit(&r, &result) != TQ_OK) return 1;
    *hash = tq_hash(result.kernel.cubin, result.kernel.n) ^
            tq_hash(result.kernel.name, strlen(result.kernel.name));
    tq_cuda_jit_free(&result);
    return 0;
}

static void test_processes(void **state) {
    int ends[2], go[2], status;
    uint64_t hash, first;
    char c;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(go), 0);
    for (int i = 0; i < PROCESSES; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child != 0) continue;
        close(go[1]);
        _exit(read(go[0], &c, 1) != 0 || get_hash(&hash) != 0 ||
              write(ends[1], &hash, sizeof hash) != sizeof hash);
    }
    close(go[1]); /* now */
    for (int i = 0; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(get_hash(&first), 0);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(read(ends[0], &hash, sizeof hash), sizeof hash);
        assert_true(hash == first);
    }
    close(go[0]), close(ends[0]), close(ends[1]);
    expect_files(1);
}

static void *thread_of(void *hash) {
    return get_hash(hash) == 0 ? hash : NULL;
}

static void test_threads(void **state) {
    pthread_t threads[THREADS];
    uint64_t hashes[THREADS];
    void *result;
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_of, &hashes[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
        assert_true(hashes[i] == hashes[0]);
    }
    expect_files(1);
}

static void test_cached(void **state) {
    tq_cuda_jit_request r = request();
    (void)state;
    tq_cuda_jit_result first = get(&r, TQ_CUDA_COMPILED);
    assert_string_equal(first.kernel.name, "_Z5scaleILi3EEvPf");
    tq_cuda_jit_result again = get(&r, TQ_CUDA_CACHED);
    printf("compiled in %.1f ms, out of the cache in %.1f ms\n", first.seconds * 1e3,
           again.seconds * 1e3);
    tq_cuda_jit_free(&again);
    get_same(&r, TQ_CUDA_CACHED, &first);
    r.cache_dir = "";
    get_same(&r, TQ_CUDA_COMPILED, &first);
    tq_cuda_jit_free(&first);
    tq_cuda_jit_free(&first);
    tq_cuda_jit_free(NULL);
}

static void test_others(void **state) {
    static const char *const options[] = {"-default-device", "-DA=1"}, *const joined[] = {"-DA=1-DB=1"},
                             *const apart[] = {"-DA=1", "-DB=1"};
    tq_cuda_jit_request r = request();
    (void)state;
    get_new(&r);
    r.source = "template <int N> __global__ void scale(float *x) { x[0] = N; }";
    get_new(&r);
    r.name = "scale<4>";
    get_new(&r);
    r.options = options;
    for (r.n_options = 1; r.n_options <= 2; r.n_options++)
        get_new(&r);
    r.n_options = 0;
    r.major = 8;
    get_new(&r);
    r.minor = 6;
    get_new(&r);
    r.options = joined, r.n_options = 1;
    get_new(&r);
    r.options = apart, r.n_options = 2;
    get_new(&r);
    expect_files(9);
}

/* Through the whole call, some: test_flips_and_cuts has all. */
static void test_spoilt(void **state) {
    const tq_cuda_jit_request r = request();
    char path[160];
    int kernels;
    (void)state;
    tq_cuda_jit_result first = get(&r, TQ_CUDA_COMPILED);
    assert_int_equal(count_files(&kernels, path, sizeof path), 1);
    const size_t n = read_file(path);
    for (size_t i = 0; i < n; i += n / 12) {
        file_bytes[i] ^= 0x10;
        write_file(path, file_bytes, n);
        file_bytes[i] ^= 0x10;
        get_same(&r, TQ_CUDA_COMPILED, &first);
        get_same(&r, TQ_CUDA_CACHED, &first);
        write_file(path, file_bytes, i);
        get_same(&r, TQ_CUDA_COMPILED, &first);
        get_same(&r, TQ_CUDA_CACHED, &first);
    }
    tq_cuda_jit_free(&first);
    expect_files(1);
}

/* In a child, which may give up its rights. */
static void expect_uncached(const char *cache_dir, bool full) {
    tq_cuda_jit_request r = request();
    tq_cuda_jit_result result;
    int status;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (full) {
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, 1000});
        } else if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(2);
        }
        r.cache_dir = cache_dir;
        for (int i = 0; i < 2; i++)
            if (tq_cuda_jit(&r, &result) != TQ_OK || result.origin != TQ_CUDA_COMPILED) _exit(3);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_unwritable(void **state) {
    char path[128], long_path[5000];
    (void)state;
    assert_int_equal(mkdir(folder, 0555), 0);
    expect_uncached(folder, false);
    snprintf(path, sizeof path, "%s/inner/one", folder);
    expect_uncached(path, false);
    expect_files(0);
    assert_int_equal(chmod(folder, 0700), 0);
    expect_uncached(folder, true); /* a disk that is full */
    expect_files(0);
    snprintf(path, sizeof path, "%s/file.kernel", folder);
    write_file(path, "x", 1);
    expect_uncached(path, true);
    expect_uncached("/proc/tqkv", false);
    expect_uncached("/dev/null", false);
    memset(long_path, 'a', sizeof long_path);
    long_path[0] = '/', long_path[sizeof long_path - 1] = '\0';
    expect_uncached(long_path, false);
    for (size_t i = 8; i < sizeof long_path - 1; i += 8)
        long_path[i] = '/';
    expect_uncached(long_path, false);
    expect_files(1);
}

static void refused(const tq_cuda_jit_request *r, const char *words) {
    tq_cuda_jit_result result;
    memset(&result, 0xA5, sizeof result);
    assert_int_equal(tq_cuda_jit(r, &result), TQ_E_DEVICE);
    assert_null(result.kernel.cubin);
    assert_null(result.kernel.name);
    if (strstr(tq_last_error()->message, words) == NULL) fail_msg("%s", tq_last_error()->message);
    printf("    %s\n", tq_last_error()->message);
    expect_files(0);
}

static void test_refused(void **state) {
    static const char *const wrong[] = {"--no-such-option"};
    tq_cuda_jit_request r = request();
    (void)state;
    r.source = "__global__ void scale(float *x) { int unused; x[0] = 1; }\n"
               "__global__ void other(float *x) { x[0] = 1 }\n";
    r.name = "scale";
    refused(&r, "tqkv.cu(2): error: expected a \";\"");
    r = request();
    r.name = "no_such<3>";
    refused(&r, "no_such");
    r.name = "times<3>";
    refused(&r, "times<3>");
    r = request();
    r.major = 3;
    refused(&r, "arch");
    r.major = -1, r.minor = 1000;
    refused(&r, "arch");
    r = request();
    r.options = wrong, r.n_options = 1;
    refused(&r, "no-such-option");
}

static void test_arguments(void **state) {
    static const char *const none[] = {NULL};
    tq_cuda_jit_request r = request();
    tq_cuda_jit_result result;
    (void)state;
    assert_int_equal(tq_cuda_jit(NULL, &result), TQ_E_NULL);
    assert_int_equal(tq_cuda_jit(&r, NULL), TQ_E_NULL);
    r.n_options = 1;
    assert_int_equal(tq_cuda_jit(&r, &result), TQ_E_NULL);
    r.options = none;
    assert_int_equal(tq_cuda_jit(&r, &result), TQ_E_NULL);
    r.n_options = 0, r.name = NULL;
    assert_int_equal(tq_cuda_jit(&r, &result), TQ_E_NULL);
    r.name = "scale<3>", r.source = NULL;
    assert_int_equal(tq_cuda_jit(&r, &result), TQ_E_NULL);
}

static void need(cudaError_t error) {
    if (error != cudaSuccess) fail_msg("%s", cudaGetErrorString(error));
}

/* Last: children of fork() cannot use what CUDA has begun. */
static void test_device(void **state) {
    tq_cuda_jit_request r = request();
    struct cudaDeviceProp device;
    float x[2] = {1, -2}, *there;
    cudaLibrary_t library;
    cudaKernel_t scale;
    (void)state;
    if (tq_cuda_count() == 0) skip();
    need(cudaGetDeviceProperties(&device, 0));
    r.major = device.major, r.minor = device.minor;
    tq_cuda_jit_result result = get(&r, TQ_CUDA_COMPILED);
    tq_cuda_jit_free(&result);
    result = get(&r, TQ_CUDA_CACHED);
    need(cudaLibraryLoadData(&library, result.kernel.cubin, NULL, NULL, 0, NULL, NULL, 0));
    need(cudaLibraryGetKernel(&scale, library, result.kernel.name));
    tq_cuda_jit_free(&result);
    need(cudaMalloc((void **)&there, sizeof x));
    need(cudaMemcpy(there, x, sizeof x, cudaMemcpyHostToDevice));
    need(cudaLaunchKernel((const void *)scale, (dim3){1, 1, 1}, (dim3){2, 1, 1}, (void *[]){&there}, 0,
                          NULL));
    need(cudaMemcpy(x, there, sizeof x, cudaMemcpyDeviceToHost));
    assert_true(x[0] == 3 && x[1] == -6);
    need(cudaFree(there));
    need(cudaLibraryUnload(library));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, name_folder, remove_folder)

static int run(void) {
    const struct CMUnitTest without[] = {
        TEST(test_file),  TEST(test_flips_and_cuts), TEST(test_sizes),  TEST(test_no_files),
        TEST(test_where), TEST(test_embedded),       TEST(test_missing)};
    const struct CMUnitTest with[] = {TEST(test_processes), TEST(test_threads),   TEST(test_cached),
                                      TEST(test_others),    TEST(test_spoilt),    TEST(test_unwritable),
                                      TEST(test_refused),   TEST(test_arguments), TEST(test_attention),
                                      TEST(test_device)};
    const tq_nvrtc *nvrtc;
    const int failed = cmocka_run_group_tests_name("without NVRTC", without, NULL, NULL);
    if (failed != 0) return failed;
    if (tq_nvrtc_find(&nvrtc) == TQ_OK)
        return cmocka_run_group_tests_name("with NVRTC", with, NULL, NULL);
    printf("skipped: %s\n", tq_last_error()->message);
    return 77;
}

int main(void) {
    if (mkdtemp(top) == NULL || chmod(top, 0755) != 0) return 1;
    const int status = run();
    (void)rmdir(top);
    return status;
}
