/* SPDX-License-Identifier: MIT
 * A kernel's text for check_jit, and what is not easy to embed: "ä" '\n' \0 ??/ ;[a;b] ${x} @y@ %s é */
template <int N> struct times {
    static __device__ float of(float x) {
        return x * N;
    }
};

template <int N> __global__ void scale(float *x) {
    x[threadIdx.x] = times<N>::of(x[threadIdx.x]);
}
