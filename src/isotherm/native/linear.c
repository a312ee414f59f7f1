/* A layer's products on processors with tiles, each with what follows it: blocks of 128 rows go through both while the
   second-level cache holds them. Activations come in bfloat16, weights packed by `product_pack_b`. */
#include <stdlib.h>

#include "product.h"
#include "vectors.h"

enum { BLOCK = 128, WIDE = 256 }; /* rows, and columns of an MLP, at a time */
enum { EDGE = 16 };               /* numbers after each row, without which rows would share places of the cache */

static int64_t whole(int64_t x) { return (x + 31) / 32 * 32; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows of x as strips of A, with zeros behind them. */
static void lay(bf16 *a, const bf16 *x, int64_t rows, int64_t inner) {
    for (int64_t m = 0; m < whole(rows); m += STRIP)
        for (int64_t k = 0; k < inner; k += INNER, a += STEP)
            for (int64_t r = 0; r < STRIP; r++) {
                int64_t n = m + r < rows ? least(inner - k, INNER) : 0;
                if (n < INNER) memset(a + r * INNER, 0, 2 * INNER);
                memcpy(a + r * INNER, x + (m + r) * inner + k, 2 * n);
            }
}

/* What a thread works in. */
struct room {
    bf16 *a, *other, *z; /* factors: rows that come in, more of them, and what lies between two products */
    float *c, *d, *sum;  /* results */
    char before[64] __attribute__((aligned(64)));
};

static int64_t enter(struct room *r, int64_t inner, int64_t columns) {
    *r = (struct room){
        .a = aligned_alloc(64, BLOCK * whole(inner) * 2), .other = aligned_alloc(64, BLOCK * whole(inner) * 2),
        .z = aligned_alloc(64, BLOCK * 2 * WIDE * 2), .c = aligned_alloc(64, BLOCK * (2 * WIDE + EDGE) * 4),
        .d = aligned_alloc(64, BLOCK * (WIDE + EDGE) * 4), .sum = aligned_alloc(64, BLOCK * (whole(columns) + EDGE) * 4)};
    tiles_begin(r->before);
    return !(r->a && r->other && r->z && r->c && r->d && r->sum);
}

static void leave(struct room *r) {
    tiles_end(r->before);
    free(r->a), free(r->other), free(r->z), free(r->c), free(r->d), free(r->sum);
}

struct job {
    const bf16 *x, *w; /* x [rows, inner], w packed */
    int64_t rows, inner, columns;
    /* of those below, what the end needs */
    const float *bias, *from, *scale;
    void *y;
    bf16 *copy;
    float *to;
    float eps;
    int64_t wide; /* whether y is float */
};

/* What becomes of the product's rows, from number `first` on; c has `stride` numbers per row. */
typedef void end(const struct job *j, int64_t first, int64_t rows, float *c, int64_t stride);

/* Returns 0, or 1 where memory ran out. */
static int64_t blocks(const struct job *j, end *finish) {
    int64_t failed = 0, steps = whole(j->inner) / INNER, stride = whole(j->columns) + EDGE;
#pragma omp parallel reduction(| : failed)
    {
        struct room room;
        failed = enter(&room, j->inner, j->columns);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < j->rows; m += BLOCK) {
            int64_t rows = least(j->rows - m, BLOCK);
            if (failed) continue;
            lay(room.a, j->x + m * j->inner, rows, j->inner);
            product_block(TILE, room.sum, stride, room.a, steps, j->w, steps, whole(rows), whole(j->columns), steps, 0);
            finish(j, m, rows, room.sum, stride);
        }
        leave(&room);
    }
    return failed;
}

static void add_bias(const struct job *j, float *c) {
    for (int64_t i = 0; j->bias && i < j->columns; i++) c[i] += j->bias[i];
}

static void stored(const struct job *j, int64_t first, int64_t rows, float *c, int64_t stride) {
    for (int64_t r = 0; r < rows; r++, c += stride) {
        add_bias(j, c);
        for SIXTEEN(j->columns)
            store_some(j->y, (first + r) * j->columns + i, left, load_some(c, i, left, FLOAT), BFLOAT);
    }
}

/* y = x w + bias */
int64_t linear(const void *x, const void *w, const float *bias, void *y, int64_t rows, int64_t inner, int64_t columns) {
    struct job j = {.x = x, .w = w, .bias = bias, .y = y, .rows = rows, .inner = inner, .columns = columns};
    return blocks(&j, stored);
}

