/* SPDX-License-Identifier: MIT
 * A run that is captured in a CUDA graph, and replayed while lengths change on the device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "check.h"
#include "usual.h"

static cudaGraphExec_t capture(const planned *p, const staged *on, cudaStream_t stream) {
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    need(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    succeed(tq_cuda_attention_run(p->plan, &on->batch, on->workspace, on->workspace_bytes, stream));
    need(cudaStreamEndCapture(stream, &graph), "capture");
    need(cudaGraphInstantiate(&replay, graph, 0), "graph");
    need(cudaGraphDestroy(graph), "graph");
    return replay;
}

/* As it is, then with other lengths: all there are, few, and none. */
static void replay_at(scene *s, const staged *on, cudaGraphExec_t replay, cudaStream_t stream,
                      size_t step) {
    int32_t lengths[5] = {0};
    answer a;
    for (size_t b = 0; b < 5; b++) {
        const size_t room = s->room[b], shorter = s->has_coded ? room - below(8) : below(room + 1);
        s->lengths[b] = step == 0 || step == 3 ? room : step == 1 && !s->has_coded ? b : shorter;
        lengths[b] = (int32_t)s->lengths[b];
    }
    need(cudaMemcpy(on->lengths, lengths, sizeof lengths, cudaMemcpyHostToDevice), "lengths");
    poison_outputs(on, 0xA5, stream);
    need(cudaGraphLaunch(replay, stream), "graph");
    need(cudaStreamSynchronize(stream), "graph");
    fetch(on, 0xA5, &a);
    compare(s, &a, false);
    answer_free(&a);
}

static void check_replays(tq_cuda_accuracy accuracy, bool mixed, size_t n_queries) {
    tq_cuda_attention_config config = usual(accuracy);
    config.dense = mixed;
    config.centre_stretch = mixed ? 64 : 0;
    const planned p = plan_for(&config);
    scene s = plain("graph", &config, n_queries);
    staged on;
    cudaStream_t stream;
    for (size_t b = 0; b < 5; b++)
        s.lengths[b] = 40 + 333 * b, s.coded[b] = s.lengths[b] - 20;
    s.has_coded = mixed, s.recent_capacity = mixed ? 24 : 0, s.n_sinks = mixed ? 4 : 0;
    s.centre = mixed, s.stretch = config.centre_stretch;
    scene_build(&s);
    stage(&s, p.plan, &on);
    need(cudaStreamCreate(&stream), "stream");
    const cudaGraphExec_t replay = capture(&p, &on, stream);
    for (size_t step = 0; step < 6; step++)
        replay_at(&s, &on, replay, stream, step);
    need(cudaGraphExecDestroy(replay), "graph");
    need(cudaStreamDestroy(stream), "stream");
    device_reset();
    scene_free(&s);
    tq_cuda_attention_free(p.plan);
}

void check_graph(void) {
    seed(6);
    for (int i = 0; i < 4; i++)
        check_replays((tq_cuda_accuracy)(i % 2), i / 2 == 1, i / 2 == 1 ? 3 : 1);
    check_replays(TQ_CUDA_FAST, true, 17);
}

/* Block tables with numbers of no page where no row looks: behind the last position, and before the
 * first that a window shows. */
void check_stale(void) {
    seed(7);
    for (int i = 0; i < 6; i++) {
        const size_t n = i < 4 ? 2 : 17; /* fast and exact, and fast of many rows */
        const bool windowed = i / 2 == 1 || i == 5;
        tq_cuda_attention_config config = usual(i < 4 ? (tq_cuda_accuracy)(i % 2) : TQ_CUDA_FAST);
        config.layer.window = windowed ? 50 : 0;
        const planned p = plan_for(&config);
        scene s = plain("stale tables", &config, n);
        staged on;
        answer a;
        for (size_t b = 0; b < 5; b++)
            s.lengths[b] = 90 + 30 * b;
        scene_build(&s);
        for (size_t j = 0; j < 5 * s.table_stride; j++) {
            const size_t b = j / s.table_stride, begin = j % s.table_stride * 16;
            const size_t first = windowed ? s.lengths[b] - n + 1 - 50 : 0;
            if (begin >= s.lengths[b] || begin + 16 <= first) s.table[j] = j % 2 == 0 ? -1 : INT32_MAX;
        }
        stage(&s, p.plan, &on);
        run(&on, p.plan, 0xA5, NULL, &a);
        compare(&s, &a, false);
        answer_free(&a);
        device_reset();
        scene_free(&s);
        tq_cuda_attention_free(p.plan);
    }
}
