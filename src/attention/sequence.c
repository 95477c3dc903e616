/* SPDX-License-Identifier: MIT
 * A sequence: its segments checked together, its queries placed, its work laid out. */
#include "attention/batch.h"
#include "base/size.h"

/* All encoded views of a kind must have one rotation, and dense ones the queries' domain. */
static tq_status note_view(const tq_view_reader *s, tq_domain domain, bool *dense, bool *encoded,
                           tq_rotation *rotation, bool *v1) {
    if (!tq_view_is_encoded(s)) {
        *dense = true;
        if (s->view.domain == domain) return TQ_OK;
        return tq_fail(TQ_E_DOMAIN, 0, s->name,
                       "%s: dense vectors in the %s domain, the call in the %s one", s->name,
                       s->view.domain == TQ_ROTATED ? "rotated" : "original",
                       domain == TQ_ROTATED ? "rotated" : "original");
    }
    if (*encoded && *v1 != s->plan.v1)
        return tq_fail(TQ_E_FORMAT, 0, s->name,
                       "%s: v1 and v2 formats do not mix, their rotations differ", s->name);
    *encoded = true;
    *rotation = s->plan.rotation;
    *v1 = s->plan.v1;
    return TQ_OK;
}

static tq_status check_format(const tq_attend_kind *kind, const tq_view_reader *s, tq_format planned) {
    if (kind->any_format || !tq_view_is_encoded(s) || s->view.codec.format == planned) return TQ_OK;
    const char *name = tq_format_name(planned);
    return tq_fail(TQ_E_FORMAT, 0, s->name, "%s: codes of %s, planned were %s", s->name,
                   tq_format_name(s->view.codec.format), name == NULL ? "dense vectors alone" : name);
}

static tq_status check_centre(const tq_segment *s) {
    if (s->v.centre != NULL) return tq_fail(TQ_E_FORMAT, 0, "v", "v: values have no centre, keys may");
    if (s->k.centre != NULL && s->k.store != TQ_STORE_CODES)
        return tq_fail(TQ_E_FORMAT, 0, "k", "k: codes may have a centre, dense vectors do not");
    return TQ_OK;
}

static tq_status check_end(const tq_segment *segments, size_t i) {
    if (segments[i].first_position <= UINT64_MAX - segments[i].length) return TQ_OK;
    return tq_fail(TQ_E_POSITION, i, "segments", "segments[%zu]: positions beyond 2^64", i);
}

static tq_status check_positions(const tq_segment *segments, size_t i) {
    const uint64_t first = segments[i].first_position, length = segments[i].length;
    for (size_t j = 0; j < i && length > 0; j++)
        if (segments[j].first_position < first + length &&
            first < segments[j].first_position + segments[j].length)
            return tq_fail(TQ_E_POSITION, i, "segments",
                           "segments[%zu] and segments[%zu] have positions in common: is a "
                           "first_position missing?",
                           j, i);
    return TQ_OK;
}

/* What the segments of a sequence have been found to be so far. */
typedef struct survey {
    bool v1_k, v1_v;
} survey;

static tq_status take_views(tq_attend_sequence *s, const tq_attend_kind *kind, const tq_segment *from,
                            tq_attend_segment *to, survey *seen) {
    TRY(check_centre(from));
    TRY(tq_view_reader_init(&to->k, "k", &from->k, kind->kv_heads, from, (uint32_t)kind->k_dim));
    TRY(tq_view_reader_init(&to->v, "v", &from->v, kind->kv_heads, from, (uint32_t)kind->v_dim));
    TRY(note_view(&to->k, kind->domain, &s->dense_k, &s->encoded_k, &s->k_rotation, &seen->v1_k));
    TRY(note_view(&to->v, kind->domain, &s->dense_v, &s->encoded_v, &s->v_rotation, &seen->v1_v));
    TRY(check_format(kind, &to->k, kind->k_format));
    return check_format(kind, &to->v, kind->v_format);
}

static tq_status take_segments(tq_attend_sequence *s, const tq_attend_kind *kind, const tq_sequence *from,
                               tq_attend_segment *segments) {
    survey seen = {0};
    if (from->segments == NULL && from->n_segments > 0)
        return tq_fail(TQ_E_NULL, 0, "segments", "segments is NULL");
    for (size_t i = 0; i < from->n_segments; i++) {
        tq_attend_segment scratch, *to = segments == NULL ? &scratch : &segments[i];
        TRY(check_end(from->segments, i));
        to->length = from->segments[i].length;
        to->first_position = from->segments[i].first_position;
        to->start = s->positions;
        if (to->length > 0) TRY(take_views(s, kind, &from->segments[i], to, &seen));
        TRY(check_positions(from->segments, i));
        if (!tq_size_add(s->positions, to->length, &s->positions))
            return tq_fail(TQ_E_OVERFLOW, i, "segments", "more positions than can be counted");
    }
    return TQ_OK;
}

/* Where the queries stand. What no mask asks for may be left open. */
static tq_status place_queries(tq_attend_sequence *s, const tq_attend_kind *kind,
                               const tq_sequence *from) {
    uint64_t end = from->query_end;
    for (size_t i = 0; i < from->n_segments && from->query_end == 0; i++) {
        const uint64_t stop = from->segments[i].first_position + from->segments[i].length;
        if (from->segments[i].length > 0 && stop > end) end = stop;
    }
    s->first_query = end - from->n_queries;
    if (from->n_queries <= end || !tq_attend_is_placed(kind)) return TQ_OK;
    return tq_fail(TQ_E_POSITION, end, "query_end",
                   "%zu queries before position %llu: their own keys are appended first, or query_end "
                   "says where they stand",
                   from->n_queries, (unsigned long long)end);
}

