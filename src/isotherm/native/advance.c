/* One decoding step of the whole decoder: see `policy/attention.py` for what it computes.

   Threads take rows; what a row gets does not depend on who computes it or on the rows beside it. */
#include <stdlib.h>

#include "decoding_product.h"

struct layer {
    const void *qkv;
    const float *qkv_bias;
    const void *out;
    const float *out_bias;
    const void *gate_up, *down;
    void *prompt_keys, *prompt_values, *keys, *values;
};

struct decoder {
    int64_t rows, width, layers, heads, kv, head, mlp;
    int64_t room, prompt_room, used, kind; /* rooms are in blocks of 16 columns */
    const float *embed, *cosine, *sine, *norm;
    const int64_t *slot, *group, *prompt_length; /* of each row, of each row, of each prompt */
    struct layer layer[];
};

struct scratch {
    float *x, *z, *score; /* residual stream, a product's result, one head's scores */
    void *y;              /* what goes into a product */
    float *a;             /* what attention returns */
    int64_t ldy, ldz, lda;
};

static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

static void *fresh(int64_t bytes) {
    void *memory = aligned_alloc(64, up(bytes, 64));
    if (memory) memset(memory, 0, up(bytes, 64));
    return memory;
}

/* (a + bi)(cos + i sin) of neighbours. */
static void turn(float *x, const float *cosine, const float *sine, int64_t half) {
#pragma GCC ivdep
    for (int64_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosine[i] - b * sine[i];
        x[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
}

/* Keys lie as [block, head, 16 columns], so that sixteen scores are made at once. */
INLINE void scores(const float *q, const void *keys, int64_t count, int64_t head, float *out, enum kind kind) {
    for (int64_t block = 0; block * 16 < count; block++) {
        f16 sum[4] = {0};
        for (int64_t d = 0; d < head; d += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) sum[i] += q[d + i] * load16(keys, (block * head + d + i) * 16, kind);
        *(f16 *)(out + block * 16) = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

/* out += sum_t p_t values_t; values lie as [column, head]. */
INLINE void weighted(const float *p, const void *values, int64_t count, int64_t head, float *out, enum kind kind) {
    int64_t d = 0;
    for (; d + 32 <= head; d += 32) {
        f16 even[2] = {0}, odd[2] = {0};
        int64_t t = 0;
        for (; t + 2 <= count; t += 2)
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++) {
                even[i] += p[t] * load16(values, t * head + d + 16 * i, kind);
                odd[i] += p[t + 1] * load16(values, (t + 1) * head + d + 16 * i, kind);
            }
        for (int i = 0; i < 2; i++) {
            if (t < count) even[i] += p[t] * load16(values, t * head + d + 16 * i, kind);
            *(f16 *)(out + d + 16 * i) += even[i] + odd[i];
        }
    }
    for (int64_t t = 0; t < count && d < head; t++)
        for (int64_t i = d; i < head; i++)
            out[i] += p[t] * load(values, t * head + i, kind);
}

/* p = softmax of the first n of `score`, whose other entries up to a multiple of 16 become 0. */
INLINE void softmax(float *score, int64_t n) {
    for (int64_t i = n; i < up(n, 16); i++) score[i] = -INFINITY;
    f16 *p = (f16 *)score, best = p[0], total = {0};
    int64_t blocks = (n + 15) / 16;
    for (int64_t i = 1; i < blocks; i++) {
        u16x32 more = (u16x32)(p[i] > best);
        best = (f16)(((u16x32)p[i] & more) | ((u16x32)best & ~more));
    }
    float top = best[0];
    for (int i = 1; i < 16; i++) top = best[i] > top ? best[i] : top;
    for (int64_t i = 0; i < blocks; i++) total += p[i] = exp16(p[i] - top);
    f16 scale = all16(1.0f / sum16(total));
    for (int64_t i = 0; i < blocks; i++) p[i] *= scale;
}

/* Columns to come are multiplied with the others of their block and thrown away: as zeros, since what memory happens to
   hold can be numbers so small that the processor takes a hundred cycles for each. */
INLINE void empty_block(void *keys, int64_t at_number, int64_t head, enum kind kind) {
    memset(to(keys, at_number, kind), 0, 16 * head * (kind == BFLOAT ? 2 : 4));
}

/* One row: turns q and k, keeps k and v, looks at the prompt and at the row's own columns. */
INLINE void attend(const struct decoder *m, const struct layer *w, int64_t row, float *qkv, float *score, float *a,
                   enum kind kind) {
    int64_t head = m->head, half = head / 2, rep = m->heads / m->kv, used = m->used;
    int64_t slot = m->slot[row], group = m->group[row], length = m->prompt_length[group], far = up(length, 16);
    const float *cosine = m->cosine + (length + used) * half, *sine = m->sine + (length + used) * half;
    for (int64_t h = 0; h < m->heads + m->kv; h++) turn(qkv + h * head, cosine, sine, half);
    for (int64_t h = 0; h < m->kv; h++) {
        const float *k = qkv + (m->heads + h) * head, *v = k + m->kv * head;
        int64_t mine = (slot * m->kv + h) * m->room * 16 * head, ours = (group * m->kv + h) * m->prompt_room * 16 * head;
        if (used % 16 == 0) empty_block(w->keys, mine + used * head, head, kind);
        for (int64_t d = 0; d < head; d++) {
            store(w->keys, mine + ((used / 16) * head + d) * 16 + used % 16, k[d], kind);
            store(w->values, mine + used * head + d, v[d], kind);
        }
        for (int64_t r = 0; r < rep; r++) {
            const float *q = qkv + (h * rep + r) * head;
            float *out = a + (h * rep + r) * head;
            if (length) scores(q, at(w->prompt_keys, ours, kind), length, head, score, kind);
            for (int64_t i = length; i < far; i++) score[i] = -INFINITY;
            scores(q, at(w->keys, mine, kind), used + 1, head, score + far, kind);
            softmax(score, far + used + 1);
            memset(out, 0, head * sizeof(float));
            weighted(score, at(w->prompt_values, ours, kind), length, head, out, kind);
            weighted(score + far, at(w->values, mine, kind), used + 1, head, out, kind);
        }
    }
}

INLINE void add(float *x, const float *z, const float *bias, int64_t n, enum kind kind) {
    for SIXTEEN(n) {
        f16 more = load_some(z, i, left, FLOAT);
        if (bias) more += load_some(bias, i, left, FLOAT);
        store_some(x, i, left, load_some(x, i, left, FLOAT) + rounded16(more, kind), FLOAT);
    }
}

INLINE void some_rows(const struct decoder *m, const int64_t *ids, float *hidden, float eps, int64_t first, int64_t rows,
                      struct scratch s, enum level level, enum kind kind) {
    int64_t width = m->width, inner = (m->heads + 2 * m->kv) * m->head, mixed = m->heads * m->head;
    int64_t size = kind == BFLOAT ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) memcpy(s.x + r * width, m->embed + ids[first + r] * width, width * sizeof(float));
    for (int64_t l = 0; l < m->layers; l++) {
        const struct layer *w = m->layer + l;
#define Y(r) ((char *)s.y + (r) * s.ldy * size)
        for (int64_t r = 0; r < rows; r++) normal_row(s.x + r * width, NULL, Y(r), width, eps, kind);
        decoding_product(s.y, s.ldy, w->qkv, rows, inner, width, s.z, s.ldz, kind, level);
        for (int64_t r = 0; r < rows; r++) {
            float *z = s.z + r * s.ldz;
            for (int64_t i = 0; i < inner; i++) z[i] = rounded(z[i] + (w->qkv_bias ? w->qkv_bias[i] : 0.0f), kind);
            attend(m, w, first + r, z, s.score, s.a, kind);
            for (int64_t i = 0; i < mixed; i++) store(Y(r), i, s.a[i], kind);
            memset(Y(r) + mixed * size, 0, (up(mixed, DEPTH) - mixed) * size);
        }
        decoding_product(s.y, s.ldy, w->out, rows, width, mixed, s.z, s.ldz, kind, level);
        for (int64_t r = 0; r < rows; r++) {
            add(s.x + r * width, s.z + r * s.ldz, w->out_bias, width, kind);
            normal_row(s.x + r * width, NULL, Y(r), width, eps, kind);
            memset(Y(r) + width * size, 0, (up(width, DEPTH) - width) * size);
        }
        decoding_product(s.y, s.ldy, w->gate_up, rows, 2 * m->mlp, width, s.z, s.ldz, kind, level);
        for (int64_t r = 0; r < rows; r++) {
            gated_row(s.z + r * s.ldz, m->mlp, Y(r), FLOAT, kind);
            memset(Y(r) + m->mlp * size, 0, (up(m->mlp, DEPTH) - m->mlp) * size);
        }
        decoding_product(s.y, s.ldy, w->down, rows, width, m->mlp, s.z, s.ldz, kind, level);
        for (int64_t r = 0; r < rows; r++) {
            add(s.x + r * width, s.z + r * s.ldz, NULL, width, kind);
            memset(Y(r) + width * size, 0, (up(width, DEPTH) - width) * size);
        }
#undef Y
    }
    for (int64_t r = 0; r < rows; r++)
        normal_row(s.x + r * width, m->norm, hidden + (first + r) * width, width, eps, FLOAT);
}

/* ids [rows] -> hidden [rows, width]. Returns 0, or 1 where memory ran out. */
int64_t advance(const struct decoder *m, const int64_t *ids, float *hidden, float eps) {
    enum level level = bfloat_level();
    enum { BLOCK = 64 };
    int64_t inner = (m->heads + 2 * m->kv) * m->head, size = m->kind == BFLOAT ? 2 : 4;
    int64_t widest_y = largest(largest(m->width, m->mlp), m->heads * m->head);
    int64_t widest_z = largest(largest(m->width, 2 * m->mlp), inner), failed = 0;
    int64_t blocks = (m->rows + BLOCK - 1) / BLOCK;
#pragma omp parallel if (blocks > 1) reduction(| : failed)
    {
        struct scratch s = {.ldy = up(widest_y, DEPTH), .ldz = up(widest_z, COLUMNS)};
        s.x = fresh(BLOCK * m->width * 4);
        s.y = fresh(BLOCK * s.ldy * size);
        s.z = fresh(BLOCK * s.ldz * 4);
        s.a = fresh(m->heads * m->head * 4);
        s.score = fresh((m->room + m->prompt_room + 2) * 16 * 4);
        failed = !(s.x && s.y && s.z && s.a && s.score);
        char before[64] __attribute__((aligned(64)));
        if (level == TILES && m->kind == BFLOAT) tiles_begin(before);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t first = b * BLOCK, rows = m->rows - first < BLOCK ? m->rows - first : BLOCK;
            if (failed) continue;
            if (m->kind == BFLOAT)
                some_rows(m, ids, hidden, eps, first, rows, s, level, BFLOAT);
            else
                some_rows(m, ids, hidden, eps, first, rows, s, level, FLOAT);
        }
        if (level == TILES && m->kind == BFLOAT) tiles_end(before);
        free(s.x), free(s.y), free(s.z), free(s.a), free(s.score);
    }
    return failed;
}

/* Keys and values of the prompts, [prompts, kv, columns, head] with padding on the left, as `advance` wants them: without
   padding, keys in blocks. */
void keep_prompts(const void *k, const void *v, void *keys, void *values, const int64_t *length, int64_t prompts,
                  int64_t kv, int64_t columns, int64_t head, int64_t prompt_room, int64_t kind) {
    for (int64_t g = 0; g < prompts * kv; g++) {
        int64_t n = length[g / kv], into = g * prompt_room * 16 * head, from = (g * columns + columns - n) * head;
        if (n % 16)
            EITHER(kind, empty_block(keys, into + n / 16 * 16 * head, head, BFLOAT),
                   empty_block(keys, into + n / 16 * 16 * head, head, FLOAT));
        for (int64_t t = 0; t < n; t++)
            for (int64_t d = 0; d < head; d++) {
                store(keys, into + ((t / 16) * head + d) * 16 + t % 16, load(k, from + t * head + d, kind), kind);
                store(values, into + t * head + d, load(v, from + t * head + d, kind), kind);
            }
    }
}
