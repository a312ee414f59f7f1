/* A matrix as it is multiplied, and the way back of its gradient: see `policy/compiled_weights.py`.

   Of the first `turned` rows, i and i + head / 2 of each head become neighbours, and the first `scaled` rows are
   divided by sqrt(head). */
#include "vectors.h"

enum { COLUMNS = 256 }; /* that are summed together */

/* The row of the weights that becomes row i. */
INLINE int64_t origin(int64_t i, int64_t turned, int64_t head) {
    return i < turned ? i - i % head + i % 2 * (head / 2) + i % head / 2 : i;
}

INLINE float row_scale(int64_t i, int64_t scaled, int64_t head) { return i < scaled ? (float)(1.0 / sqrt(head)) : 1.0f; }

INLINE void prepare_row(const float *w, const float *norm, float scale, void *out, int64_t width, enum kind kind) {
    for SIXTEEN(width) {
        f16 v = load_some(w, i, left, FLOAT);
        if (norm) v *= load_some(norm, i, left, FLOAT);
        store_some(out, i, left, v * scale, kind);
    }
}

/* Each row of w, times `norm` where there is one, to its place and in its scale. */
void prepare(const float *w, const float *norm, void *out, int64_t rows, int64_t width, int64_t scaled, int64_t turned,
             int64_t head, int64_t kind) {
#pragma omp parallel for schedule(static) if (rows * width > 65536)
    for (int64_t i = 0; i < rows; i++) {
        const float *from = w + origin(i, turned, head) * width;
        float scale = row_scale(i, scaled, head);
        EITHER(kind, prepare_row(from, norm, scale, to(out, i * width, BFLOAT), width, BFLOAT),
               prepare_row(from, norm, scale, to(out, i * width, FLOAT), width, FLOAT));
    }
}

INLINE void prepare_back_row(const void *grad, const float *w, const float *norm, float scale, float *dw, float *dnorm,
                             int64_t width, enum kind kind) {
    for SIXTEEN(width) {
        f16 g = load_some(grad, i, left, kind) * scale;
        if (norm) {
            store_some(dnorm, i, left, load_some(dnorm, i, left, FLOAT) + g * load_some(w, i, left, FLOAT), FLOAT);
            g *= load_some(norm, i, left, FLOAT);
        }
        store_some(dw, i, left, g, FLOAT);
    }
}

/* From the gradient of what `prepare` wrote to dw, and with a norm to its dnorm, which is summed row after row. */
void prepare_back(const void *grad, const float *w, const float *norm, float *dw, float *dnorm, int64_t rows,
                  int64_t width, int64_t scaled, int64_t turned, int64_t head, int64_t kind) {
#pragma omp parallel for schedule(static) if (rows * width > 65536)
    for (int64_t start = 0; start < width; start += COLUMNS) {
        int64_t count = width - start < COLUMNS ? width - start : COLUMNS;
        float total[COLUMNS] = {0};
        const float *scales = norm ? norm + start : NULL;
        for (int64_t i = 0; i < rows; i++) {
            int64_t from = i * width + start, into = origin(i, turned, head) * width + start;
            float s = row_scale(i, scaled, head);
            EITHER(kind, prepare_back_row(at(grad, from, BFLOAT), w + into, scales, s, dw + into, total, count, BFLOAT),
                   prepare_back_row(at(grad, from, FLOAT), w + into, scales, s, dw + into, total, count, FLOAT));
        }
        if (norm) memcpy(dnorm + start, total, count * sizeof(float));
    }
}

/* total = the sum of x over its rows. */
void sum_rows(const void *x, float *total, int64_t rows, int64_t width, int64_t kind) {
    memset(total, 0, width * sizeof(float));
    for (int64_t r = 0; r < rows; r++)
        for SIXTEEN(width)
            EITHER(kind, store_some(total, i, left, load_some(total, i, left, FLOAT) + load_some(x, r * width + i, left, BFLOAT), FLOAT),
                   store_some(total, i, left, load_some(total, i, left, FLOAT) + load_some(x, r * width + i, left, FLOAT), FLOAT));
}