static void normal(const struct job *j, int64_t first, int64_t rows, float *c, int64_t stride) {
    int64_t width = j->columns;
    for (int64_t r = 0; r < rows; r++, c += stride) {
        int64_t at_row = (first + r) * width;
        add_bias(j, c);
        for SIXTEEN(width) {
            f16 more = rounded16(load_some(c, i, left, FLOAT), BFLOAT);
            store_some(j->to, at_row + i, left, load_some(j->from, at_row + i, left, FLOAT) + more, FLOAT);
        }
        EITHER((!j->wide), normal_row(j->to + at_row, j->scale, to(j->y, at_row, BFLOAT), width, j->eps, BFLOAT),
               normal_row(j->to + at_row, j->scale, to(j->y, at_row, FLOAT), width, j->eps, FLOAT));
    }
}

/* to = from + x w + bias, y = that normalised */
int64_t linear_normal(const void *x, const void *w, const float *bias, const float *from, float *to, const float *scale,
                      void *y, int64_t rows, int64_t inner, int64_t width, float eps, int64_t wide) {
    struct job j = {.x = x, .w = w, .bias = bias, .from = from, .to = to, .scale = scale, .y = y, .rows = rows,
                    .inner = inner, .columns = width, .eps = eps, .wide = wide};
    return blocks(&j, normal);
}

static void normal_back(const struct job *j, int64_t first, int64_t rows, float *c, int64_t stride) {
    int64_t width = j->columns;
    for (int64_t r = 0; r < rows; r++) {
        int64_t at_row = (first + r) * width;
        normal_back_row(j->from + at_row, c + r * stride, NULL, NULL, j->to + at_row, width, j->eps, FLOAT);
        for SIXTEEN(width) store_some(j->copy, at_row + i, left, load_some(j->to, at_row + i, left, FLOAT), BFLOAT);
    }
}

/* g += what comes through the norm of `from`, whose gradient is x w; copy = g in bfloat16 */
int64_t linear_normal_back(const void *x, const void *w, const float *from, float *g, void *copy, int64_t rows,
                           int64_t inner, int64_t width, float eps) {
    struct job j = {.x = x, .w = w, .from = from, .to = g, .copy = copy, .rows = rows, .inner = inner, .columns = width,
                    .eps = eps};
    return blocks(&j, normal_back);
}

/* [gate, up] of some columns of an MLP: c [rows, 2 WIDE], up behind the gate. */
static void lift(const bf16 *a, const bf16 *w, int64_t steps, int64_t first, int64_t wide, int64_t mlp, int64_t rows,
                  float *c) {
    for (int side = 0; side < 2; side++)
        product_block(TILE, c + side * WIDE, 2 * WIDE + EDGE, a, steps, w + (side * mlp + first) / PANEL * steps * STEP,
                      steps, rows, wide, steps, 0);
}

/* silu(gate) up, as strips of A of `wide` columns. */
static void unfold(const float *c, bf16 *out, int64_t wide, int64_t rows) {
    for (int64_t r = 0; r < rows; r++, c += 2 * WIDE + EDGE)
        for (int64_t i = 0; i < wide; i += 16) {
            f16 gate = rounded16(load16(c, i, FLOAT), BFLOAT), up = rounded16(load16(c, WIDE + i, FLOAT), BFLOAT);
            bf16 *to = out + (r / STRIP * (wide / INNER) + i / INNER) * STEP + r % STRIP * INNER + i % INNER;
            narrow16(to, gated16(gate, up, BFLOAT));
        }
}

/* to = from + silu(gate) up w_down with [gate, up] = x w_up, and y = that normalised; nothing between is kept. */
int64_t mlp_forward(const void *x, const void *w_up, const void *w_down, const float *from, float *to,
                    const float *scale, void *y, int64_t rows, int64_t width, int64_t mlp, float eps, int64_t wide) {
    struct job j = {.from = from, .to = to, .scale = scale, .y = y, .columns = width, .eps = eps, .wide = wide};
    int64_t failed = 0, steps = whole(width) / INNER, stride = whole(width) + EDGE;
#pragma omp parallel reduction(| : failed)
    {
        struct room room;
        failed = enter(&room, width, width);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < rows; m += BLOCK) {
            int64_t here = least(rows - m, BLOCK), full = whole(here);
            if (failed) continue;
            lay(room.a, (const bf16 *)x + m * width, here, width);
            for (int64_t n = 0; n < mlp; n += WIDE) {
                int64_t some = least(mlp - n, WIDE);
                lift(room.a, w_up, steps, n, some, mlp, full, room.c);
                unfold(room.c, room.z, some, full);
                product_block(TILE, room.sum, stride, room.z, some / INNER, (const bf16 *)w_down + n / INNER * STEP,
                              mlp / INNER, full, whole(width), some / INNER, n > 0);
            }
            normal(&j, m, here, room.sum, stride);
        }
        leave(&room);
    }
    return failed;
}

