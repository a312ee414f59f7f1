/* What lies between a layer's matrix products, forward and backward: see `policy/compiled_hidden.py` for the order.

   A chunk of a batch has `groups` prompts of `width` columns (padding on the left) and n responses to each of `room`
   columns (padding on the right). Its real tokens are packed: prompts first, then responses. Rectangles hold the tokens
   of one head that reads keys: queries as [rep, columns, head], keys and values as [columns, head], those of a response
   behind those of its prompt. */
#include "vectors.h"

struct chunk {
    int64_t groups, n, width, room, heads, kv, head;
    const int64_t *prompt_length, *fed; /* of each prompt, of each response */
    const int64_t *first;               /* the packed token that starts each prompt, then each response */
};

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

/* silu(gate) up of [gate, up]. */
void gated_forward(const void *z, void *y, int64_t rows, int64_t mlp, int64_t kind) {
#pragma omp parallel for schedule(static) if (rows * mlp > 65536)
    for (int64_t r = 0; r < rows; r++)
        EITHER(kind, gated_row(at(z, 2 * r * mlp, BFLOAT), mlp, to(y, r * mlp, BFLOAT), BFLOAT, BFLOAT),
               gated_row(at(z, 2 * r * mlp, FLOAT), mlp, to(y, r * mlp, FLOAT), FLOAT, FLOAT));
}

/* The gradient of [gate, up], and the forward's output once more. */
void gated_backward(const void *z, const void *dy, void *dz, void *y, int64_t rows, int64_t mlp, int64_t kind) {
#pragma omp parallel for schedule(static) if (rows * mlp > 65536)
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = r * mlp;
        EITHER(kind, gated_back_row(at(z, 2 * i, BFLOAT), at(dy, i, BFLOAT), to(dz, 2 * i, BFLOAT), to(y, i, BFLOAT),
                                    mlp, BFLOAT, BFLOAT),
               gated_back_row(at(z, 2 * i, FLOAT), at(dy, i, FLOAT), to(dz, 2 * i, FLOAT), to(y, i, FLOAT), mlp, FLOAT,
                              FLOAT));
    }
}

/* (a + bi)(cos + i sin) of neighbours; `way` -1 turns back. */
INLINE void turned(const void *x, const float *cosine, const float *sine, float way, int64_t head, float *out,
                   enum kind kind) {
#pragma GCC ivdep
    for (int64_t i = 0; i < head / 2; i++) {
        float a = load(x, 2 * i, kind), b = load(x, 2 * i + 1, kind), s = way * sine[i];
        out[2 * i] = a * cosine[i] - b * s;
        out[2 * i + 1] = a * s + b * cosine[i];
    }
}

enum { HEAD = 512 }; /* the largest head width */

/* A sequence: its number, its rectangle's columns, and the first and the count of those that hold tokens. */
struct side {
    int64_t sequence, columns, start, count, token, place; /* `token`: its first packed one; `place`: its position */
};

static struct side prompt_side(const struct chunk *c, int64_t g) {
    int64_t length = c->prompt_length[g];
    return (struct side){g, c->width, c->width - length, length, c->first[g], 0};
}

static struct side response_side(const struct chunk *c, int64_t r) {
    int64_t g = r / c->n;
    return (struct side){r, c->room, 0, c->fed[r], c->first[c->groups + r], c->prompt_length[g]};
}

static int64_t inner(const struct chunk *c) { return (c->heads + 2 * c->kv) * c->head; }

/* The first number of a head's queries in their rectangle. */
static int64_t query(const struct chunk *c, struct side s, int64_t h) {
    return (s.sequence * c->heads + h) * s.columns * c->head;
}

static void zero(void *x, int64_t from, int64_t count, int64_t size) {
    memset((char *)x + from * size, 0, count * size);
}

/* Zeros where a sequence has no token. */
static void clear(const struct side *s, void *x, int64_t base, int64_t head, int64_t size) {
    zero(x, base, s->start * head, size);
    zero(x, base + (s->start + s->count) * head, (s->columns - s->start - s->count) * head, size);
}

