/* SPDX-License-Identifier: MIT
 * Files are there whole or not at all, and what cannot be read or written is told. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io_support.h"
#include "support/guard.h"

static const float six[6] = {1, 2, 3, 4, 5, 6};
static const size_t shape[1] = {6};

static unsigned mode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (unsigned)st.st_mode & 0777;
}

static void assert_holds_six(const char *path) {
    tq_tensor t;
    assert_int_equal(tq_npy_read(path, &t), TQ_OK);
    assert_int_equal(t.n_values, 6);
    assert_memory_equal(t.data, six, sizeof six);
    tq_tensor_free(&t);
}

static void new_files_follow_the_umask(void **state) {
    (void)state;
    mode_t before = umask(027);
    assert_int_equal(tq_npy_write("a.npy", six, 1, shape), TQ_OK);
    umask(0);
    assert_int_equal(tq_npy_write("b.npy", six, 1, shape), TQ_OK);
    umask(before);
    assert_int_equal(mode_of("a.npy"), 0640);
    assert_int_equal(mode_of("b.npy"), 0666);
    assert_int_equal(count_entries("."), 2);
}

static void replaced_files_keep_their_mode(void **state) {
    (void)state;
    put_file("a.npy", "old", 3);
    assert_int_equal(chmod("a.npy", 0604), 0);
    assert_int_equal(tq_npy_write("./a.npy", six, 1, shape), TQ_OK);
    assert_int_equal(mode_of("a.npy"), 0604);
    assert_holds_six("a.npy");
    assert_int_equal(count_entries("."), 1);
}

static void links_are_followed(void **state) {
    (void)state;
    struct stat st;
    assert_int_equal(mkdir("there", 0777), 0);
    put_file("there/real.npy", "old", 3);
    assert_int_equal(symlink("there/real.npy", "link.npy"), 0);
    assert_int_equal(tq_npy_write("link.npy", six, 1, shape), TQ_OK);
    assert_int_equal(lstat("link.npy", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_holds_six("there/real.npy");
    assert_int_equal(count_entries("there"), 1);
    assert_int_equal(unlink("there/real.npy"), 0);
    assert_fails(tq_npy_write("link.npy", six, 1, shape), TQ_E_IO,
                 "link.npy: is a link to a file that does not exist");
}

/* The longest name that a file may have still leaves room for a temporary one. */
static void long_names_are_written(void **state) {
    (void)state;
    char name[257];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    assert_int_equal(tq_npy_write(name, six, 1, shape), TQ_OK);
    assert_holds_six(name);
    name[255] = 'n';
    name[256] = '\0';
    assert_fails(tq_npy_write(name, six, 1, shape), TQ_E_IO, "cannot write: File name too long");
    assert_int_equal(count_entries("."), 1);
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    assert_int_equal(mkdir("d", 0777), 0);
    assert_int_equal(mkfifo("fifo", 0666), 0);
    put_file("plain", "x", 1);
    assert_fails(tq_npy_write("d", six, 1, shape), TQ_E_IO, "d: is a folder");
    assert_fails(tq_npy_write("d/", six, 1, shape), TQ_E_IO, "d/: is a folder");
    assert_fails(tq_npy_write("fifo", six, 1, shape), TQ_E_IO, "fifo: is not a regular file");
    assert_fails(tq_npy_write("/dev/null", six, 1, shape), TQ_E_IO, "/dev/null: is not a regular file");
    assert_fails(tq_npy_write("new/", six, 1, shape), TQ_E_IO, "new/: names no file");
    assert_fails(tq_npy_write("", six, 1, shape), TQ_E_IO, "names no file");
    assert_fails(tq_npy_write("no/a.npy", six, 1, shape), TQ_E_IO,
                 "no/a.npy: cannot open its folder: No such file or directory");
    assert_fails(tq_npy_write("plain/a.npy", six, 1, shape), TQ_E_IO,
                 "plain/a.npy: cannot write: Not a directory");
    assert_int_equal(count_entries("."), 3);
    assert_int_equal(count_entries("d"), 0);
}

static void a_folder_without_permission_is_told(void **state) {
    (void)state;
    if (geteuid() == 0) skip(); /* root may write everywhere */
    assert_int_equal(mkdir("d", 0555), 0);
    assert_fails(tq_npy_write("d/a.npy", six, 1, shape), TQ_E_IO,
                 "cannot create a temporary file beside it: Permission denied");
}

static void unreadable_files_are_told(void **state) {
    (void)state;
    tq_tensor t;
    tq_encoded e;
    assert_fails(tq_npy_read("no.npy", &t), TQ_E_IO, "no.npy: cannot open: No such file or directory");
    assert_fails(tq_encoded_read("no.st", &e), TQ_E_IO, "no.st: cannot open: No such file or directory");
    assert_fails(tq_npy_read(".", &t), TQ_E_IO, ".: cannot read: Is a directory");
    assert_fails(tq_npy_read("/dev/null", &t), TQ_E_IO, "/dev/null: is a device");
    put_file("empty.npy", "", 0);
    assert_fails(tq_npy_read("empty.npy", &t), TQ_E_FILE_TRUNCATED, "empty.npy: byte 0");
}

