/* SPDX-License-Identifier: MIT
 * Outputs come into place together or not at all, are told apart by what they are, and belong to one
 * process. */
#define _DEFAULT_SOURCE /* setgroups(), syscall() */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io_support.h"

enum { SOMEBODY = 65534, ANYBODY = 12345 }; /* users that are not root */

static bool no_hard_links; /* as on FAT */

/* The library's links come by here. */
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    if (!no_hard_links) return (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    errno = EPERM;
    return -1;
}

static int renames_left = -1; /* until one fails, or SIGTERM comes and takes its time */
static bool rename_fails;

/* And its renames. */
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    const struct timespec moment = {.tv_nsec = 20000000};
    if (renames_left-- == 0) {
        errno = EIO;
        if (rename_fails) return -1;
        kill(getpid(), SIGTERM);
        nanosleep(&moment, NULL);
    }
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

static bool signal_at_mkdir; /* SIGTERM comes and takes its time once the folder is made */

/* And its folders. */
int mkdirat(int folder, const char *name, mode_t mode) {
    const struct timespec moment = {.tv_nsec = 20000000};
    const int rc = (int)syscall(SYS_mkdirat, folder, name, mode);
    if (signal_at_mkdir) {
        kill(getpid(), SIGTERM);
        nanosleep(&moment, NULL);
    }
    return rc;
}

static void assert_holds(const char *path, const char *text) {
    size_t size = 0;
    uint8_t *bytes = get_file(path, &size);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(bytes, text, size);
    free(bytes);
}

static tq_outputs *begin(void) {
    tq_outputs *set = NULL;
    assert_int_equal(tq_outputs_begin(&set), TQ_OK);
    return set;
}

static tq_output *open_output(tq_outputs *set, const char *path) {
    tq_output *output = NULL;
    assert_int_equal(tq_outputs_open(set, path, &output), TQ_OK);
    return output;
}

static void write_output(tq_outputs *set, const char *path, const char *text) {
    assert_int_equal(tq_output_bytes(open_output(set, path), text, strlen(text)), TQ_OK);
}

static int status_of(pid_t child) {
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* Runs f as another user if that is possible; returns what it returned. */
static int as_user(uid_t user, int (*f)(void)) {
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0))
            _exit(90);
        _exit(f());
    }
    return status_of(child);
}

static void all_come_together(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        tq_outputs *set = begin();
        no_hard_links = i == 1;
        put_file("a", "old", 3);
        put_file("b", "old", 3);
        write_output(set, "a", "new a");
        write_output(set, "b", "new b");
        write_output(set, "c", "new c");
        assert_holds("a", "old");
        assert_holds("b", "old");
        assert_int_equal(access("c", F_OK), -1);
        assert_int_equal(tq_outputs_commit(set), TQ_OK);
        assert_null(tq_outputs_disowned(set));
        tq_outputs_end(set);
        assert_holds("a", "new a");
        assert_holds("b", "new b");
        assert_holds("c", "new c");
        assert_int_equal(count_entries("."), 3);
        assert_int_equal(unlink("c"), 0);
    }
    no_hard_links = false;
}

static void what_is_not_committed_is_removed(void **state) {
    (void)state;
    tq_outputs *set = begin();
    put_file("a", "old", 3);
    assert_int_equal(tq_outputs_folder(set, "made//"), TQ_OK);
    assert_int_equal(tq_outputs_folder(set, "made/in"), TQ_OK);
    assert_int_equal(tq_outputs_folder(set, "made/in"), TQ_OK);
    write_output(set, "a", "new");
    write_output(set, "made/in/b", "new");
    open_output(set, "made/c");
    assert_int_equal(count_entries("."), 3);
    tq_outputs_end(set);
    assert_holds("a", "old");
    assert_int_equal(count_entries("."), 1);
}

