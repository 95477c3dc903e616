/* SPDX-License-Identifier: MIT
 * The engine at work: a prefix that three sequences share, prompts in chunks beside decode steps, drafts
 * in chains and trees, a snapshot; all outputs beside float64, and the same bits whatever the threads. */
#include <string.h>

#include "cache/memory.h"
#include "check.h"
#include "engine.h"
#include "support/cm.h"
#include "support/pool.h"
#include "support/rng.h"

enum { PREFIX = 150, STEPS = 30, PAGES = 64, SNAPSHOT = 3 };

/* A run of the engine from beginning to end. */
typedef struct play {
    engine e;
    checker check;
    memory memory;
    pool threads;
    bool refuse; /* memory, now and then */
    size_t refused;
    rng r;                           /* of what must be the same in all plays */
    rng refusals;                    /* and of what must not matter */
    uint32_t next[ENGINE_SEQUENCES]; /* token to go on with */
} play;

static void play_open(play *p, size_t threads, bool compute, bool refuse) {
    *p = (play){.threads = {.threads = threads}, .refuse = refuse, .r = {1}, .refusals = {2}};
    const tq_allocator allocator = memory_allocator(&p->memory);
    const tq_parallel parallel = {pool_run, &p->threads};
    checker_open(&p->check, compute);
    if (engine_open(&p->e, &allocator, &parallel, PAGES) != TQ_OK)
        fail_msg("%s", tq_last_error()->message);
    p->e.watch = checker_watch;
    p->e.context = &p->check;
}

static void play_close(play *p) {
    for (size_t s = 0; s < ENGINE_SEQUENCES; s++)
        engine_end(&p->e, s);
    assert_int_equal(tq_page_pool_free_pages(p->e.pool), PAGES);
    engine_close(&p->e);
    memory_assert_empty(&p->memory);
    checker_close(&p->check);
}

static void ok(tq_status status) {
    if (status != TQ_OK) fail_msg("%s: %s", tq_status_name(status), tq_last_error()->message);
}

/* One of the next few requests for memory will be refused. */
static void maybe_refuse(play *p) {
    if (p->refuse) memory_refuse_after(&p->memory, rng_below(&p->refusals, 3));
}

/* Whether it was, which leaves everything as it was and is tried again. */
static bool was_refused(play *p, tq_status status) {
    memory_refuse_none(&p->memory);
    if (!p->refuse || status != TQ_E_NO_MEMORY) {
        ok(status);
        return false;
    }
    p->refused++;
    return true;
}

/* A step, after which each sequence has a next token. */
static void step(play *p, engine_work *work, size_t n_work) {
    const size_t logged = p->check.n_log;
    uint64_t before[ENGINE_SEQUENCES];
    for (size_t i = 0; i < n_work; i++)
        before[i] = engine_length(&p->e, work[i].sequence);
    maybe_refuse(p);
    const tq_status status = engine_step(&p->e, work, n_work);
    if (was_refused(p, status)) {
        for (size_t i = 0; i < n_work; i++)
            for (size_t l = 0; l < ENGINE_LAYERS; l++)
                assert_int_equal(tq_cache_length(p->e.caches[work[i].sequence][l]), before[i]);
        p->check.n_log = logged;
        ok(engine_step(&p->e, work, n_work));
    }
    for (size_t i = 0; i < n_work; i++)
        p->next[work[i].sequence] = toy_next(p->e.hidden + (work[i].row + work[i].n - 1) * TOY_WIDTH);
}

static void fork_sequence(play *p, size_t from, size_t to) {
    const size_t free_pages = tq_page_pool_free_pages(p->e.pool);
    maybe_refuse(p);
    if (was_refused(p, engine_fork(&p->e, from, to, engine_length(&p->e, from))))
        ok(engine_fork(&p->e, from, to, engine_length(&p->e, from)));
    assert_int_equal(tq_page_pool_free_pages(p->e.pool), free_pages); /* pages are shared */
    checker_fork(&p->check, from, to);
    p->next[to] = p->next[from];
}

static void draw_tokens(play *p, uint32_t *tokens, size_t n) {
    for (size_t i = 0; i < n; i++)
        tokens[i] = rng_below(&p->r, 50000);
}

/* The prefix, in chunks, and two more sequences that begin with it. */
static void begin(play *p) {
    uint32_t tokens[PREFIX];
    draw_tokens(p, tokens, PREFIX);
    ok(engine_begin(&p->e, 0, PREFIX));
    for (size_t done = 0, n; done < PREFIX; done += n) {
        n = PREFIX - done < ENGINE_CHUNK ? PREFIX - done : ENGINE_CHUNK;
        step(p, &(engine_work){.n = n, .tokens = tokens + done}, 1);
    }
    fork_sequence(p, 0, 1);
    fork_sequence(p, 0, 2);
}

/* Sequence 0 decodes while the prompts of the two others go on, each at its own pace. */
static void prompts(play *p) {
    static const size_t chunks[][2] = {{ENGINE_CHUNK, 17}, {ENGINE_CHUNK, 1}, {5, ENGINE_CHUNK}};
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        uint32_t tokens[2][ENGINE_CHUNK];
        draw_tokens(p, tokens[0], 2 * ENGINE_CHUNK);
        step(p,
             (engine_work[]){{.sequence = 1, .n = chunks[i][0], .tokens = tokens[0]},
                             {.sequence = 0, .n = 1, .tokens = &p->next[0]},
                             {.sequence = 2, .n = chunks[i][1], .tokens = tokens[1]}},
             3);
    }
}