/* A message has 224 bytes: the reason must be in it even when the path alone is longer. */
static void long_paths_leave_room_for_the_reason(void **state) {
    (void)state;
    tq_tensor t;
    char path[602];
    for (size_t i = 0; i < 601; i++)
        path[i] = "a/\xc3\xa9/"[i % 5];
    path[601] = '\0';
    assert_fails(tq_npy_read(path, &t), TQ_E_IO, "/a: cannot open: No such file");
    assert_memory_equal(tq_last_error()->message, "...", 3);
    assert_int_not_equal((unsigned char)tq_last_error()->message[3] & 0xc0, 0x80);
}

static void *feed_pipe(void *fd) {
    size_t size = 0;
    uint8_t *bytes = get_file("a.npy", &size);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(*(int *)fd, bytes + done, size - done);
        if (n <= 0) break;
        done += (size_t)n;
    }
    close(*(int *)fd);
    free(bytes);
    return NULL;
}

/* A pipe has no size to ask for, and this one brings more than the first room. */
static void pipes_are_read_to_their_end(void **state) {
    (void)state;
    size_t n = 100000;
    int ends[2];
    char path[32];
    pthread_t feeder;
    tq_tensor t;
    float *values = test_alloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)i;
    assert_int_equal(tq_npy_write("a.npy", values, 1, &n), TQ_OK);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&feeder, NULL, feed_pipe, &ends[1]), 0);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(tq_npy_read(path, &t), TQ_OK);
    assert_int_equal(pthread_join(feeder, NULL), 0);
    close(ends[0]);
    assert_int_equal(t.n_values, n);
    assert_memory_equal(t.data, values, n * sizeof *values);
    tq_tensor_free(&t);
    free(values);
}

/* Runs f in a child whose files may not grow past 64 KiB; returns its exit status. */
static int with_little_room(void (*on_limit)(int), int (*f)(void)) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit;
        struct sigaction action = {.sa_handler = on_limit};
        sigaction(SIGXFSZ, &action, NULL);
        getrlimit(RLIMIT_FSIZE, &limit);
        limit.rlim_cur = 65536;
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(90);
        _exit(f());
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static int write_much(void) {
    static const size_t much[1] = {100000};
    float *values = calloc(much[0], sizeof *values);
    if (tq_npy_write("a.npy", values, 1, much) != TQ_E_IO) return 1;
    if (strstr(tq_last_error()->message, "a.npy: cannot write: File too large") == NULL) return 2;
    tq_codec codec = {.format = TQ_TQ8, .head_dim = 1024};
    tq_encoded e;
    if (tq_encoded_alloc(&e, &codec, 1, 100, 0, 0) != TQ_OK) return 3;
    return tq_encoded_write("e.safetensors", &e) == TQ_E_IO ? 42 : 4;
}

static void a_full_disk_leaves_nothing_behind(void **state) {
    (void)state;
    put_file("a.npy", "old", 3);
    assert_int_equal(with_little_room(SIG_IGN, write_much), 42);
    size_t size = 0;
    uint8_t *bytes = get_file("a.npy", &size);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "old", 3);
    free(bytes);
    assert_int_equal(count_entries("."), 1);
}

static void discard_and_leave(int signal) {
    (void)signal;
    tq_io_discard_pending();
    _exit(43);
}

static void just_leave(int signal) {
    (void)signal;
    _exit(44);
}

/* The signal comes within write(), with the temporary file half full. The second child shows that the
 * first would have left it. */
static void a_handler_removes_pending_files(void **state) {
    (void)state;
    assert_int_equal(with_little_room(discard_and_leave, write_much), 43);
    assert_int_equal(count_entries("."), 0);
    assert_int_equal(with_little_room(just_leave, write_much), 44);
    assert_int_equal(count_entries("."), 1);
}

static void discarding_spares_finished_files(void **state) {
    (void)state;
    assert_int_equal(tq_npy_write("a.npy", six, 1, shape), TQ_OK);
    assert_int_not_equal(tq_npy_write("no/b.npy", six, 1, shape), TQ_OK);
    tq_io_discard_pending();
    assert_holds_six("a.npy");
}

static void *write_often(void *name) {
    for (int i = 0; i < 50; i++)
        if (tq_npy_write(name, six, 1, shape) != TQ_OK) return name;
    return NULL;
}

/* Two of the threads write the same file: the last rename wins, and it is whole at any time. */
static void threads_write_side_by_side(void **state) {
    (void)state;
    static char names[6][8] = {"a.npy", "b.npy", "c.npy", "d.npy", "e.npy", "e.npy"};
    pthread_t threads[6];
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_often, names[i]), 0);
    for (size_t i = 0; i < 6; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        assert_holds_six(names[i]);
    }
    assert_int_equal(count_entries("."), 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(new_files_follow_the_umask, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(replaced_files_keep_their_mode, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(links_are_followed, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(long_names_are_written, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_folder_without_permission_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(unreadable_files_are_told, enter_folder, leave_folder),
        cmocka_unit_test(long_paths_leave_room_for_the_reason),
        cmocka_unit_test_setup_teardown(pipes_are_read_to_their_end, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_nothing_behind, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_handler_removes_pending_files, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(discarding_spares_finished_files, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(threads_write_side_by_side, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