/* What somebody put into a new folder in the meantime stays, and so does a folder that was there. */
static void folders_of_others_stay(void **state) {
    (void)state;
    tq_outputs *set = begin();
    assert_int_equal(mkdir("there", 0777), 0);
    assert_int_equal(tq_outputs_folder(set, "there/"), TQ_OK);
    assert_int_equal(tq_outputs_folder(set, "."), TQ_OK);
    assert_int_equal(tq_outputs_folder(set, "new"), TQ_OK);
    put_file("new/theirs", "x", 1);
    put_file("file", "x", 1);
    assert_fails(tq_outputs_folder(set, "file"), TQ_E_IO, "file: cannot make the folder: File exists");
    assert_fails(tq_outputs_folder(set, "no/folder"), TQ_E_IO, "no/folder: cannot open its folder");
    tq_io_discard_pending();
    tq_outputs_end(set);
    assert_holds("new/theirs", "x");
    assert_int_equal(count_entries("."), 3);
    unlink("new/theirs");
}

static void the_same_file_is_known_by_any_name(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"new", "./new"},  {"new", "d/../new"},    {"old", "link"},       {"old", "hard"},
        {"d/x", "to-d/x"}, {"to-d/old", "d//old"}, {"d/old", "to-d-old"}, {"link", "link"}};
    assert_int_equal(mkdir("d", 0777), 0);
    put_file("old", "old", 3);
    put_file("d/old", "old", 3);
    assert_int_equal(symlink("old", "link") | link("old", "hard") | symlink("d", "to-d"), 0);
    assert_int_equal(symlink("to-d/old", "to-d-old"), 0);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        tq_outputs *set = begin();
        tq_output *output = NULL;
        open_output(set, pairs[i][0]);
        assert_fails(tq_outputs_open(set, pairs[i][1], &output), TQ_E_OVERLAP,
                     ": is the same file as the output ");
        open_output(set, "other");
        open_output(set, "d/new");
        tq_outputs_end(set);
    }
    assert_int_equal(count_entries("d"), 1);
    assert_int_equal(unlink("d/old"), 0);
    assert_int_equal(count_entries("."), 6);
}

