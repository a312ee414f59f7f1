/* Statistics of pi = softmax(slope z) and the gradient with respect to z, over tiles of the logits z [rows, columns].

   The columns of a tile are tokens first, first + 1, ... of the vocabulary; tiles of one row come in any order. */
#include <stdlib.h>

#include "product.h"
#include "vectors.h"

/* Of a row: m near the largest x = slope z, S_k = sum e^kd and T_k = sum e^kd d with d = x - m, and x of the target. */
enum { M, S1, T1, S2, T2, CHOSEN, STATE };
enum { BLOCK = 2048 }; /* words whose sums are kept in float */
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
    float most = z[0] * slope, edge[16];
    f16 s1, t1, s2, t2;
    if (most > s[M] + 1) rescale(s, most);
    for (int again = 1; again;) {
        float m = (float)s[M];
        f16 top = all16(-INFINITY);
        s1 = t1 = s2 = t2 = all16(0);
        for SIXTEEN(count) {
            const float *here = z + i;
            if (left < 16) {  /* numbers that add nothing */
                for (int64_t j = 0; j < 16; j++) edge[j] = j < left ? here[j] : -INFINITY;
                here = edge;
            }
            f16 x = *(const f16 *)here * slope, d = larger16(all16(FAR), x - m), e = exp16(d), ed = e * d;
            top = larger16(top, x);
            s1 += e, t1 += ed, s2 += e * e, t2 += ed * e;
        }
        most = largest16(top);
        again = most > m + 1;
        if (again) rescale(s, most);
    }
    s[S1] += sum16(s1), s[T1] += sum16(t1), s[S2] += sum16(s2), s[T2] += sum16(t2);
}

/* Adds some logits of a row to its state; the first of them is word `first`. */
static void gather_row(double *s, const float *row, int64_t columns, int64_t target, int64_t first, float slope) {
    for (int64_t j = 0; j < columns; j += BLOCK) gather(s, row + j, columns - j < BLOCK ? columns - j : BLOCK, slope);
    int64_t place = target - first;
    if (place >= 0 && place < columns) s[CHOSEN] = row[place] * slope;
}

/* Adds a tile to the state [rows, 6]; of fresh rows m is -infinity and the rest 0. */
void score_gather(double *state, const float *z, int64_t rows, int64_t columns, int64_t stride, const int64_t *target,
                  int64_t first, float slope) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        gather_row(state + r * STATE, z + r * stride, columns, target[r], first, slope);
}

/* dx / dz; where z holds y = cap tanh(z / cap), of the cap too: slope (1 - (y / cap)^2). */
static float steepness(float y, float slope, float inverse_cap) {
    float t = y * inverse_cap;
    return slope * (1.0f - t * t);
}

/* dz = [p (-g1 - g2 (l + H)) + g1 1(target)] dx / dz with l = x - m - log S1, of some words of a row; the target is word
   `hit` of them. c: m, log S1, H, g1, g2. In bfloat16, what rounding took from the target, often the largest of its row,
   is `rest`. */
INLINE void gradient(const float *z, void *out, int64_t count, const float *c, int64_t hit, float *rest, float slope,
                     float inverse_cap, enum kind kind) {
    float g1 = c[3], g2 = c[4], constant = -g1 - g2 * c[2];
    for SIXTEEN(count) {
        f16 y = load_some(z, i, left, FLOAT), l = larger16(all16(FAR), (y * slope - c[0]) - c[1]), t = y * inverse_cap;
        f16 dz = exp16(l) * (constant - g2 * l) * (slope * (1.0f - t * t));
        if (hit >= i && hit < i + 16) {
            float at_target = dz[hit - i] + g1 * steepness(z[hit], slope, inverse_cap);
            dz[hit - i] = at_target;
            if (kind == BFLOAT) *rest = at_target - rounded(at_target, BFLOAT);
        }
        store_some(out, i, left, dz, kind);
    }
}

/* z <- dz; with `half` in bfloat16, in the first half of each row. coefficients [rows, 5]. cap 0 is none. */
void score_gradient(float *z, int64_t half, int64_t rows, int64_t columns, int64_t stride, const float *coefficients,
                    const int64_t *target, float *rest, int64_t first, float slope, float cap) {
    float inverse_cap = cap > 0 ? 1 / cap : 0;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *c = coefficients + r * 5;
        float *row = z + r * stride;
        int64_t hit = target[r] - first;
        EITHER(half, gradient(row, row, columns, c, hit, rest + r, slope, inverse_cap, BFLOAT),
               gradient(row, row, columns, c, hit, rest + r, slope, inverse_cap, FLOAT));
    }
}