enum { CHAIN = 4, TREE = 9 };
static const int tree[TREE] = {-1, 0, 0, 1, 1, 2, 5, 5, 7};

/* Some of a chain of drafts were right. */
static void accept_chain(play *p, const engine_work *w) {
    const uint64_t begun = engine_length(&p->e, w->sequence) - w->n;
    const size_t right = 1 + p->next[w->sequence] % w->n;
    ok(engine_rewind(&p->e, w->sequence, begun + right));
    p->next[w->sequence] = toy_next(p->e.hidden + (w->row + right - 1) * TOY_WIDTH);
}

/* A path down the tree was: from any of its tokens up to the root. */
static void accept_path(play *p, const engine_work *w) {
    const uint64_t begun = engine_length(&p->e, w->sequence) - w->n;
    const size_t last = p->next[w->sequence] % w->n;
    size_t path[TREE], n = 0;
    for (int token = (int)last; token >= 0; token = w->parents[token])
        n++;
    int token = (int)last;
    for (size_t i = n; i-- > 0; token = w->parents[token])
        path[i] = (size_t)token;
    ok(engine_accept(&p->e, w, path, n));
    checker_accept(&p->check, &p->e, w->sequence, begun, path, n);
    assert_int_equal(engine_length(&p->e, w->sequence), begun + n);
    p->next[w->sequence] = toy_next(p->e.hidden + (w->row + last) * TOY_WIDTH);
}

/* Steps of three sequences: one token each, or drafts behind it. */
static void decode(play *p, size_t steps) {
    for (size_t i = 0; i < steps; i++) {
        uint32_t tokens[3][TREE];
        engine_work work[3];
        for (size_t s = 0; s < 3; s++) {
            const size_t turn = (i + s) % 5;
            draw_tokens(p, tokens[s], TREE);
            tokens[s][0] = p->next[s];
            work[s] = (engine_work){.sequence = s, .n = 1, .tokens = tokens[s]};
            if (turn == 1) work[s].n = CHAIN;
            if (turn == 3) work[s].n = TREE;
            if (turn == 3) work[s].parents = tree;
        }
        step(p, work, 3);
        for (size_t s = 0; s < 3; s++)
            if (work[s].parents != NULL)
                accept_path(p, &work[s]);
            else if (work[s].n > 1)
                accept_chain(p, &work[s]);
    }
}

static void play_all(play *p) {
    begin(p);
    prompts(p);
    decode(p, STEPS / 2);
    fork_sequence(p, 1, SNAPSHOT);
    decode(p, STEPS / 2);
    engine_end(&p->e, 1); /* back to the snapshot, which stays one */
    fork_sequence(p, SNAPSHOT, 1);
    decode(p, 3);
}

static void promised(void **state) {
    (void)state;
    static play first;
    play_open(&first, 1, true, false);
    play_all(&first);
    print_message("%zu rows, %zu of trees; at most %.3f of what is promised, %.3f for lse\n",
                  first.check.rows, first.check.tree_rows, first.check.worst_out, first.check.worst_lse);
    assert_true(first.check.tree_rows > 1000);
    for (size_t s = 0; s < 3; s++) { /* longer than a block, a ring, and the others */
        assert_true(engine_length(&first.e, s) > 128 + 64);
        assert_true(engine_length(&first.e, s) != engine_length(&first.e, (s + 1) % 3));
    }
    static const struct {
        size_t threads;
        bool refuse;
    } others[] = {{2, false}, {5, false}, {2, true}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        static play again;
        play_open(&again, others[i].threads, false, others[i].refuse);
        play_all(&again);
        assert_int_equal(again.check.n_log, first.check.n_log);
        assert_memory_equal(again.check.log, first.check.log, first.check.n_log);
        assert_true(again.threads.tasks_seen > 100);
        assert_true(others[i].refuse == (again.refused > 5));
        play_close(&again);
    }
    play_close(&first);
}

/* A step for which the pool has no page leaves all layers as they were; another sequence's end makes
 * room. */
static void pages_run_out(void **state) {
    (void)state;
    enum { FEW_PAGES = 8 };
    static const uint32_t tokens[ENGINE_CHUNK] = {1, 2, 3};
    static memory m;
    engine e;
    pool threads = {.threads = 2};
    const tq_allocator allocator = memory_allocator(&m);
    ok(engine_open(&e, &allocator, &(tq_parallel){pool_run, &threads}, FEW_PAGES));
    ok(engine_begin(&e, 0, 50));
    ok(engine_begin(&e, 1, 50));
    engine_work work = {.n = ENGINE_CHUNK, .tokens = tokens};
    ok(engine_step(&e, &work, 1));
    ok(engine_step(&e, &work, 1));
    assert_int_equal(engine_step(&e, &work, 1), TQ_E_NO_MEMORY);
    for (size_t l = 0; l < ENGINE_LAYERS; l++)
        assert_int_equal(tq_cache_length(e.caches[0][l]), 2 * ENGINE_CHUNK);
    assert_int_equal(engine_begin(&e, 2, 50), TQ_E_NO_MEMORY);
    assert_null(e.caches[2][0]);
    engine_end(&e, 1);
    ok(engine_step(&e, &work, 1));
    engine_end(&e, 0);
    assert_int_equal(tq_page_pool_free_pages(e.pool), FEW_PAGES);
    engine_close(&e);
    memory_assert_empty(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(promised), cmocka_unit_test(pages_run_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