/* A rename fails although all was well before: the others are taken back, whatever lay there. */
static void a_failed_commit_leaves_all_as_it_was(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    struct stat before, after;
    put_file("a", "old a", 5);
    put_file("target", "old b", 5);
    assert_int_equal(symlink("target", "b"), 0);
    assert_int_equal(stat("a", &before), 0);
    for (size_t i = 0; i < 8; i++) {
        const size_t bad = i % 4;
        const char *place = bad == 1 ? "target" : names[bad];
        tq_outputs *set = begin();
        no_hard_links = i >= 4;
        for (size_t j = 0; j < 4; j++)
            write_output(set, names[j], "new");
        if (bad < 2) assert_int_equal(rename(place, "aside"), 0);
        assert_int_equal(mkdir(place, 0777), 0);
        assert_fails(tq_outputs_commit(set), TQ_E_IO, ": cannot rename the temporary file: ");
        tq_outputs_end(set);
        assert_int_equal(rmdir(place), 0);
        if (bad < 2) assert_int_equal(rename("aside", place), 0);
        assert_holds("a", "old a");
        assert_holds("b", "old b");
        assert_int_equal(count_entries("."), 3);
    }
    no_hard_links = false;
    assert_int_equal(stat("a", &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_nlink, 1);
}

static void a_rename_that_fails_leaves_all_as_it_was(void **state) {
    (void)state;
    put_file("a", "old a", 5);
    put_file("c", "old c", 5);
    rename_fails = true;
    for (int i = 0; i < 3; i++) {
        tq_outputs *set = begin();
        write_output(set, "a", "new");
        write_output(set, "b", "new");
        write_output(set, "c", "new");
        renames_left = i;
        assert_fails(tq_outputs_commit(set), TQ_E_IO,
                     ": cannot rename the temporary file: Input/output error");
        tq_outputs_end(set);
        assert_holds("a", "old a");
        assert_holds("c", "old c");
        assert_int_equal(count_entries("."), 2);
    }
    rename_fails = false;
    renames_left = -1;
}

static void wrong_use_is_told(void **state) {
    (void)state;
    tq_outputs *set = begin();
    tq_output *output = open_output(set, "a");
    assert_fails(tq_outputs_begin(NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_outputs_open(set, NULL, &output), TQ_E_NULL, "NULL");
    assert_fails(tq_outputs_open(NULL, "b", &output), TQ_E_NULL, "NULL");
    assert_fails(tq_outputs_open(set, "b", NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_outputs_folder(set, NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_outputs_commit(NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_output_bytes(NULL, "x", 1), TQ_E_NULL, "NULL");
    assert_fails(tq_output_bytes(output, NULL, 1), TQ_E_NULL, "NULL");
    assert_fails(tq_output_npy(NULL, NULL, 0, NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_output_encoded(output, NULL), TQ_E_NULL, "NULL");
    assert_fails(tq_outputs_commit(set), TQ_E_IO, "a: has not been written");
    assert_int_equal(tq_output_bytes(output, NULL, 0), TQ_OK);
    assert_fails(tq_output_bytes(output, "x", 1), TQ_E_IO, "a: has been written already");
    assert_int_equal(tq_outputs_commit(set), TQ_OK);
    assert_fails(tq_outputs_commit(set), TQ_E_IO, "a: is in place already");
    tq_outputs_end(set);
    tq_outputs_end(NULL);
    assert_holds("a", "");
}

/* A child that cleans up after itself finds nothing of its own, be it by handler, by end or by commit. */
static void a_child_leaves_its_parents_files(void **state) {
    (void)state;
    tq_outputs *set = begin();
    assert_int_equal(tq_outputs_folder(set, "d"), TQ_OK);
    assert_int_equal(tq_outputs_folder(set, "empty"), TQ_OK);
    write_output(set, "d/a", "new");
    tq_output *open = NULL;
    assert_int_equal(tq_outputs_open(set, "d/b", &open), TQ_OK);
    pid_t child = fork();
    if (child == 0) {
        tq_io_discard_pending();
        int rc = tq_outputs_commit(set) == TQ_E_IO ? 42 : 1;
        if (tq_output_bytes(open, "child", 5) != TQ_E_IO) rc = 4;
        if (strstr(tq_last_error()->message, "not to its child") == NULL) rc = 2;
        tq_outputs_end(set);
        tq_outputs *own = NULL; /* what the child opens it may remove */
        tq_output *output = NULL;
        if (tq_outputs_begin(&own) != TQ_OK || tq_outputs_open(own, "own", &output) != TQ_OK) rc = 3;
        tq_io_discard_pending();
        _exit(rc);
    }
    assert_int_equal(status_of(child), 42);
    assert_int_equal(count_entries("d"), 2);
    assert_int_equal(count_entries("."), 2);
    assert_int_equal(tq_output_bytes(open, "parent", 6), TQ_OK);
    assert_int_equal(tq_outputs_commit(set), TQ_OK);
    tq_outputs_end(set);
    assert_holds("d/a", "new");
    assert_holds("d/b", "parent");
    assert_int_equal(unlink("d/a") | unlink("d/b"), 0);
}

static void discarding_takes_folders_too(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        tq_outputs *set = NULL;
        tq_output *output = NULL;
        bool ok = tq_outputs_begin(&set) == TQ_OK && tq_outputs_open(set, "first", &output) == TQ_OK &&
                  tq_outputs_folder(set, "d") == TQ_OK && tq_outputs_folder(set, "d/in") == TQ_OK &&
                  tq_outputs_open(set, "d/in/x", &output) == TQ_OK &&
                  tq_outputs_open(set, "d/y", &output) == TQ_OK;
        tq_io_discard_pending();
        _exit(ok ? 42 : 1);
    }
    assert_int_equal(status_of(child), 42);
    assert_int_equal(count_entries("."), 0);
}

static void discard_and_leave(int number) {
    (void)number;
    tq_io_discard_pending();
    _exit(42);
}

/* Dies of the signal, or returns what is not 42. */
static void *commit_three(void *after) {
    static const char *const names[] = {"a", "b", "c"};
    tq_outputs *set = NULL;
    tq_output *output = NULL;
    bool ok = tq_outputs_begin(&set) == TQ_OK;
    for (size_t i = 0; ok && i < 3; i++)
        ok = tq_outputs_open(set, names[i], &output) == TQ_OK &&
             tq_output_bytes(output, "new", 3) == TQ_OK;
    if (!ok) _exit(1);
    renames_left = *(int *)after;
    if (tq_outputs_commit(set) != TQ_OK) _exit(2);
    for (;;)
        pause();
}

/* The handler runs in the thread that commits, or in another. */
static void a_signal_between_two_renames_waits_for_the_last(void **state) {
    (void)state;
    put_file("b", "old", 3);
    for (int i = 0; i < 6; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            int after = i / 2;
            alarm(20); /* where it would wait for ever */
            signal(SIGTERM, discard_and_leave);
            if (i % 2 == 0) commit_three(&after);
            if (pthread_create(&thread, NULL, commit_three, &after) != 0) _exit(3);
            for (;;)
                pause();
        }
        assert_int_equal(status_of(child), 42);
        for (const char *name = "a\0b\0c\0"; *name != '\0'; name += 2)
            assert_holds(name, "new");
        assert_int_equal(count_entries("."), 3);
        assert_int_equal(unlink("a") | unlink("c"), 0);
        put_file("b", "old", 3);
    }
}

/* Dies of the signal. */
static void *make_a_folder(void *unused) {
    tq_outputs *set = NULL;
    if (tq_outputs_begin(&set) != TQ_OK) _exit(1);
    signal_at_mkdir = true;
    if (tq_outputs_folder(set, "d") != TQ_OK) _exit(2);
    for (;;)
        pause();
    return unused;
}

static void a_signal_finds_a_folder_that_was_just_made(void **state) {
    (void)state;
    for (int in_another = 0; in_another < 2; in_another++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            alarm(20); /* where it would wait for ever */
            signal(SIGTERM, discard_and_leave);
            if (in_another == 0) make_a_folder(NULL);
            if (pthread_create(&thread, NULL, make_a_folder, NULL) != 0) _exit(3);
            for (;;)
                pause();
        }
        assert_int_equal(status_of(child), 42);
        assert_int_equal(count_entries("."), 0);
    }
}

static int write_into_the_dark(void) {
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    if (fd >= 0) return 1;
    if (tq_npy_write("d/old", NULL, 1, &(size_t){0}) != TQ_OK) return 2;
    return tq_npy_write("d/new", NULL, 1, &(size_t){0}) == TQ_OK ? 42 : 3;
}

/* fsync() of a folder needs reading it; writing a file does not. */
static void a_folder_that_cannot_be_read_takes_outputs(void **state) {
    (void)state;
    tq_tensor t;
    assert_int_equal(mkdir("d", 0777), 0);
    put_file("d/old", "old", 3);
    if (geteuid() == 0) {
        assert_int_equal(chown("d", SOMEBODY, SOMEBODY) | chown("d/old", SOMEBODY, SOMEBODY), 0);
        assert_int_equal(chmod(".", 0755), 0);
    }
    assert_int_equal(chmod("d", 0300), 0);
    int got = as_user(SOMEBODY, write_into_the_dark);
    assert_int_equal(chmod("d", 0700), 0);
    assert_int_equal(got, 42);
    assert_int_equal(count_entries("d"), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tq_npy_read(i == 0 ? "d/old" : "d/new", &t), TQ_OK);
        tq_tensor_free(&t);
        assert_int_equal(unlink(i == 0 ? "d/old" : "d/new"), 0);
    }
}

static void owners_are_kept(void **state) {
    (void)state;
    if (geteuid() != 0) skip(); /* nobody else can have a file of another */
    struct stat st;
    put_file("a", "old", 3);
    assert_int_equal(chown("a", SOMEBODY, ANYBODY) | chmod("a", 0640), 0);
    tq_outputs *set = begin();
    write_output(set, "a", "new");
    assert_int_equal(tq_outputs_commit(set), TQ_OK);
    assert_null(tq_outputs_disowned(set));
    tq_outputs_end(set);
    assert_holds("a", "new");
    assert_int_equal(stat("a", &st), 0);
    assert_int_equal(st.st_uid, SOMEBODY);
    assert_int_equal(st.st_gid, ANYBODY);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static int replace_roots_file(void) {
    tq_outputs *set = NULL;
    tq_output *output = NULL;
    if (tq_outputs_begin(&set) != TQ_OK || tq_outputs_open(set, "d/a", &output) != TQ_OK) return 1;
    if (tq_output_bytes(output, "new", 3) != TQ_OK || tq_outputs_commit(set) != TQ_OK) return 2;
    const char *path = tq_outputs_disowned(set);
    bool told = path != NULL && strcmp(path, "d/a") == 0;
    tq_outputs_end(set);
    return told ? 42 : 3;
}

static void an_owner_that_cannot_be_kept_is_told(void **state) {
    (void)state;
    if (geteuid() != 0) skip(); /* nobody else can give a file to another */
    struct stat st;
    assert_int_equal(mkdir("d", 0755), 0);
    put_file("d/a", "old", 3);
    assert_int_equal(chmod("d/a", 0604) | chown("d", SOMEBODY, SOMEBODY) | chmod(".", 0755), 0);
    assert_int_equal(as_user(SOMEBODY, replace_roots_file), 42);
    assert_holds("d/a", "new");
    assert_int_equal(stat("d/a", &st), 0);
    assert_int_equal(st.st_uid, SOMEBODY);
    assert_int_equal(st.st_mode & 07777, 0604);
    assert_int_equal(count_entries("d"), 1);
    assert_int_equal(unlink("d/a"), 0);
}

static int replace_in_a_sticky_folder(void) {
    tq_outputs *set = NULL;
    tq_output *output = NULL;
    if (tq_outputs_begin(&set) != TQ_OK) return 1;
    tq_status status = tq_outputs_open(set, "d/a", &output);
    bool told = strstr(tq_last_error()->message, "d/a: belongs to another user") != NULL;
    tq_outputs_end(set);
    return status == TQ_E_IO && told ? 42 : 2;
}

/* The rename at the end would fail. */
static void a_protected_file_is_told_at_the_start(void **state) {
    (void)state;
    if (geteuid() != 0) skip(); /* nobody else can have a file of another */
    assert_int_equal(mkdir("d", 0777), 0);
    put_file("d/a", "old", 3);
    assert_int_equal(chmod("d", 01777) | chmod("d/a", 0666) | chmod(".", 0755), 0);
    assert_int_equal(as_user(SOMEBODY, replace_in_a_sticky_folder), 42);
    assert_holds("d/a", "old");
    assert_int_equal(count_entries("d"), 1);
    assert_int_equal(unlink("d/a"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_come_together, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(what_is_not_committed_is_removed, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(folders_of_others_stay, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(the_same_file_is_known_by_any_name, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_failed_commit_leaves_all_as_it_was, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_rename_that_fails_leaves_all_as_it_was, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(wrong_use_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_child_leaves_its_parents_files, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(discarding_takes_folders_too, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_signal_between_two_renames_waits_for_the_last, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(a_signal_finds_a_folder_that_was_just_made, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_read_takes_outputs, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(owners_are_kept, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(an_owner_that_cannot_be_kept_is_told, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_protected_file_is_told_at_the_start, enter_folder,
                                        leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