/* The rest is for processors with tiles, where a tile of the logits stays in the second-level cache from its product to
   its end. Logits z = A B of `words` words, `steps` steps of the inner index; no cap and no bias. */
enum { HIGH = 128, EDGE = 16 };

static int64_t whole(int64_t x) { return (x + 31) / 32 * 32; }

/* `score_gather` of A B. Returns 0, or 1 where memory ran out. */
int64_t score_gather_product(double *state, const bf16 *a, const bf16 *b, int64_t steps, int64_t rows, int64_t words,
                             const int64_t *target, int64_t first, float slope) {
    int64_t failed = 0, stride = whole(words) + EDGE;
#pragma omp parallel reduction(| : failed)
    {
        float *z = aligned_alloc(64, HIGH * stride * 4);
        char before[64] __attribute__((aligned(64)));
        failed = !z;
        tiles_begin(before);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < rows; m += HIGH) {
            int64_t here = rows - m < HIGH ? rows - m : HIGH;
            if (failed) continue;
            product_block(TILE, z, stride, a + m / STRIP * steps * STEP, steps, b, steps, whole(here), whole(words), steps, 0);
            for (int64_t r = m; r < m + here; r++)
                gather_row(state + r * STATE, z + (r - m) * stride, words, target[r], first, slope);
        }
        tiles_end(before);
        free(z);
    }
    return failed;
}

/* 32 rows of dz as a strip of A, with zeros where there is no row or word. */
static void short_strip(const float *z, int64_t stride, bf16 *out, int64_t rows, int64_t words, const float *coefficients,
                        const int64_t *target, float *rest, int64_t first, float slope) {
    bf16 row[words];
    for (int64_t r = 0; r < STRIP; r++) {
        if (r < rows)
            gradient(z + r * stride, row, words, coefficients + r * 5, target[r] - first, rest + r, slope, 0, BFLOAT);
        for (int64_t i = 0; i < words; i += INNER) {
            int64_t n = r < rows ? (words - i < INNER ? words - i : INNER) : 0;
            bf16 *to = out + i / INNER * STEP + r * INNER;
            if (n < INNER) memset(to, 0, 2 * INNER);
            memcpy(to, row + i, 2 * n);
        }
    }
}

/* dz of A B; dh [rows, width] += dz W, with `w` the words' rows of W as panels, unless dh is NULL; `turned` gets dz^T as
   the strips of A that dW wants. */
int64_t score_gradient_product(float *dh, bf16 *turned, const bf16 *a, const bf16 *b, const bf16 *w, int64_t steps,
                               int64_t rows, int64_t words, int64_t width, const float *coefficients,
                               const int64_t *target, float *rest, int64_t first, float slope) {
    int64_t failed = 0, stride = whole(words) + EDGE, parts = whole(words) / INNER, long_way = whole(rows) / INNER;
#pragma omp parallel reduction(| : failed)
    {
        float *z = aligned_alloc(64, HIGH * stride * 4);
        bf16 *dz = aligned_alloc(64, HIGH * whole(words) * 2);
        char before[64] __attribute__((aligned(64)));
        failed = !(z && dz);
        tiles_begin(before);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < rows; m += HIGH) {
            int64_t here = rows - m < HIGH ? rows - m : HIGH;
            if (failed) continue;
            product_block(TILE, z, stride, a + m / STRIP * steps * STEP, steps, b, steps, whole(here), whole(words), steps, 0);
            for (int64_t i = 0; i < here; i += STRIP) {
                bf16 *strip = dz + i * whole(words);
                short_strip(z + i * stride, stride, strip, here - i, words, coefficients + (m + i) * 5, target + m + i,
                            rest + m + i, first, slope);
                for (int64_t k = 0; turned && k < parts; k++)
                    pack_across(turned + (k * long_way + (m + i) / INNER) * STEP, strip + k * STEP, 1);
            }
            if (dh) product_block(TILE, dh + m * width, width, dz, parts, w, parts, here, width, parts, 1);
        }
        tiles_end(before);
        free(z), free(dz);
    }
    return failed;
}