INLINE void spread_queries(const struct chunk *c, struct side s, const void *qkv, const float *cosine,
                           const float *sine, float *q, void *copy, enum kind kind) {
    int64_t head = c->head;
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t base = query(c, s, h);
        clear(&s, q, base, head, 4);
        if (copy) clear(&s, copy, base, head, 2);
        for (int64_t t = 0; t < s.count; t++) {
            int64_t turn = (s.place + t) * (head / 2), out = base + (s.start + t) * head;
            turned(at(qkv, (s.token + t) * inner(c) + h * head, kind), cosine + turn, sine + turn, 1.0f, head, q + out,
                   kind);
            if (copy)
                for (int64_t i = 0; i < head; i++) store(copy, out + i, q[out + i], BFLOAT);
        }
    }
}

/* Keys and values from column `from` of a rectangle of `columns`; zeros behind them. */
INLINE void spread_keys(const struct chunk *c, struct side s, const void *qkv, const float *cosine, const float *sine,
                        float *k, void *copy, void *v, int64_t columns, int64_t from, enum kind kind) {
    int64_t head = c->head, size = kind == BFLOAT ? 2 : 4, rest = columns - from - s.count;
    for (int64_t h = 0; h < c->kv; h++) {
        int64_t base = ((s.sequence * c->kv + h) * columns + from) * head;
        for (int64_t t = 0; t < s.count; t++) {
            int64_t turn = (s.place + t) * (head / 2), out = base + t * head;
            const void *row = at(qkv, (s.token + t) * inner(c) + (c->heads + h) * head, kind);
            turned(row, cosine + turn, sine + turn, 1.0f, head, k + out, kind);
            memcpy(to(v, out, kind), at(row, c->kv * head, kind), head * size);
            for (int64_t i = 0; copy && i < head; i++) {
                store(copy, out + i, k[out + i], BFLOAT);
                k[out + i] = widen(((bf16 *)copy)[out + i]);
            }
        }
        zero(k, base + s.count * head, rest * head, 4);
        if (copy) zero(copy, base + s.count * head, rest * head, 2);
        zero(v, base + s.count * head, rest * head, size);
    }
}

struct rectangles {
    float *q, *k;        /* for the scores */
    void *qs, *ks, *v;   /* in `kind`, for all other products; qs and ks are NULL where that is float */
};

INLINE void spread_group(const struct chunk *c, int64_t g, const void *qkv, const float *cosine, const float *sine,
                         struct rectangles p, struct rectangles r, enum kind kind) {
    int64_t head = c->head, size = kind == BFLOAT ? 2 : 4, columns = c->width + c->room;
    struct side s = prompt_side(c, g);
    spread_queries(c, s, qkv, cosine, sine, p.q, p.qs, kind);
    for (int64_t h = 0; h < c->kv; h++) {
        int64_t base = (g * c->kv + h) * c->width * head;
        zero(p.k, base, s.start * head, 4);
        if (p.ks) zero(p.ks, base, s.start * head, 2);
        zero(p.v, base, s.start * head, size);
    }
    spread_keys(c, s, qkv, cosine, sine, p.k, p.ks, p.v, c->width, s.start, kind);
    for (int64_t i = g * c->n; i < (g + 1) * c->n; i++) {
        s = response_side(c, i);
        spread_queries(c, s, qkv, cosine, sine, r.q, r.qs, kind);
        spread_keys(c, s, qkv, cosine, sine, r.k, r.ks, r.v, columns, c->width, kind);
        for (int64_t h = 0; h < c->kv; h++) {
            int64_t from = (g * c->kv + h) * c->width * head, into = (i * c->kv + h) * columns * head;
            memcpy(r.k + into, p.k + from, c->width * head * 4);
            if (r.ks) memcpy(to(r.ks, into, BFLOAT), at(p.ks, from, BFLOAT), c->width * head * 2);
            memcpy(to(r.v, into, kind), at(p.v, from, kind), c->width * head * size);
        }
    }
}

/* Packed q, k, v -> rectangles, q and k turned to their positions. */
void spread(const struct chunk *c, const void *qkv, const float *cosine, const float *sine,
            const struct rectangles *prompts, const struct rectangles *responses, int64_t kind) {
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < c->groups; g++)
        EITHER(kind, spread_group(c, g, qkv, cosine, sine, *prompts, *responses, BFLOAT),
               spread_group(c, g, qkv, cosine, sine, *prompts, *responses, FLOAT));
}