/* From c = [gate, up] and d, the gradient of silu(gate) up: dz = [dgate, dup] and silu(gate) up, each as a step of A. */
static void fold(const float *c, const float *d, bf16 *dgate, bf16 *dup, bf16 *opened) {
    for (int r = 0; r < STRIP; r++, c += 2 * WIDE + EDGE, d += WIDE + EDGE)
        for (int i = 0; i < INNER; i += 16) {
            f16 gate = rounded16(load16(c, i, FLOAT), BFLOAT), up = rounded16(load16(c, WIDE + i, FLOAT), BFLOAT);
            f16 y, da, db;
            gated_back16(gate, up, load16(d, i, FLOAT), &y, &da, &db, BFLOAT);
            narrow16(opened + r * INNER + i, y);
            narrow16(dgate + r * INNER + i, da);
            narrow16(dup + r * INNER + i, db);
        }
}

struct factors {
    bf16 *dz, *opened; /* of the weights' gradients, with the rows as inner index: of A [2 mlp, rows], of B [rows, mlp] */
    int64_t steps;
};

/* Some columns of a block: what `fold` finds goes into the factors, and dz into room.z, gate before up. */
static void fold_all(struct room *room, struct factors f, int64_t step, int64_t first, int64_t wide, int64_t mlp,
                     int64_t rows) {
    bf16 opened[STEP] __attribute__((aligned(64)));
    for (int64_t m = 0; m < rows; m += STRIP)
        for (int64_t i = 0; i < wide; i += INNER) {
            bf16 *dgate = room->z + (m / STRIP * (wide / INNER) + i / INNER) * STEP, *dup = dgate + rows * wide;
            int64_t panel = (first + i) / PANEL, now = step + m / STRIP;
            fold(room->c + m * (2 * WIDE + EDGE) + i, room->d + m * (WIDE + EDGE) + i, dgate, dup, opened);
            pack_across(f.dz + (panel * f.steps + now) * STEP, dgate, 1);
            pack_across(f.dz + ((mlp / PANEL + panel) * f.steps + now) * STEP, dup, 1);
            pack_across(f.opened + (panel * f.steps + now) * STEP, opened, 0);
        }
}

/* The gradient of `mlp_forward`, from `copy`, that of its result in bfloat16, with [gate, up] made once more from x: g +=
   what comes through the norm of `from`, copy = g, and the factors of the weights' gradients. w_up and w_down as forward,
   w_in and w_out for the ways back. */
int64_t mlp_backward(const void *x, void *copy, const void *w_up, const void *w_out, const void *w_in, const float *from,
                     float *g, void *dz, void *opened, int64_t rows, int64_t width, int64_t mlp, float eps) {
    struct job j = {.from = from, .to = g, .copy = copy, .columns = width, .eps = eps};
    struct factors f = {dz, opened, whole(rows) / INNER};
    int64_t failed = 0, steps = whole(width) / INNER, stride = whole(width) + EDGE;
#pragma omp parallel reduction(| : failed)
    {
        struct room room;
        failed = enter(&room, width, width);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < rows; m += BLOCK) {
            int64_t here = least(rows - m, BLOCK), full = whole(here);
            if (failed) continue;
            lay(room.a, (const bf16 *)x + m * width, here, width);
            lay(room.other, (const bf16 *)copy + m * width, here, width);
            for (int64_t n = 0; n < mlp; n += WIDE) {
                int64_t some = least(mlp - n, WIDE), parts = some / INNER;
                lift(room.a, w_up, steps, n, some, mlp, full, room.c);
                product_block(TILE, room.d, WIDE + EDGE, room.other, steps, (const bf16 *)w_out + n / PANEL * steps * STEP,
                              steps, full, some, steps, 0);
                fold_all(&room, f, m / INNER, n, some, mlp, full);
                for (int side = 0; side < 2; side++)
                    product_block(TILE, room.sum, stride, room.z + side * full * some, parts,
                                  (const bf16 *)w_in + (side * mlp + n) / INNER * STEP, 2 * mlp / INNER, full, whole(width),
                                  parts, side || n);
            }
            normal_back(&j, m, here, room.sum, stride);
        }
        leave(&room);
    }
    return failed;
}
