/* SPDX-License-Identifier: MIT
 * Plans for a kind of layer, and runs of many sequences. */
#include <string.h>

#include "attention/call.h"

/* What tells a plan from memory that is none. */
#define PLANNED UINT64_C(0x6e616c702d767174)

typedef struct planned {
    uint64_t mark;
    tq_attend_kind kind;
} planned;

_Static_assert(sizeof(planned) <= sizeof(tq_attention_kind), "a planned kind has room");

static size_t or_else(size_t n, size_t instead) {
    return n == 0 ? instead : n;
}

tq_status tq_attention_plan(const tq_attention_config *config, tq_attention_kind *kind,
                            size_t *workspace_bytes) {
    planned p = {.mark = PLANNED};
    tq_attention_config own;
    size_t bytes;
    TRY(tq_check_not_null("kind", kind));
    TRY(tq_check_not_null("workspace_bytes", workspace_bytes));
    TRY(tq_take_struct("config", config, &own, sizeof own));
    TRY(tq_attend_kind_init(&p.kind, &own));
    if (own.max_positions == 0)
        return tq_fail(TQ_E_SIZE, 0, "max_positions", "max_positions is 0: there must be one at least");
    p.kind.max_sequences = or_else(p.kind.max_sequences, 1);
    p.kind.max_queries = or_else(p.kind.max_queries, p.kind.max_sequences);
    p.kind.max_segments = or_else(p.kind.max_segments, 3);
    TRY(tq_attend_workspace_most(&p.kind, &bytes));
    *kind = (tq_attention_kind){{0}};
    memcpy(kind, &p, sizeof p);
    *workspace_bytes = bytes;
    return TQ_OK;
}

/* Sequences are the caller's, or the pool's; results are finished, or left open. */
static tq_status check_form(const tq_attention_batch *b, tq_type out_type) {
    if ((b->max == NULL) != (b->sum == NULL))
        return tq_fail(TQ_E_NULL, 0, b->max == NULL ? "max" : "sum", "max and sum: both, or neither");
    if (b->sum != NULL && (b->lse != NULL || b->sinks != NULL || out_type != TQ_F32))
        return tq_fail(TQ_E_FORMAT, 0, "sum",
                       "sum: an open result is float32, without lse and sinks, which the merge has");
    if (b->n_sequences == 0 || (b->sequences != NULL && b->pool == NULL)) return TQ_OK;
    if (b->sequences != NULL)
        return tq_fail(TQ_E_NULL, 0, "pool", "pool and sequences: it must be one of them");
    if (b->pool == NULL) return tq_fail(TQ_E_NULL, 0, "sequences", "sequences and pool are NULL");
    TRY(tq_check_not_null("block_tables", b->block_tables));
    TRY(tq_check_product("block_tables", b->n_sequences, b->table_stride, sizeof *b->block_tables, NULL));
    if (b->centre_tables != NULL)
        TRY(tq_check_product("centre_tables", b->n_sequences, b->centre_table_stride,
                             sizeof *b->centre_tables, NULL));
    return tq_check_not_null("lengths", b->lengths);
}

tq_status tq_attention_run(const tq_attention_kind *kind, const tq_attention_batch *batch,
                           void *workspace, size_t workspace_bytes) {
    planned p;
    TRY(tq_check_not_null("kind", kind));
    memcpy(&p, kind, sizeof p);
    if (p.mark != PLANNED)
        return tq_fail(TQ_E_NULL, 0, "kind", "kind: tq_attention_plan() has not made it");
    tq_attend_call call = {.kind = p.kind, .out_name = "out"};
    TRY(tq_take_struct("batch", batch, &call.batch, sizeof call.batch));
    TRY(check_form(&call.batch, p.kind.out_type));
    call.kind.leans = call.batch.slopes != NULL;
    return tq_attend_call_run(&call, workspace, workspace_bytes);
}
