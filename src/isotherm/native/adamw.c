/* The gradient's norm and a step of AdamW, each in one pass over memory: see `update/adamw.py`. */
#include "vectors.h"

enum { BLOCK = 16384 }; /* numbers that are summed together, and that a thread takes */

struct vector {
    const float *x;
    int64_t size;
};

/* Of blocks in float32, of these in float64 and in their order. */
void sum_of_squares(const struct vector *all, int64_t count, double *found) {
    *found = 0;
    for (const struct vector *v = all; v < all + count; v++) {
        int64_t blocks = (v->size + BLOCK - 1) / BLOCK;
        double total = 0;
        float part[blocks];
#pragma omp parallel for schedule(static) if (blocks > 4)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t start = b * BLOCK, size = v->size - start < BLOCK ? v->size - start : BLOCK;
            f16 sum = {0};
            for SIXTEEN(size) {
                f16 x = load_some(v->x, start + i, left, FLOAT);
                sum += x * x;
            }
            part[b] = sum16(sum);
        }
        for (int64_t b = 0; b < blocks; b++) total += part[b];
        *found += total;
    }
}

struct parameter {
    float *weight;
    const float *grad;
    float *mean, *square, *step;
    int64_t size;
};

struct rule {
    double lr, beta1, beta2, epsilon, decay, clip;
};

INLINE f16 root16(f16 x) {
#ifdef __AVX512F__
    return (f16)_mm512_sqrt_ps((__m512)x);
#else
    for (int i = 0; i < 16; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* Returns 1 where a weight is no longer finite, and 2 where a moment is not. */
static int64_t part_of_step(struct parameter p, struct rule r, int64_t start, int64_t size) {
    double fall1 = 1 - pow(r.beta1, *p.step), fall2 = 1 - pow(r.beta2, *p.step);
    float keep = 1 - r.lr * r.decay, clip = r.clip, rise1 = 1 - r.beta1, rise2 = 1 - r.beta2, beta2 = r.beta2;
    float root = 1 / sqrt(fall2), epsilon = r.epsilon, rate = r.lr / fall1;
    f16 weights = {0}, moments = {0}; /* 0 times each: 0, or NaN */
    for SIXTEEN(size) {
        int64_t j = start + i;
        f16 g = load_some(p.grad, j, left, FLOAT) * clip, m = load_some(p.mean, j, left, FLOAT);
        f16 v = load_some(p.square, j, left, FLOAT) * beta2 + rise2 * g * g;
        m += rise1 * (g - m);
        f16 w = load_some(p.weight, j, left, FLOAT) * keep - rate * m / (root16(v) * root + epsilon);
        store_some(p.mean, j, left, m, FLOAT);
        store_some(p.square, j, left, v, FLOAT);
        store_some(p.weight, j, left, w, FLOAT);
        weights += w * 0.0f;
        moments += m * 0.0f + v * 0.0f;
    }
    float w = sum16(weights), m = sum16(moments);
    return (w != w) | (m != m) << 1;
}

/* The same of all parameters. */
int64_t adamw(const struct parameter *all, int64_t count, const struct rule *r) {
    int64_t found = 0;
    for (const struct parameter *p = all; p < all + count; p++) {
        *p->step += 1;
#pragma omp parallel for schedule(static) reduction(| : found) if (p->size > 4 * BLOCK)
        for (int64_t start = 0; start < p->size; start += BLOCK)
            found |= part_of_step(*p, *r, start, p->size - start < BLOCK ? p->size - start : BLOCK);
    }
    return found;
}
