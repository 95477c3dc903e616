/* SPDX-License-Identifier: MIT
 * v2 in plain float32, written from its definition and from nothing else. */
#include "model.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/cm.h"
#include "support/lloyd.h"

const double model_table[9] = {0,          0,           0.117482,    0.0345478, 0.00950101,
                               0.00250467, 0.000644240, 0.000163478, 4.11851e-5};

unsigned model_sign(size_t j) {
    static uint64_t words[MODEL_MAX_DIM / 64];
    if (words[0] == 0) {
        uint64_t state = UINT64_C(0x74716b7600000001);
        for (size_t w = 0; w < MODEL_MAX_DIM / 64; w++) {
            state += UINT64_C(0x9e3779b97f4a7c15);
            uint64_t z = state;
            z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
            z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
            words[w] = z ^ (z >> 31);
        }
    }
    return (unsigned)(words[j / 64] >> (j % 64)) & 1U;
}

static void power_of_two_stage(size_t dim, size_t h, float *x) {
    for (size_t j = 0; j < dim; j++) {
        if ((j / h) % 2 == 1) continue;
        float a = x[j], b = x[j + h];
        x[j] = h == 1 ? a + 0.5f * b : a + b;
        x[j + h] = h == 1 ? 0.5f * a - b : a - b;
    }
}

static float cas(size_t i, size_t p) {
    double angle = 2 * 3.14159265358979323846 * (double)i / (double)p;
    return (float)(cos(angle) + sin(angle));
}

static void prime_stage(size_t dim, size_t p, size_t h, float *x) {
    static float tables[64][64]; /* by prime; the last entry of a table in use is not 0 */
    float *table = tables[p];
    float y[MODEL_MAX_DIM];
    for (size_t i = 0; i < p && table[p - 1] == 0; i++)
        table[i] = cas(i, p);
    for (size_t j = 0; j < dim; j++) {
        size_t r = (j / h) % p, base = j - r * h;
        float sum = x[base];
        for (size_t s = 1; s < p; s++)
            sum += table[r * s % p] * x[base + s * h];
        y[j] = sum;
    }
    memcpy(x, y, dim * sizeof *x);
}

static void transform(size_t dim, float *x) {
    size_t h = 1;
    for (; dim / h % 2 == 0; h *= 2)
        power_of_two_stage(dim, h, x);
    for (size_t p = 3; h < dim; p += 2)
        for (; dim / h % p == 0; h *= p)
            prime_stage(dim, p, h, x);
}

static void scale_with_signs(size_t dim, float *x) {
    float scale = (float)sqrt(1.6 / (double)dim);
    for (size_t j = 0; j < dim; j++)
        x[j] = x[j] * (model_sign(j) ? -scale : scale);
}

void model_rotate(tq_domain to, size_t dim, const float *x, float *y) {
    memmove(y, x, dim * sizeof *x);
    if (to == TQ_ROTATED) scale_with_signs(dim, y);
    transform(dim, y);
    if (to == TQ_ORIGINAL) scale_with_signs(dim, y);
}

typedef struct half_book {
    float centroids[LLOYD_MAX_HALF], boundaries[LLOYD_MAX_HALF];
} half_book;

static const half_book *book_of(unsigned bits) {
    static half_book books[9];
    half_book *book = &books[bits];
    assert_in_range(bits, 2, 8);
    if (book->centroids[0] > 0) return book;
    lloyd q;
    assert_true(lloyd_solve(&q, bits) < 1e-13);
    for (size_t i = 0; i < q.n; i++)
        book->centroids[i] = (float)q.centroid[i];
    for (size_t i = 1; i < q.n; i++)
        book->boundaries[i - 1] = (float)q.lower[i];
    return book;
}

const float *model_centroids(unsigned bits) {
    return book_of(bits)->centroids;
}

const float *model_boundaries(unsigned bits) {
    return book_of(bits)->boundaries;
}

uint8_t model_code(unsigned bits, float u) {
    unsigned half = 1U << (bits - 1), index = 0;
    const float *boundary = model_boundaries(bits);
    while (index + 1 < half && boundary[index] < fabsf(u))
        index++;
    return (uint8_t)(signbit(u) ? index | half : index);
}

float model_centroid(unsigned bits, uint8_t code) {
    unsigned half = 1U << (bits - 1);
    float magnitude = model_centroids(bits)[code & (half - 1)];
    return code & half ? -magnitude : magnitude;
}

/* Sum of a[j] b[j] in 16 lanes, folded by halves. */
static float lane_sum(size_t dim, const float *a, const float *b) {
    float lane[16] = {0};
    for (size_t v = 0; v < dim / 16; v++)
        for (size_t l = 0; l < 16; l++)
            lane[l] += a[16 * v + l] * b[16 * v + l];
    for (size_t w = 8; w >= 1; w /= 2)
        for (size_t l = 0; l < w; l++)
            lane[l] += lane[l + w];
    return lane[0];
}

