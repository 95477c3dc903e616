/* SPDX-License-Identifier: MIT
 * Bytes as a sequence of calls on caches with their models beside them. */
#include "play.h"

#include <math.h>
#include <stdlib.h>

#include "broken.h"
#include "setup.h"

enum { PLAYERS = 4, MOST_APPENDED = 24, MOST_LENGTH = 200, MOST_TURNS = 300, HEAD_BYTES = 9 };

typedef struct game {
    const uint8_t *bytes;
    size_t left;
    setup setup;
    beside players[PLAYERS]; /* cache is NULL: not there */
    rng values;
} game;

static uint8_t next(game *g) {
    if (g->left == 0) return 0;
    g->left--;
    return *g->bytes++;
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

/* A configuration that has to be accepted, of small sizes. */
static void open_setup(game *g) {
    uint8_t b[HEAD_BYTES];
    for (size_t i = 0; i < HEAD_BYTES; i++)
        b[i] = next(g);
    tq_cache_config c = {.size = sizeof c,
                         .policy = (tq_cache_policy)(b[0] % 3),
                         .layer = setup_layer(b[0] / 3 % SETUP_CHEAP, 1 + b[1] % 2),
                         .sinks = b[1] / 2 % 6,
                         .recent = b[2] % 10,
                         .learn_centre = b[3] % 3 == 0 ? b[3] / 3 % 12 : 0};
    c.capacity = largest(largest(c.recent, c.learn_centre), 1) + b[4] % 40;
    if (c.learn_centre > 0 && b[8] / 48 > 0)
        c.centre_stretch = c.learn_centre + (size_t)(b[8] / 48 - 1) * (b[8] % 8);
    if (c.policy == TQ_CACHE_GLOBAL) c.capacity += 100;
    if (c.policy == TQ_CACHE_RING) c.window = b[5] % (c.capacity + 1);
    if (c.policy == TQ_CACHE_PAGED && b[5] % 2 == 1) c.window = 1 + b[5] / 2 % c.capacity;
    if (b[8] % 4 == 1) c.layer.v_store = b[8] % 8 == 1 ? TQ_STORE_F16 : TQ_STORE_BF16;
    if (b[8] % 6 == 1) c.layer.k_store = b[8] % 12 == 1 ? TQ_STORE_F16 : TQ_STORE_BF16;
    if (c.layer.k_store != TQ_STORE_CODES) c.learn_centre = c.centre_stretch = 0;
    if (b[8] / 12 % 4 == 1) c.layer.v.head_dim += 16;
    setup_open_config(&g->setup, &c, 1 + b[6] % 16, 1 + b[7] % 6);
    const size_t n = c.layer.n_kv_heads * c.layer.k.head_dim;
    if (b[3] % 3 != 1 || c.layer.k_store != TQ_STORE_CODES) return;
    g->setup.centre = zeroed(n, sizeof *g->setup.centre);
    for (size_t i = 0; i < n; i++)
        g->setup.centre[i] = (float)(rng_uniform(&g->values) * 6);
    g->setup.config.k_centre = g->setup.centre;
}

/* As large as a side's vectors may be: float16 holds the norms of v2. */
static float large(const lane *l, float dense) {
    return l->store == TQ_STORE_CODES && !TQ_IS_V1(l->codec.format) ? 20 : dense;
}

/* Small, large, tiny or equal values, all of which can be kept. */
static void draw(const model *m, size_t n, uint8_t how, rng *r, float *k, float *v) {
    static const float scales[] = {1, 16000, 1e-6f, 0, 1e-30f};
    const float scale = scales[how % 5];
    draw_vectors(m, n, r, k, v);
    for (size_t i = 0; i < n * m->heads * m->k.dim; i++)
        k[i] *= how % 5 == 1 ? large(&m->k, 8000) : scale;
    for (size_t i = 0; i < n * m->heads * m->v.dim; i++)
        v[i] *= how % 5 == 1 ? large(&m->v, scale) : scale;
}

static void spoil(game *g, beside *b, size_t n, float *k, float *v) {
    static const float bad[] = {NAN, INFINITY, -2 * TQ_MAX_ABS};
    const uint8_t what = next(g);
    const size_t dim = what % 2 == 0 ? b->model->k.dim : b->model->v.dim;
    const size_t values = n * b->model->heads * dim;
    const size_t at = next(g) * values / 256;
    float *x = what % 2 == 0 ? k : v;
    x[at] = bad[what / 2 % 3];
    const bool full = !b->model->forgets && n > b->model->capacity - (size_t)b->model->length;
    const tq_status got = tq_cache_append(b->cache, n, k, v);
    if (full) /* which of the two is named is not promised */
        beside_refused(b, got, tq_last_error()->status, NULL);
    else
        beside_refused(b, got, what / 2 % 3 == 2 ? TQ_E_RANGE : TQ_E_NOT_FINITE,
                       what % 2 == 0 ? "k" : "v");
    if (got == TQ_OK) broken("a value that cannot be kept was kept");
}

static void append(game *g, beside *b, bool bad) {
    const uint8_t byte = next(g);
    const size_t n = byte % MOST_APPENDED + (bad ? 1U : 0U);
    float *k, *v;
    if (b->model->length > MOST_LENGTH) return;
    new_vectors(b->model, n, &k, &v);
    draw(b->model, n, byte / MOST_APPENDED, &g->values, k, v);
    if (bad)
        spoil(g, b, n, k, v);
    else
        beside_append_way(b, n, k, v, next(g) % BESIDE_WAYS);
    free(k);
    free(v);
}

static void attend(game *g, beside *b) {
    const uint64_t length = b->model->length;
    size_t n = 1 + next(g) % 4;
    if (length == 0) return;
    if (n > length) n = (size_t)length;
    while (n > 0 && !model_sees_all(b->model, length - n))
        n--;
    if (n > 0) check_attention(b->model, b->cache, n, 2, &g->values);
}

static void fork_to(game *g, beside *from, beside *to) {
    if (to->cache != NULL) return;
    beside fork;
    if (beside_fork(from, next(g) * (from->model->length + 2) / 256, &fork) == TQ_OK) *to = fork;
}

/* A call on a cache: each byte is the player, the rest says what it does. */
static void turn(game *g) {
    const uint8_t byte = next(g);
    beside *b = &g->players[byte % PLAYERS];
    if (b->cache == NULL) {
        memory_refuse_none(&g->setup.memory); /* the model has no word for a cache that is not there */
        setup_cache(&g->setup, b);
        return;
    }
    switch (byte / PLAYERS % 16) {
    case 0:
        beside_clear(b);
        return;
    case 1:
        beside_close(b);
        return;
    case 2:
        append(g, b, true);
        return;
    case 3:
        memory_refuse_after(b->memory, next(g) % 8);
        return;
    case 4:
    case 5:
        fork_to(g, b, &g->players[next(g) % PLAYERS]);
        return;
    case 6:
    case 7:
        beside_truncate(b, next(g) * (b->model->length + 2) / 256);
        return;
    case 8:
    case 9: {
        const uint64_t back = next(g) % 8;
        beside_truncate(b, b->model->length < back ? 0 : b->model->length - back);
        return;
    }
    case 10:
    case 11:
        attend(g, b);
        return;
    case 12:
        beside_reserve(b, next(g) * (b->model->length + 40) / 128);
        return;
    default:
        append(g, b, false);
    }
}

/* A call on one cache must not show in another: all that are there are what they were. */
static void check_all(const game *g) {
    size_t held = 0, pages;
    for (size_t i = 0; i < PLAYERS; i++) {
        if (g->players[i].cache == NULL) continue;
        check_cache(g->players[i].model, g->players[i].cache);
        held += check_bytes(g->players[i].model, g->players[i].cache, &pages).held;
        held -= pages;
    }
    if (held != g->setup.memory.held)
        broken("the caches count %zu bytes, the allocator %zu", held, g->setup.memory.held);
}

void play(const uint8_t *bytes, size_t size) {
    game g = {.bytes = bytes, .left = size, .values = {size + 1}};
    open_setup(&g);
    for (int i = 0; i < MOST_TURNS && g.left > 0; i++) {
        turn(&g);
        for (size_t p = 0; p < PLAYERS; p++)
            g.players[p].alone = false;
        check_all(&g);
    }
    for (size_t i = 0; i < PLAYERS; i++)
        if (g.players[i].cache != NULL) beside_close(&g.players[i]);
    setup_close(&g.setup);
}
