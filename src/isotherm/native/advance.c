/* One decoding step of the whole decoder: see `policy/attention.py` for what it computes.

   Threads take rows; what a row gets does not depend on who computes it or on the rows beside it. */
#include <stdlib.h>

#include "decoding_attention.h"

struct layer {
    const void *qkv, *out, *gate_up, *down; /* sixteen columns of gate, sixteen of up, and so on */
    const float *qkv_bias, *out_bias, *down_bias;
    void *prompt_keys, *prompt_values, *keys, *values;
};

struct decoder {
    int64_t rows, width, layers, heads, kv, head, mlp;
    int64_t slots, prompts, columns, used, kind; /* columns of prompt and response, at most */
    const float *embed, *turns, *norm;
    const int64_t *slot, *group, *prompt_length; /* of each row, of each row, of each prompt */
    struct layer layer[];
};

struct scratch {
    float *x, *qkv;    /* residual stream; queries, keys and values */
    void *y, *gated;   /* what goes into products */
    float *room;       /* of a product */
    float *normal, *a; /* one row normalised; what attention returns of it */
    float *p;          /* of some heads */
    int64_t ldx, ldqkv;
};

static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

/* Zeros: what memory happens to hold can be numbers so small that the processor takes a hundred cycles for each. */
static void *fresh(int64_t bytes) {
    void *memory = aligned_alloc(64, up(bytes, 64));
    if (memory) memset(memory, 0, up(bytes, 64));
    return memory;
}

/* One row: turns q and k, keeps k and v, looks at the prompt and at the row's own columns. */
INLINE void attend(const struct decoder *m, const struct layer *w, int64_t row, float *q, float *p, float *a,
                   enum kind kind) {
    int64_t head = m->head, slot = m->slot[row] * m->kv, group = m->group[row] * m->kv;
    struct view s = {.q = q, .p = p, .a = a, .length = m->prompt_length[m->group[row]], .used = m->used + 1};
    const float *turns = m->turns + (s.length + m->used) * 2 * head, *k = q + m->heads * head, *v = k + m->kv * head;
    s.n = up(s.length, 16) + up(s.used, 16);
    for (int64_t h = 0; h < m->heads + m->kv; h++) turn(q + h * head, turns, head);
    for (int64_t h = 0; h < m->kv; h++) {
        s.prompt = columns_of(w->prompt_keys, w->prompt_values, m->prompts * m->kv, group + h, head, kind);
        s.own = columns_of(w->keys, w->values, m->slots * m->kv, slot + h, head, kind);
        keep(k + h * head, v + h * head, FLOAT, s.own, m->used, kind);
        for (int64_t left = m->heads / m->kv, some; left > 0; left -= some, s.q += some * head, s.a += some * head) {
            some = left >= 4 ? 4 : left >= 2 ? 2 : 1;
            if (some == 4)
                look_back(s, 4, kind);
            else if (some == 2)
                look_back(s, 2, kind);
            else
                look_back(s, 1, kind);
        }
    }
}

/* Row r of y, which products take. */
INLINE void lay(const float *row, int64_t width, void *y, int64_t r, enum kind kind) {
    for (int64_t i = 0; i < up(width, DEPTH); i += 16)
        store16(y, (i / DEPTH * BLOCK + r) * DEPTH + i % DEPTH, *(const f16 *)(row + i), kind);
}

/* The residual stream normalised. */
INLINE void normal(const struct decoder *m, struct scratch s, int64_t rows, float eps, enum kind kind) {
    for (int64_t r = 0; r < rows; r++) {
        normal_row(s.x + r * s.ldx, NULL, s.normal, m->width, eps, FLOAT);
        lay(s.normal, m->width, s.y, r, kind);
    }
}

