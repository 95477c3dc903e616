/* SPDX-License-Identifier: MIT
 * In the place of cuda.c where there is no CUDA: no device opens, and so nothing else is called. */
#include "base/device.h"
#include "base/message.h"

static tq_status refuse(void) {
    return tq_fail(TQ_E_UNSUPPORTED, 0, "device", "this build of tqkv has no CUDA");
}

int cli_open_device(int number, cli_device **device) {
    *device = NULL;
    if (number == CLI_CPU) return CLI_DONE;
    return cli_fail("--device cuda:%d: this build of tqkv has no CUDA; build it where nvcc is on PATH "
                    "(cmake -DTQKV_CUDA=ON), or work on the CPU: --device cpu",
                    number);
}

void cli_close_device(cli_device *device) {
    (void)device;
}

void cli_device_text(const cli_device *device, char *text, size_t size) {
    (void)device;
    if (size > 0) text[0] = '\0';
}

tq_status cli_device_encode(cli_device *device, const cli_heads *heads, size_t first, tq_encoded *out) {
    (void)device, (void)heads, (void)first, (void)out;
    return refuse();
}

tq_status cli_device_decode(cli_device *device, const tq_encoded *encoded, tq_domain domain, float *dst) {
    (void)device, (void)encoded, (void)domain, (void)dst;
    return refuse();
}

tq_status cli_device_attend(cli_device *device, const tq_attention_params *params, bool exact,
                            const cli_device_cache *cache, const float *q, float *out, float *lse) {
    (void)device, (void)params, (void)exact, (void)cache, (void)q, (void)out, (void)lse;
    return refuse();
}

void cli_device_time(cli_device *device, cli_device_timing *timing) {
    (void)device, (void)timing;
}

bool cli_has_cuda(void) {
    return false;
}

size_t cli_count_devices(void) {
    return 0;
}

tq_status cli_describe_device(size_t number, cli_device_info *info) {
    (void)number, (void)info;
    return refuse();
}
