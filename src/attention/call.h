/* SPDX-License-Identifier: MIT
 * A call: a kind, a batch, and the workspace that they are checked with. */
#ifndef TQ_ATTENTION_CALL_H
#define TQ_ATTENTION_CALL_H

#include "attention/batch.h"

typedef struct tq_attend_call {
    tq_attend_kind kind;
    tq_attention_batch batch;
    const char *out_name; /* for messages */
} tq_attend_call;

/* Bytes of workspace that just this batch wants. */
tq_status tq_attend_call_size(const tq_attend_call *call, size_t *bytes);

/* Checks everything, then runs. */
tq_status tq_attend_call_run(tq_attend_call *call, void *workspace, size_t workspace_bytes);

#endif
