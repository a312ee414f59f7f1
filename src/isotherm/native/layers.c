/* What lies between a layer's matrix products, forward and backward, but for attention: see `policy/compiled_hidden.py`
   for the order. */
#include "vectors.h"

INLINE void add_row(const float *from, const void *delta, float *x, int64_t width, enum kind kind) {
    for SIXTEEN(width)
        store_some(x, i, left, load_some(from, i, left, FLOAT) + load_some(delta, i, left, kind), FLOAT);
}

/* x = from + delta, where there is one; y = x / sqrt(mean(x^2) + eps), times `scale` where there is one. */
void normal_forward(const float *from, float *x, const void *delta, const float *scale, void *y, int64_t rows,
                    int64_t width, float eps, int64_t kind, int64_t out) {
#pragma omp parallel for schedule(static) if (rows * width > 65536)
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * width;
        if (delta)
            EITHER(kind, add_row(from + r * width, at(delta, r * width, BFLOAT), row, width, BFLOAT),
                   add_row(from + r * width, at(delta, r * width, FLOAT), row, width, FLOAT));
        EITHER(out, normal_row(row, scale, to(y, r * width, BFLOAT), width, eps, BFLOAT),
               normal_row(row, scale, to(y, r * width, FLOAT), width, eps, FLOAT));
    }
}

/* `copy` gets g in `copy_kind`, for the product that follows; the gradient of the scale is summed row after row. */
void normal_backward(const float *x, const void *dy, const float *scale, float *scale_grad, float *g, void *copy,
                     int64_t rows, int64_t width, float eps, int64_t kind, int64_t copy_kind) {
#pragma omp parallel for schedule(static) if (!scale_grad && rows * width > 65536)
    for (int64_t r = 0; r < rows; r++) {
        float *row = g + r * width;
        EITHER(kind, normal_back_row(x + r * width, at(dy, r * width, BFLOAT), scale, scale_grad, row, width, eps, BFLOAT),
               normal_back_row(x + r * width, at(dy, r * width, FLOAT), scale, scale_grad, row, width, eps, FLOAT));
        for SIXTEEN(width)
            EITHER(copy_kind, store_some(copy, r * width + i, left, load_some(row, i, left, FLOAT), BFLOAT),
                   store_some(copy, r * width + i, left, load_some(row, i, left, FLOAT), FLOAT));
    }
}

INLINE void gated_row(const void *z, int64_t mlp, void *y, enum kind kind) {
    for SIXTEEN(mlp)
        store_some(y, i, left, gated16(load_some(z, i, left, kind), load_some(z, mlp + i, left, kind), kind), kind);
}

/* silu(gate) up of [gate, up]. */
void gated_forward(const void *z, void *y, int64_t rows, int64_t mlp, int64_t kind) {
#pragma omp parallel for schedule(static) if (rows * mlp > 65536)
    for (int64_t r = 0; r < rows; r++)
        EITHER(kind, gated_row(at(z, 2 * r * mlp, BFLOAT), mlp, to(y, r * mlp, BFLOAT), BFLOAT),
               gated_row(at(z, 2 * r * mlp, FLOAT), mlp, to(y, r * mlp, FLOAT), FLOAT));
}

INLINE void gated_back_row(const void *z, const void *dy, void *dz, void *y, int64_t mlp, enum kind kind) {
    for SIXTEEN(mlp) {
        f16 gate = load_some(z, i, left, kind), up = load_some(z, mlp + i, left, kind), opened, dgate, dup;
        gated_back16(gate, up, load_some(dy, i, left, kind), &opened, &dgate, &dup, kind);
        store_some(y, i, left, opened, kind);
        store_some(dz, i, left, dgate, kind);
        store_some(dz, mlp + i, left, dup, kind);
    }
}

/* The gradient of [gate, up], and the forward's output once more. */
void gated_backward(const void *z, const void *dy, void *dz, void *y, int64_t rows, int64_t mlp, int64_t kind) {
#pragma omp parallel for schedule(static) if (rows * mlp > 65536)
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = r * mlp;
        EITHER(kind, gated_back_row(at(z, 2 * i, BFLOAT), at(dy, i, BFLOAT), to(dz, 2 * i, BFLOAT), to(y, i, BFLOAT),
                                    mlp, BFLOAT),
               gated_back_row(at(z, 2 * i, FLOAT), at(dy, i, FLOAT), to(dz, 2 * i, FLOAT), to(y, i, FLOAT), mlp, FLOAT));
    }
}

/* table[id] += row for each id in turn. */
void add_rows(float *table, const int64_t *ids, const float *rows, int64_t count, int64_t width) {
    for (int64_t r = 0; r < count; r++)
#pragma GCC ivdep
        for (int64_t i = 0; i < width; i++) table[ids[r] * width + i] += rows[r * width + i];
}

/* total += part, which is of `kind`. */
void add_part(float *total, const void *part, int64_t count, int64_t kind) {
    if (kind == BFLOAT)
        add_row(total, part, total, count, BFLOAT);
    else
        add_row(total, part, total, count, FLOAT);
}