float model_half_value(uint16_t half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double size = exponent == 0   ? ldexp(fraction, -24)
                        : exponent < 31 ? ldexp(1024 + fraction, exponent - 25)
                        : fraction == 0 ? (double)INFINITY
                                        : (double)NAN;
    return (float)(half >> 15 == 1 ? -size : size);
}

/* Finite float16 numbers without a sign lie in the order of their bits: the two about x are found by
 * halving. */
uint16_t model_half(double x) {
    const double size = fabs(x);
    uint16_t below = 0, above = 0x7bff;
    assert_true(size <= 65504);
    while (above - below > 1) {
        const uint16_t middle = (uint16_t)((below + above) / 2);
        if ((double)model_half_value(middle) <= size)
            below = middle;
        else
            above = middle;
    }
    const double down = size - (double)model_half_value(below),
                 up = (double)model_half_value(above) - size;
    const uint16_t nearest = down < up || (down == up && below % 2 == 0) ? below : above;
    return (uint16_t)(nearest | (signbit(x) ? 0x8000 : 0));
}

/* What the rule makes of a rotated vector, and its codes. */
static float norm_and_codes(unsigned bits, size_t dim, tq_norm_rule rule, const float *y,
                            uint8_t *codes) {
    float u[MODEL_MAX_DIM] = {0}, c[MODEL_MAX_DIM] = {0};
    float squares = lane_sum(dim, y, y), root = (float)sqrt((double)dim);
    if (squares < FLT_MIN) return 0;
    float norm = sqrtf(squares), scale = root / norm;
    for (size_t j = 0; j < dim; j++) {
        u[j] = y[j] * scale;
        codes[j] = model_code(bits, u[j]);
        c[j] = model_centroid(bits, codes[j]);
    }
    if (rule == TQ_NORM_PLAIN) return norm;
    if (rule == TQ_NORM_UNBIASED) return norm * (float)dim / lane_sum(dim, u, c);
    return norm * root / sqrtf(lane_sum(dim, c, c));
}

float model_encode(unsigned bits, size_t dim, tq_norm_rule rule, const float *x, const uint16_t *centre,
                   uint8_t *codes) {
    float y[MODEL_MAX_DIM] = {0};
    for (size_t j = 0; j < dim; j++)
        y[j] = centre == NULL ? x[j] : x[j] - model_half_value(centre[j]);
    model_rotate(TQ_ROTATED, dim, y, y);
    float norm = norm_and_codes(bits, dim, rule, y, codes);
    if (norm <= 65504 && model_half((double)norm) == 0) memset(codes, 0, dim);
    return norm;
}

void model_decode(unsigned bits, size_t dim, tq_domain domain, const uint8_t *codes, uint16_t norm,
                  const uint16_t *centre, float *x) {
    float scale = model_half_value(norm) * (float)(1 / sqrt((double)dim)), wide[MODEL_MAX_DIM] = {0};
    for (size_t j = 0; j < dim; j++)
        x[j] = model_centroid(bits, codes[j]) * scale;
    if (domain == TQ_ORIGINAL) model_rotate(TQ_ORIGINAL, dim, x, x);
    if (centre == NULL) return;
    for (size_t j = 0; j < dim; j++)
        wide[j] = model_half_value(centre[j]);
    if (domain == TQ_ROTATED) model_rotate(TQ_ROTATED, dim, wide, wide);
    for (size_t j = 0; j < dim; j++)
        x[j] += wide[j];
}

static void put_bits(uint8_t *plane, size_t bit, unsigned width, unsigned field) {
    for (unsigned i = 0; i < width; i++)
        if (field >> i & 1U) plane[(bit + i) / 8] |= (uint8_t)(1U << (bit + i) % 8);
}

/* Where coordinate j's field starts in a plane of that width, in bits. */
static size_t field_at(size_t dim, unsigned width, size_t j) {
    if (width == 8) return j * width;
    size_t vectors = dim / 16, g = 1;
    while (g < 8 && vectors % (2 * g) == 0)
        g *= 2;
    size_t block = j / 16 / g, k = j / 16 % g, lane = j % 16;
    return (block * 16 + lane) * g * width + width * k;
}

void model_pack(unsigned bits, size_t dim, const uint8_t *codes, uint8_t *row) {
    static const unsigned planes[9][3] = {{0}, {0}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}, {8}};
    unsigned shift = 0;
    memset(row, 0, dim * bits / 8);
    for (size_t p = 0; p < 3 && planes[bits][p] != 0; p++) {
        unsigned width = planes[bits][p];
        for (size_t j = 0; j < dim; j++) {
            put_bits(row, field_at(dim, width, j), width,
                     (unsigned)codes[j] >> shift & ((1U << width) - 1));
        }
        row += dim * width / 8;
        shift += width;
    }
}