INLINE void some_rows(const struct decoder *m, const int64_t *ids, float *hidden, float eps, int64_t first,
                      int64_t rows, struct scratch s, enum level level, enum kind kind) {
    int64_t width = m->width, inner = (m->heads + 2 * m->kv) * m->head, mixed = m->heads * m->head;
    struct product p = {.rows = rows, .room = s.room, .level = level};
    for (int64_t r = 0; r < rows; r++) memcpy(s.x + r * s.ldx, m->embed + ids[first + r] * width, 4 * width);
    for (const struct layer *w = m->layer; w < m->layer + m->layers; w++) {
        normal(m, s, rows, eps, kind);
        p.x = s.y, p.w = w->qkv, p.bias = w->qkv_bias, p.columns = inner, p.depth = width;
        p.out = s.qkv, p.ld = s.ldqkv;
        decoding_product(p, STORE, kind);
        for (int64_t r = 0; r < rows; r++) {
            attend(m, w, first + r, s.qkv + r * s.ldqkv, s.p, s.a, kind);
            lay(s.a, mixed, s.y, r, kind);
        }
        p.w = w->out, p.bias = w->out_bias, p.columns = width, p.depth = mixed, p.out = s.x, p.ld = s.ldx;
        decoding_product(p, ADD, kind);
        normal(m, s, rows, eps, kind);
        p.w = w->gate_up, p.columns = 2 * up(m->mlp, DEPTH), p.depth = width, p.out = s.gated;
        decoding_product(p, GATE, kind);
        p.x = s.gated, p.w = w->down, p.bias = w->down_bias, p.columns = width, p.depth = m->mlp, p.out = s.x;
        decoding_product(p, ADD, kind);
    }
    for (int64_t r = 0; r < rows; r++)
        normal_row(s.x + r * s.ldx, m->norm, hidden + (first + r) * width, width, eps, FLOAT);
}

/* ids [rows] -> hidden [rows, width]. Returns 0, or 1 where memory ran out. */
int64_t advance(const struct decoder *m, const int64_t *ids, float *hidden, float eps) {
    enum level level = bfloat_level();
    int64_t mixed = m->heads * m->head, inner = mixed + 2 * m->kv * m->head, size = m->kind == BFLOAT ? 2 : 4;
    int64_t blocks = (m->rows + BLOCK - 1) / BLOCK, failed = 0;
#pragma omp parallel if (blocks > 1) reduction(| : failed)
    {
        struct scratch s = {.ldx = up(m->width, COLUMNS), .ldqkv = up(inner, COLUMNS)};
        s.x = fresh(BLOCK * s.ldx * 4);
        s.qkv = fresh(BLOCK * s.ldqkv * 4);
        s.room = fresh(4 * largest(product_room(largest(inner, 2 * up(m->mlp, DEPTH)), m->width),
                                   product_room(m->width, largest(mixed, m->mlp))));
        s.y = fresh(BLOCK * up(largest(m->width, mixed), DEPTH) * size);
        s.gated = fresh(BLOCK * up(m->mlp, DEPTH) * size);
        s.normal = fresh(up(m->width, DEPTH) * 4);
        s.a = fresh((up(mixed, DEPTH) + 32) * 4);
        s.p = fresh(MOST * m->columns * 4);
        failed = !(s.x && s.qkv && s.room && s.y && s.gated && s.normal && s.a && s.p);
        char before[64] __attribute__((aligned(64)));
        if (level == TILES && m->kind == BFLOAT) tiles_begin(before);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t first = b * BLOCK, rows = m->rows - first < BLOCK ? m->rows - first : BLOCK;
            if (failed) continue;
            EITHER(m->kind, some_rows(m, ids, hidden, eps, first, rows, s, level, BFLOAT),
                   some_rows(m, ids, hidden, eps, first, rows, s, level, FLOAT));
        }
        if (level == TILES && m->kind == BFLOAT) tiles_end(before);
        free(s.x), free(s.qkv), free(s.room), free(s.y), free(s.gated), free(s.normal), free(s.a), free(s.p);
    }
    return failed;
}

/* Keys and values of some prompts, [prompts, kv, columns, head] with padding on the left, as `advance` wants them. */
void keep_prompts(const void *k, const void *v, void *keys, void *values, const int64_t *length, int64_t first,
                  int64_t prompts, int64_t slots, int64_t kv, int64_t columns, int64_t head, int64_t kind) {
    for (int64_t g = 0; g < prompts * kv; g++)
        for (int64_t n = length[g / kv], t = 0; t < n; t++) {
            int64_t from = (g * columns + columns - n + t) * head;
            struct columns c = columns_of(keys, values, slots * kv, first * kv + g, head, kind);
            EITHER(kind, keep(at(k, from, BFLOAT), at(v, from, BFLOAT), BFLOAT, c, t, BFLOAT),
                   keep(at(k, from, FLOAT), at(v, from, FLOAT), FLOAT, c, t, FLOAT));
        }
}
