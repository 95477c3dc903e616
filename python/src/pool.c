/* SPDX-License-Identifier: MIT
 * Threads that are lent to the library, in place of OpenMP's: a wheel brings no second OpenMP beside
 * PyTorch's, and a forked child makes its own.
 *
 * The calling thread takes tasks too, from the first on, so that a thread that wakes late costs nothing.
 * A call that finds the pool at work for another thread does all of its tasks itself. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "core.h"

enum { SPINS = 2000 };

static struct {
    pthread_mutex_t mutex, owner;
    pthread_cond_t work_there, work_done;
    atomic_uint wanted; /* threads beside the calling one */
    unsigned started;
    atomic_uint round; /* counts runs: a new number says that there is work */
    unsigned busy;     /* threads within the round at hand */
    bool open;         /* whether threads may still join it */
    size_t n_tasks;
    atomic_size_t next;
    void (*task)(void *work, size_t index);
    void *work;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
          .owner = PTHREAD_MUTEX_INITIALIZER,
          .work_there = PTHREAD_COND_INITIALIZER,
          .work_done = PTHREAD_COND_INITIALIZER};

static void take_tasks(void) {
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
        if (i >= pool.n_tasks) return;
        pool.task(pool.work, i);
    }
}

/* Waits a moment awake, because decode steps follow each other closely, and then asleep. */
static unsigned wait_for_work(unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool.round, memory_order_relaxed) != seen) break;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    pthread_mutex_lock(&pool.mutex);
    while (atomic_load_explicit(&pool.round, memory_order_relaxed) == seen)
        pthread_cond_wait(&pool.work_there, &pool.mutex);
    return atomic_load_explicit(&pool.round, memory_order_relaxed);
}

static void *thread(void *number) {
    const unsigned mine = (unsigned)(uintptr_t)number;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_work(seen);
        if (pool.open && mine < pool.wanted) {
            pool.busy++;
            pthread_mutex_unlock(&pool.mutex);
            take_tasks();
            pthread_mutex_lock(&pool.mutex);
            if (--pool.busy == 0) pthread_cond_signal(&pool.work_done);
        }
        pthread_mutex_unlock(&pool.mutex);
    }
    return NULL;
}

/* A child of fork() has none of its parent's threads, and locks may have been held by them. */
static void after_fork(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_mutex_init(&pool.owner, NULL);
    pthread_cond_init(&pool.work_there, NULL);
    pthread_cond_init(&pool.work_done, NULL);
    pool.started = pool.busy = 0;
    pool.open = false;
    atomic_store(&pool.round, 0);
}

/* With the mutex held. Fewer threads than wanted do the same work. */
static void start_threads(void) {
    static bool told;
    if (!told) told = pthread_atfork(NULL, NULL, after_fork) == 0;
    while (told && pool.started < pool.wanted) {
        pthread_t id;
        if (pthread_create(&id, NULL, thread, (void *)(uintptr_t)pool.started) != 0) return;
        pthread_detach(id);
        pool.started++;
    }
}

static void run_alone(size_t n_tasks, void (*task)(void *work, size_t index), void *work) {
    for (size_t i = 0; i < n_tasks; i++)
        task(work, i);
}

static void run(void *context, size_t n_tasks, void (*task)(void *work, size_t index), void *work) {
    (void)context;
    if (n_tasks <= 1 || pool.wanted == 0 || pthread_mutex_trylock(&pool.owner) != 0) {
        run_alone(n_tasks, task, work);
        return;
    }
    pthread_mutex_lock(&pool.mutex);
    start_threads();
    pool.n_tasks = n_tasks;
    pool.task = task;
    pool.work = work;
    atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
    pool.open = true;
    atomic_fetch_add_explicit(&pool.round, 1, memory_order_relaxed);
    pthread_cond_broadcast(&pool.work_there);
    pthread_mutex_unlock(&pool.mutex);
    take_tasks();
    pthread_mutex_lock(&pool.mutex);
    pool.open = false;
    while (pool.busy != 0)
        pthread_cond_wait(&pool.work_done, &pool.mutex);
    pthread_mutex_unlock(&pool.mutex);
    pthread_mutex_unlock(&pool.owner);
}

const tq_parallel *core_parallel(void) {
    static const tq_parallel parallel = {run, NULL};
    return &parallel;
}

void core_threads_set(unsigned n) {
    pthread_mutex_lock(&pool.owner); /* not while a round is under way */
    pool.wanted = n - 1;
    pthread_mutex_unlock(&pool.owner);
}

unsigned core_threads(void) {
    return pool.wanted + 1;
}
