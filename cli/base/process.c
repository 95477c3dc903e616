/* SPDX-License-Identifier: MIT
 * What a process needs before it opens its first file: safe standard streams and signal handlers. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "tqkv/io.h"

/* A caller may close descriptors 0 to 2. The next file opened would take the number, and what is printed
 * would land in it. A read-only /dev/null keeps the place, and printing to it still fails. */
static int occupy_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDONLY) == -1) return -1;
    return 0;
}

/* The thread that opens and commits outputs. A signal that it blocks for a moment reaches a thread of
 * OpenBLAS, and would end the process in the middle of what the moment was for. */
static pthread_t main_thread;

/* Raised again, the signal ends the process once the handler returns, and the caller sees of what it
 * died. The default action comes back only when all is removed: a second Ctrl-C may reach another thread.
 */
static void discard_and_die(int signal_number) {
    if (!pthread_equal(pthread_self(), main_thread)) {
        pthread_kill(main_thread, signal_number);
        return;
    }
    tq_io_discard_pending();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int cli_process_prepare(void) {
    /* What ends a process by default, from outside or at a limit. Not a crash: then memory is not to be
     * trusted with the names of what to remove. */
    static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT,   SIGTERM, SIGPIPE, SIGALRM,
                                SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ};
    struct sigaction action = {0};

    main_thread = pthread_self();
    if (occupy_standard_streams() == -1) return -1;
    action.sa_handler = discard_and_die;
    if (sigfillset(&action.sa_mask) == -1) return -1;
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        struct sigaction old;
        if (sigaction(fatal[i], NULL, &old) == -1) return -1;
        /* nohup and background jobs of a shell ignore some of these on purpose. */
        if (old.sa_handler != SIG_IGN && sigaction(fatal[i], &action, NULL) == -1) return -1;
    }
    return 0;
}