/* Nothing that a query sees may be among what is gone. The first of them looks back furthest. */
static tq_status check_kept(const tq_attend_sequence *s, const tq_attend_kind *kind,
                            const tq_sequence *from) {
    const uint64_t query = s->first_query, window = kind->window, end = from->kept_from;
    const uint64_t wanted = window == 0 || query < window ? 0 : query - window + 1;
    if (end <= from->kept_first || (kind->causal && query + from->n_queries <= from->kept_first))
        return TQ_OK;
    if (window > 0 && kind->sink_positions > from->kept_first)
        return tq_fail(TQ_E_POSITION, kind->sink_positions, "sink_positions",
                       "sink_positions %llu: of the positions below %llu only the first %llu are there",
                       (unsigned long long)kind->sink_positions, (unsigned long long)end,
                       (unsigned long long)from->kept_first);
    if (wanted >= end) return TQ_OK;
    return tq_fail(TQ_E_POSITION, wanted, "n_queries",
                   "%zu queries look back to position %llu, and those from %llu on are there: a ring's "
                   "capacity must be window + n_queries - 1 at least",
                   from->n_queries, (unsigned long long)wanted, (unsigned long long)end);
}

static tq_status take_tree(tq_attend_sequence *s, const tq_attend_kind *kind, const tq_sequence *from) {
    const uint64_t end = s->first_query + from->n_queries;
    if (from->tree == NULL) return TQ_OK;
    if (!kind->causal) return tq_fail(TQ_E_MASK, 0, "tree", "tree: bidirectional queries have none");
    if (from->n_tree == 0 || from->n_tree > end)
        return tq_fail(TQ_E_MASK, from->n_tree, "n_tree",
                       "n_tree %zu: the tree's bits stand for 1 to %llu last positions", from->n_tree,
                       (unsigned long long)end);
    if (from->kept_from > from->kept_first && end - from->n_tree < from->kept_from)
        return tq_fail(TQ_E_POSITION, end - from->n_tree, "n_tree",
                       "n_tree %zu: the tree begins at position %llu, and those from %llu on are there",
                       from->n_tree, (unsigned long long)(end - from->n_tree),
                       (unsigned long long)from->kept_from);
    s->tree = from->tree;
    s->tree_words = (from->n_tree - 1) / 64 + 1;
    s->tree_start = end - from->n_tree;
    return TQ_OK;
}

tq_status tq_attend_sequence_init(tq_attend_sequence *s, const tq_attend_kind *kind,
                                  const tq_sequence *from, tq_attend_segment *segments) {
    *s = (tq_attend_sequence){
        .segments = segments, .n_segments = from->n_segments, .n_queries = from->n_queries};
    TRY(take_segments(s, kind, from, segments));
    TRY(place_queries(s, kind, from));
    TRY(check_kept(s, kind, from));
    return take_tree(s, kind, from);
}

static bool place_floats(size_t *total, size_t *where, size_t n) {
    if (!tq_size_place(total, where, n, sizeof(float))) return false;
    *where /= sizeof(float);
    return true;
}

tq_status tq_attend_sequence_place(tq_attend_sequence *s, const tq_attend_kind *kind, size_t *total) {
    size_t rows, values, partials, most_floats = 0;
    bool fits = tq_size_mul(kind->heads, s->n_queries, &rows) && tq_size_mul(rows, kind->k_dim, &values);
    if (fits) {
        s->cut = tq_attend_cut_of(kind, s->n_queries, s->positions);
        s->acc_floats = kind->v_dim * ((s->encoded_v ? 1u : 0u) + (s->dense_v ? 1u : 0u));
        s->folds = s->cut.split > TQ_ATTEND_FOLD && s->positions > TQ_ATTEND_FOLD;
        const size_t digits = tq_attend_digit_floats(kind, s->encoded_k);
        s->partial_floats = tq_attend_partial_floats(s->acc_floats, s->folds, digits);
        s->tail_at = s->partial_floats - digits - TQ_LANES;
        /* as if it were split and folded: fewer positions never want more */
        most_floats = tq_attend_partial_floats(s->acc_floats, s->positions > TQ_ATTEND_FOLD, digits);
    }
    const bool rotates = s->encoded_k && kind->domain == TQ_ORIGINAL;
    fits = fits && tq_size_mul(rows, s->cut.most_splits, &partials) &&
           tq_size_mul(partials, most_floats, &partials) && place_floats(total, &s->plain, values) &&
           place_floats(total, &s->rotated, rotates ? values : 0) &&
           place_floats(total, &s->partials, partials) && *total <= PTRDIFF_MAX;
    if (!fits)
        return tq_fail(TQ_E_OVERFLOW, 0, "n_queries", "%zu heads of %zu queries do not fit in memory",
                       kind->heads, s->n_queries);
    if (!rotates) s->rotated = s->plain;
    return TQ_OK;
}

bool tq_attend_tables_place(size_t sequences, size_t segments, size_t *total, size_t *segments_at) {
    size_t at;
    *total = 0;
    return tq_size_place(total, &at, sequences, sizeof(tq_attend_sequence)) &&
           tq_size_place(total, segments_at, segments, sizeof(tq_attend_segment));
}
