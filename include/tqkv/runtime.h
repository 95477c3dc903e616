/* SPDX-License-Identifier: MIT
 * What a caller lends the library: threads and memory. */
#ifndef TQKV_RUNTIME_H
#define TQKV_RUNTIME_H

#include <stddef.h>

#include "tqkv/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A caller's threads: runs task(work, 0) to task(work, n_tasks - 1), in any order, on any threads, and
 * returns when all are done. Tasks are independent, and results do not depend on how they are run. A call
 * has one run at a time, and returns after it; it may itself be made inside a task. The library has no
 * threads of its own: what a host may do around a call, such as fork(), depends on those it lends.
 *
 * Calls that are lent one refuse a `run` that is NULL (TQ_E_NULL, field "parallel"). */
typedef struct tq_parallel {
    void (*run)(void *context, size_t n_tasks, void (*task)(void *work, size_t index), void *work);
    void *context; /**< handed to run() */
} tq_parallel;

/** Most threads that tq_parallel_openmp() takes. */
#define TQ_MAX_THREADS 1024

/** Fills in a tq_parallel that runs tasks on OpenMP's threads.
 *
 * out       for use as tq_batch.parallel, for as long as wanted; nothing to release
 * threads   how many, at most TQ_MAX_THREADS; 0: as many as OpenMP thinks fit, and not more than these.
 *           OpenMP ends the process where the system does not let it have them
 *
 * What a host may do, with GCC's runtime and LLVM's:
 * - fork(): a child whose parent has worked on these threads has none of them. There run() does all tasks
 *   on the calling thread, with the same results; a child that wants threads lends its own. What the host
 *   itself did with OpenMP before fork() is for the host to know: GCC's runtime then hangs in the child.
 * - dlclose(): the threads outlive it, and so does what they run: the shared library stays in memory. A
 *   plug-in that holds the static library must be linked with -Wl,-z,nodelete, as pkg-config --static and
 *   CMake's tqkv::tqkv_static do.
 * - nested parallelism: inside a parallel region of OpenMP run() works on the calling thread alone,
 *   unless the host has raised omp_set_max_active_levels(). Each thread that calls has a team of its
 *   own: several at once make so many times `threads`.
 * - idle threads spin for a while, which costs a machine that has other work; OMP_WAIT_POLICY=passive in
 *   the environment stops that.
 *
 * TQ_E_NULL; TQ_E_SIZE for more threads; TQ_E_UNSUPPORTED if the library was built without OpenMP. */
TQ_API tq_status tq_parallel_openmp(tq_parallel *out, unsigned threads);

/** Where memory comes from. NULL in place of a pointer to one: the C library's, aligned to 64 bytes. */
typedef struct tq_allocator {
    void *(*allocate)(void *context, size_t bytes);             /**< aligned to 64; NULL: there is none */
    void (*release)(void *context, void *memory, size_t bytes); /**< the size that was asked for */
    void *context;                                              /**< handed to both */
} tq_allocator;

#ifdef __cplusplus
}
#endif
#endif