/* Sixteen numbers from x, or -inf for those at `left` and behind. */
INLINE f16 some16(const float *x, int64_t left) {
    if (left >= 16) return *(const f16 *)x;
    f16 found = all16(-INFINITY);
    for (int64_t i = 0; i < left; i++) found[i] = x[i];
    return found;
}

/* A row's softmax over the columns from `start` to `end`; zeros elsewhere. */
INLINE void softmax_row(const float *x, int64_t start, int64_t end, int64_t columns, void *p, enum kind kind) {
    int64_t size = kind == BFLOAT ? 2 : 4, n = end - start;
    float top = -INFINITY, weight[n + 16];
    f16 total = {0};
    zero(p, 0, start, size);
    zero(p, end, columns - end, size);
#pragma omp simd reduction(max : top)
    for (int64_t i = start; i < end; i++) top = x[i] > top ? x[i] : top;
    for SIXTEEN(n) total += *(f16 *)(weight + i) = exp16(some16(x + start + i, left) - top);
    float scale = 1.0f / sum16(total);
    for SIXTEEN(n) store_some(p, start + i, left, *(f16 *)(weight + i) * scale, kind);
}

/* dS = p (dP - sum(p dP)) over the same columns, in place of dP. */
INLINE void softmax_back_row(const void *p, void *d, int64_t start, int64_t end, int64_t columns, enum kind kind) {
    int64_t size = kind == BFLOAT ? 2 : 4, n = end - start;
    f16 total = {0};
    for SIXTEEN(n) total += load_some(p, start + i, left, kind) * load_some(d, start + i, left, kind);
    float along = sum16(total);
    zero(d, 0, start, size);
    zero(d, end, columns - end, size);
    for SIXTEEN(n)
        store_some(d, start + i, left, load_some(p, start + i, left, kind) * (load_some(d, start + i, left, kind) - along),
                   kind);
}

/* What the queries of one side see: columns from the first of the prompt to their own. */
static void visible(const struct chunk *c, struct side s, int64_t responses, int64_t t, int64_t *start, int64_t *end) {
    *start = responses ? c->width - c->prompt_length[s.sequence / c->n] : s.start;
    *end = t < s.start || t >= s.start + s.count ? *start : (responses ? c->width : 0) + t + 1;
}

/* scores [sequences, heads, queries, columns] -> p. */
void softmax_forward(const struct chunk *c, float *scores, void *p, int64_t responses, int64_t kind) {
    int64_t sequences = responses ? c->groups * c->n : c->groups, columns = c->width + (responses ? c->room : 0);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < sequences; i++) {
        struct side s = responses ? response_side(c, i) : prompt_side(c, i);
        for (int64_t h = 0; h < c->heads; h++)
            for (int64_t t = 0, start, end; t < s.columns; t++) {
                int64_t row = ((i * c->heads + h) * s.columns + t) * columns;
                visible(c, s, responses, t, &start, &end);
                EITHER(kind, softmax_row(scores + row, start, end, columns, to(p, row, BFLOAT), BFLOAT),
                       softmax_row(scores + row, start, end, columns, to(p, row, FLOAT), FLOAT));
            }
    }
}

void softmax_backward(const struct chunk *c, const void *p, void *d, int64_t responses, int64_t kind) {
    int64_t sequences = responses ? c->groups * c->n : c->groups, columns = c->width + (responses ? c->room : 0);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < sequences; i++) {
        struct side s = responses ? response_side(c, i) : prompt_side(c, i);
        for (int64_t h = 0; h < c->heads; h++)
            for (int64_t t = 0, start, end; t < s.columns; t++) {
                int64_t row = ((i * c->heads + h) * s.columns + t) * columns;
                visible(c, s, responses, t, &start, &end);
                EITHER(kind, softmax_back_row(at(p, row, BFLOAT), to(d, row, BFLOAT), start, end, columns, BFLOAT),
                       softmax_back_row(at(p, row, FLOAT), to(d, row, FLOAT), start, end, columns, FLOAT));
            }
    }
}

