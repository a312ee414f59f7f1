/* Statistics of pi = softmax(slope z) and the gradient with respect to z, over tiles of the logits z [rows, columns].

   The columns of a tile are tokens first, first + 1, ... of the vocabulary; tiles of one row come in any order. */
#include "numbers.h"

/* Of a row: m near the largest x = slope z, S_k = sum e^kd and T_k = sum e^kd d with d = x - m, and x of the target. */
enum { M, S1, T1, S2, T2, CHOSEN, STATE };
enum { BLOCK = 512 };
static const float FAR = -87.0f;  /* e^FAR = 1e-38 */

/* m <- `most`: S_k <- r^k S_k, T_k <- r^k (T_k + delta S_k) with r = e^delta. */
static void rescale(double *s, double most) {
    double delta = s[M] - most, r = exp(delta);
    if (s[S1] != 0) {
        s[T1] = r * (s[T1] + delta * s[S1]), s[S1] *= r;
        s[T2] = r * r * (s[T2] + delta * s[S2]), s[S2] *= r * r;
    }
    s[M] = most;
}

/* Adds a block. Where it reaches more than 1 above m, its sums are thrown away, and come again from a larger m. */
static void gather(double *s, const float *z, int64_t count, float slope) {
    float s1, t1, s2, t2, most = z[0] * slope;
    if (most > s[M] + 1) rescale(s, most);
    for (int again = 1; again;) {
        float m = (float)s[M];
        s1 = t1 = s2 = t2 = 0, most = -INFINITY;
#pragma omp simd reduction(+ : s1, t1, s2, t2) reduction(max : most)
        for (int64_t j = 0; j < count; j++) {
            float x = z[j] * slope, d = x - m;
            most = x > most ? x : most;
            d = d < FAR ? FAR : d;
            float e = exp_within(d), ed = e * d;
            s1 += e, t1 += ed, s2 += e * e, t2 += e * ed;
        }
        again = most > m + 1;
        if (again) rescale(s, most);
    }
    s[S1] += s1, s[T1] += t1, s[S2] += s2, s[T2] += t2;
}

/* Adds a tile to the state [rows, 6]; of fresh rows m is -infinity and the rest 0. */
void score_gather(double *state, const float *z, int64_t rows, int64_t columns, int64_t stride, const int64_t *target,
                  int64_t first, float slope) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *row = z + r * stride;
        double *s = state + r * STATE;
        for (int64_t j = 0; j < columns; j += BLOCK)
            gather(s, row + j, columns - j < BLOCK ? columns - j : BLOCK, slope);
        int64_t place = target[r] - first;
        if (place >= 0 && place < columns) s[CHOSEN] = row[place] * slope;
    }
}

/* dx / dz; where z holds y = cap tanh(z / cap), of the cap too: slope (1 - (y / cap)^2). */
static inline float steepness(float y, float slope, float inverse_cap) {
    float t = y * inverse_cap;
    return slope * (1.0f - t * t);
}

/* z <- dz = [p (-g1 - g2 (l + H)) + g1 1(target)] dx / dz with l = x - m - log S1. With `half`, in bfloat16 in the first
   half of each row, and what rounding took from the target, often the largest of its row, in rest [rows].
   coefficients [rows, 5]: m, log S1, H, g1, g2. cap 0 is none. */
void score_gradient(float *z, int64_t half, int64_t rows, int64_t columns, int64_t stride, const float *coefficients,
                    const int64_t *target, float *rest, int64_t first, float slope, float cap) {
    float inverse_cap = cap > 0 ? 1 / cap : 0;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *c = coefficients + r * 5;
        float *row = z + r * stride, m = c[0], log_s = c[1], g1 = c[3], g2 = c[4], constant = -g1 - g2 * c[2];
        for (int64_t j = 0; j < columns; j += BLOCK) {
            int64_t count = columns - j < BLOCK ? columns - j : BLOCK, hit = target[r] - first - j;
            float out[BLOCK];
            bf16 short_out[BLOCK];
#pragma omp simd
            for (int64_t i = 0; i < count; i++) {
                float y = row[j + i], l = (y * slope - m) - log_s;
                l = l < FAR ? FAR : l;
                out[i] = exp_within(l) * (constant - g2 * l) * steepness(y, slope, inverse_cap);
            }
            if (hit >= 0 && hit < count) out[hit] += g1 * steepness(row[j + hit], slope, inverse_cap);
            if (!half) {
                memcpy(row + j, out, 4 * count);
                continue;
            }
#pragma omp simd
            for (int64_t i = 0; i < count; i++) short_out[i] = narrow(out[i]);
            memcpy((bf16 *)row + j, short_out, 2 * count);
            if (hit >= 0 && hit < count) rest[r] = out[hit] - widen(short_out[hit]);
        }
    }
}
