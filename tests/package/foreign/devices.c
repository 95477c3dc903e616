/* SPDX-License-Identifier: MIT
 * A user's program on the CUDA library: opens the first device, or is told that there is none. */
#include <stdio.h>
#include <tqkv/cuda.h>

int main(void) {
    const tq_status expected = tq_cuda_count() > 0 ? TQ_OK : TQ_E_DEVICE;
    tq_cuda_info info = {.size = sizeof info};
    tq_cuda *cuda;
    const tq_status described = tq_cuda_describe(0, &info), status = tq_cuda_open(0, &cuda);
    printf("%d devices: %s\n", tq_cuda_count(),
           status == TQ_OK ? tq_cuda_name(cuda) : tq_last_error()->message);
    tq_cuda_close(cuda);
    return described == expected && status == expected ? 0 : 1;
}