static void carry(const struct chunk *c, struct side s, void *packed, void *rectangle, int64_t pack, int64_t size) {
    int64_t bytes = c->head * size;
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t base = query(c, s, h);
        if (!pack) clear(&s, rectangle, base, c->head, size);
        for (int64_t t = 0; t < s.count; t++) {
            char *a = (char *)packed + ((s.token + t) * c->heads + h) * bytes;
            char *b = (char *)rectangle + base * size + (s.start + t) * bytes;
            memcpy(pack ? a : b, pack ? b : a, bytes);
        }
    }
}

/* [tokens, heads, head] <- rectangles of prompts and of responses if `pack`, else ->; zeros where there is no token. */
void carry_heads(const struct chunk *c, void *packed, void *prompts, void *responses, int64_t pack, int64_t kind) {
    int64_t size = kind == BFLOAT ? 2 : 4;
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < c->groups; g++) {
        carry(c, prompt_side(c, g), packed, prompts, pack, size);
        for (int64_t r = g * c->n; r < (g + 1) * c->n; r++) carry(c, response_side(c, r), packed, responses, pack, size);
    }
}

struct gradients {
    const void *q, *k, *v;
};

INLINE void gather_queries(const struct chunk *c, struct side s, const void *dq, const float *cosine,
                           const float *sine, void *out, enum kind kind) {
    int64_t head = c->head;
    float buffer[HEAD];
    for (int64_t h = 0; h < c->heads; h++)
        for (int64_t t = 0; t < s.count; t++) {
            int64_t turn = (s.place + t) * (head / 2), into = (s.token + t) * inner(c) + h * head;
            turned(at(dq, query(c, s, h) + (s.start + t) * head, kind), cosine + turn, sine + turn, -1.0f, head, buffer,
                   kind);
            for (int64_t i = 0; i < head; i++) store(out, into + i, buffer[i], kind);
        }
}

/* One token's key and value gradients of head h: its own, and for a prompt those from all of its responses. */
INLINE void gather_key(const struct chunk *c, struct side s, int64_t t, int64_t h, struct gradients p,
                       struct gradients r, const float *cosine, const float *sine, void *out, int64_t response,
                       enum kind kind) {
    int64_t head = c->head, columns = c->width + c->room, turn = (s.place + t) * (head / 2);
    int64_t into = (s.token + t) * inner(c) + (c->heads + h) * head;
    float dk[HEAD], dv[HEAD], back[HEAD];
    int64_t own = response ? ((s.sequence * c->kv + h) * columns + c->width + t) * head
                           : ((s.sequence * c->kv + h) * c->width + s.start + t) * head;
    struct gradients mine = response ? r : p;
    for (int64_t i = 0; i < head; i++) dk[i] = load(mine.k, own + i, kind), dv[i] = load(mine.v, own + i, kind);
    for (int64_t j = s.sequence * c->n; !response && j < (s.sequence + 1) * c->n; j++) {
        int64_t from = ((j * c->kv + h) * columns + s.start + t) * head;
        for (int64_t i = 0; i < head; i++) dk[i] += load(r.k, from + i, kind), dv[i] += load(r.v, from + i, kind);
    }
    turned(dk, cosine + turn, sine + turn, -1.0f, head, back, FLOAT);
    for (int64_t i = 0; i < head; i++) store(out, into + i, back[i], kind);
    for (int64_t i = 0; i < head; i++) store(out, into + c->kv * head + i, dv[i], kind);
}

INLINE void gather_group(const struct chunk *c, int64_t g, struct gradients p, struct gradients r, const float *cosine,
                         const float *sine, void *out, enum kind kind) {
    for (int64_t i = -1; i < c->n; i++) {
        struct side s = i < 0 ? prompt_side(c, g) : response_side(c, g * c->n + i);
        gather_queries(c, s, i < 0 ? p.q : r.q, cosine, sine, out, kind);
        for (int64_t h = 0; h < c->kv; h++)
            for (int64_t t = 0; t < s.count; t++) gather_key(c, s, t, h, p, r, cosine, sine, out, i >= 0, kind);
    }
}

/* The gradients of the rectangles -> those of packed q, k, v. */
void gather(const struct chunk *c, const struct gradients *prompts, const struct gradients *responses,
            const float *cosine, const float *sine, void *out, int64_t kind) {
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < c->groups; g++)
        EITHER(kind, gather_group(c, g, *prompts, *responses, cosine, sine, out, BFLOAT),
               gather_group(c, g, *prompts, *responses, cosine, sine, out, FLOAT));
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
