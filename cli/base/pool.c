/* SPDX-License-Identifier: MIT
 * The command's threads.
 *
 * A language model's token is a hundred short runs of tasks, one after the other, and the machine has
 * other work too. So nobody waits for a thread that the system lets wait: whoever is there takes the
 * tasks, and a thread that comes late finds none. Each begins with a share of its own, the same one in
 * every run, since it has those data in its cache. */
#include "base/threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* How often a thread looks for what it waits for before it sleeps: some 20 us, as long as waking up
 * takes. */
enum { LOOKS = 10000 };

typedef struct share {
    _Alignas(64) atomic_size_t next;
    size_t end;
} share;

typedef struct pool {
    pthread_mutex_t lock;
    pthread_cond_t begun, done;
    atomic_size_t runs;      /* begun so far */
    atomic_size_t inside;    /* threads that take tasks, the calling one not counted */
    bool is_open;            /* there may be tasks left */
    atomic_size_t n_numbers; /* given out to threads; the calling one has 0 */
    void (*task)(void *work, size_t index);
    void *work;
    size_t threads;
    share shares[];
} pool;

/* The tasks of the own share, then what others have left. */
static void take_tasks(pool *p, size_t number) {
    for (size_t i = 0; i < p->threads; i++) {
        share *s = &p->shares[(number + i) % p->threads];
        for (size_t t = atomic_fetch_add(&s->next, 1); t < s->end; t = atomic_fetch_add(&s->next, 1))
            p->task(p->work, t);
    }
}

static void leave(pool *p) {
    pthread_mutex_lock(&p->lock);
    if (atomic_fetch_sub(&p->inside, 1) == 1) pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void *live(void *context) {
    pool *p = context;
    const size_t number = atomic_fetch_add(&p->n_numbers, 1) + 1;
    for (size_t seen = 0;;) {
        for (int i = 0; i < LOOKS && atomic_load(&p->runs) == seen; i++)
            continue;
        pthread_mutex_lock(&p->lock);
        while (atomic_load(&p->runs) == seen)
            pthread_cond_wait(&p->begun, &p->lock);
        seen = atomic_load(&p->runs);
        const bool joins = p->is_open;
        atomic_fetch_add(&p->inside, joins ? 1 : 0);
        pthread_mutex_unlock(&p->lock);
        if (joins) {
            take_tasks(p, number);
            leave(p);
        }
    }
    return NULL;
}

static void begin(pool *p, size_t n_tasks, void (*task)(void *work, size_t index), void *work) {
    const size_t each = n_tasks / p->threads, more = n_tasks % p->threads;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0, at = 0; i < p->threads; i++) {
        atomic_store(&p->shares[i].next, at);
        at += each + (i < more ? 1 : 0);
        p->shares[i].end = at;
    }
    p->task = task;
    p->work = work;
    p->is_open = true;
    atomic_fetch_add(&p->runs, 1);
    pthread_mutex_unlock(&p->lock);
    pthread_cond_broadcast(&p->begun);
}

static void run(void *context, size_t n_tasks, void (*task)(void *work, size_t index), void *work) {
    pool *p = context;
    begin(p, n_tasks, task, work);
    take_tasks(p, 0);
    for (int i = 0; i < LOOKS && atomic_load(&p->inside) != 0; i++)
        continue;
    pthread_mutex_lock(&p->lock);
    p->is_open = false;
    while (atomic_load(&p->inside) != 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

/* Signals are for the first thread. */
static int start_threads(pool *p) {
    sigset_t all, old;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (size_t i = 1; i < p->threads && error == 0; i++) {
        pthread_t thread;
        error = pthread_create(&thread, NULL, live, p);
        if (error == 0) pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

int cli_pool_start(size_t threads, tq_parallel *parallel) {
    static pool *started; /* in reach to the end, as its threads are */
    pool *p = aligned_alloc(_Alignof(pool), sizeof *p + threads * sizeof p->shares[0]);
    if (p == NULL) return ENOMEM;
    *p = (pool){.lock = PTHREAD_MUTEX_INITIALIZER,
                .begun = PTHREAD_COND_INITIALIZER,
                .done = PTHREAD_COND_INITIALIZER,
                .threads = threads};
    started = p;
    *parallel = (tq_parallel){run, started};
    return start_threads(p);
}
