/* Attention between packed q, k, v and packed outputs, and its gradient: a head that reads keys at a time, in blocks of 32
   of the queries that share it. Scores are made as [keys, queries], so that softmax goes down columns and needs no
   masks but on the diagonal; the backward pass makes them again, and nothing is kept but q, k, v.

   A response sees the keys of its prompt, which lie before its own. A thread takes heads of groups: the gradients of a
   prompt's keys are summed over the responses in their order. */
#include "attention.h"

struct span {
    int64_t token, count, before; /* the first packed token of a sequence, its tokens, those of its prompt */
};

struct queries {
    int64_t count; /* of these 32, what is left being empty */
    int32_t token[EDGE], head[EDGE]; /* of the sequence's tokens, of the heads that share a key */
};

/* Where query i begins among rows of `width` numbers. */
INLINE int64_t query(struct work w, struct span x, const struct queries *q, int64_t i, int64_t width) {
    return (x.token + q->token[i]) * width + (w.c.heads / w.c.kv * w.h + q->head[i]) * w.c.head;
}

INLINE void enter_keys(struct work w, struct span x, enum kind kind, enum level level) {
    int64_t last = x.before + x.count, end = up(last, EDGE), value = w.c.kv * w.c.head;
    for (int64_t t = 0; t < x.count; t++) {
        const void *from = at(w.qkv, key(w, x.token + t), kind);
        if (w.grad) {
            __builtin_prefetch(at(w.out, key(w, x.token + t), kind), 1);
            __builtin_prefetch(at(w.out, key(w, x.token + t) + value, kind), 1);
        }
        enter(w, from, inner(w.c), x.before + t, w.k, NULL, x.before + t, kind, level);
        enter(w, at(from, value, kind), inner(w.c), -1, w.v, NULL, x.before + t, kind, level);
    }
    zero_rows(w, w.k, last, end, items(level));
    zero_rows(w, w.v, last, end, items(level));
    if (w.grad) zero_rows(w, w.dk, x.before, end, FLOAT), zero_rows(w, w.dv, x.before, end, FLOAT);
    for (int64_t i = square(w, x.before / EDGE, 0); i < square(w, end / EDGE, 0); i += SQUARE)
        left_of_transpose(at(w.grad ? w.k : w.v, i, items(level)), to(w.turned, i, items(level)), level);
}

INLINE void leave_keys(struct work w, struct span x, enum kind kind) {
    for (int64_t t = 0; t < x.count; t++) {
        void *into = to(w.out, key(w, x.token + t), kind);
        leave(w, w.dk, x.before + t, x.before + t, into, kind);
        leave(w, w.dv, x.before + t, -1, to(into, w.c.kv * w.c.head, kind), kind);
    }
}

/* Those from number `first` on, token by token. */
INLINE void choose(struct queries *q, int64_t first, int64_t all, int32_t rep) {
    int32_t token = (int32_t)(first / rep), head = (int32_t)(first % rep);
    q->count = all - first < EDGE ? all - first : EDGE;
    for (int i = 0; i < EDGE; i++) {
        q->token[i] = token, q->head[i] = head++;
        if (head == rep) token++, head = 0;
    }
}

/* Queries, and the gradients of what they returned. */
INLINE void enter_queries(struct work w, struct span x, const struct queries *q, enum kind kind, enum level level) {
    int64_t outer = w.c.heads * w.c.head;
    for (int64_t i = 0; i < q->count; i++) {
        const void *from = at(w.qkv, query(w, x, q, i, inner(w.c)), kind);
        enter(w, from, inner(w.c), x.before + q->token[i], w.q, w.q_rest, i, kind, level);
        __builtin_prefetch(at(w.out, query(w, x, q, i, w.grad ? inner(w.c) : outer), kind), 1);
        if (w.grad) enter(w, at(w.grad, query(w, x, q, i, outer), kind), outer, -1, w.g, NULL, i, kind, level);
    }
    zero_rows(w, w.q, q->count, EDGE, items(level));
    zero_rows(w, w.q_rest, q->count, EDGE, items(level));
    if (w.grad) zero_rows(w, w.g, q->count, EDGE, items(level));
#define OF(x) to(w.x, j * SQUARE, items(level))
    for (int64_t j = 0; j < w.chunks; j++) {
        right_of_transpose(OF(q), OF(q_turned), level);
        if (kind == BFLOAT) right_of_transpose(OF(q_rest), OF(q_rest_turned), level);
        if (!w.grad) continue;
        right_of(OF(q), OF(q_right), level);
        right_of(OF(g), OF(g_right), level);
        right_of_transpose(OF(g), OF(g_turned), level);
    }
#undef OF
}

INLINE f16 either(u16x32 which, f16 a, f16 b) { return (f16)(((u16x32)a & which) | ((u16x32)b & ~which)); }

/* Scores [keys, 32] -> exp(score - the column's largest), 0 from `seen` to `keys`; 1 over the column's sum. A query sees
   the keys of its prompt and those up to its own. */
INLINE void soften(f16 (*s)[2], int64_t before, const struct queries *q, int64_t seen, int64_t keys, f16 scale[2]) {
    f16 last[2], top[2] = {s[0][0], s[0][1]}, total[2] = {0};
    for (int i = 0; i < EDGE; i++) ((float *)last)[i] = (int32_t)before + q->token[i];
    for (int64_t j = before + q->token[0] + 1; j < seen; j++)
        for (int h = 0; h < 2; h++) s[j][h] = either((u16x32)(last[h] >= (float)j), s[j][h], all16(-INFINITY));
    for (int64_t j = 1; j < seen; j++)
        for (int h = 0; h < 2; h++) top[h] = either((u16x32)(s[j][h] > top[h]), s[j][h], top[h]);
    for (int64_t j = 0; j < seen; j++)
        for (int h = 0; h < 2; h++) total[h] += s[j][h] = exp16(s[j][h] - top[h]);
    memset(s + seen, 0, (keys - seen) * sizeof *s);
    for (int h = 0; h < 2; h++) scale[h] = 1.0f / total[h];
}

INLINE void scores(struct work w, int64_t blocks, enum kind kind, enum level level) {
    for (int64_t b = 0; b < blocks; b++)
        multiply(w.s + b * SQUARE, at(w.k, square(w, b, 0), items(level)), 1, w.q_turned, 1,
                 kind == BFLOAT ? w.q_rest_turned : NULL, w.chunks, 0, level);
}

/* result [head, 32] = turned right, as rows in `flat`. */
INLINE void reduce(struct work w, int64_t blocks, const f16 scale[2], enum level level) {
    for (int64_t j = 0; j < w.chunks; j++) {
        f16 (*found)[2] = (f16(*)[2])(w.result + j * SQUARE);
        multiply(w.result + j * SQUARE, at(w.turned, j * SQUARE, items(level)), w.chunks, w.right, 1, NULL, blocks, 0,
                 level);
        for (int i = 0; scale && i < EDGE; i++) found[i][0] *= scale[0], found[i][1] *= scale[1];
        flip(w.result + j * SQUARE, w.flat + j * SQUARE);
    }
}

/* o = p v. */
INLINE void outputs(struct work w, struct span x, const struct queries *q, int64_t blocks, const f16 scale[2],
                    enum kind kind, enum level level) {
    f16 (*e)[2] = (f16(*)[2])w.s;
    for (int64_t j = 0; j < blocks * EDGE; j += 2)
        put_pair(to(w.right, j / EDGE * SQUARE, items(level)), j % EDGE / 2, e[j], e[j + 1], kind, level);
    reduce(w, blocks, scale, level);
    for (int64_t i = 0; i < q->count; i++)
        leave(w, w.flat, i, -1, to(w.out, query(w, x, q, i, w.c.heads * w.c.head), kind), kind);
}

/* ds = p (dp - sum p dp) with dp = do v^T; dv += p^T do, dk += ds^T q, dq = ds k. */
INLINE void gradients(struct work w, struct span x, const struct queries *q, int64_t blocks, const f16 scale[2],
                      enum kind kind, enum level level) {
    f16 (*e)[2] = (f16(*)[2])w.s, (*d)[2] = (f16(*)[2])w.dp, along[2] = {0};
    for (int64_t b = 0; b < blocks; b++)
        multiply(w.dp + b * SQUARE, at(w.v, square(w, b, 0), items(level)), 1, w.g_turned, 1, NULL, w.chunks, 0,
                 level);
    for (int64_t j = 0; j < blocks * EDGE; j++)
        for (int h = 0; h < 2; h++) along[h] += (e[j][h] *= scale[h]) * d[j][h];
    for (int64_t j = 0; j < blocks * EDGE; j++) {
        for (int h = 0; h < 2; h++) d[j][h] = e[j][h] * (d[j][h] - along[h]);
        put(w.p, j, e[j][0], e[j][1], kind, level);
        put(w.ds, j, d[j][0], d[j][1], kind, level);
        if (j % 2) put_pair(to(w.right, j / EDGE * SQUARE, items(level)), j % EDGE / 2, d[j - 1], d[j], kind, level);
    }
    for (int64_t i = 0; i < blocks * w.chunks; i++) {
        int64_t from = i / w.chunks * SQUARE, j = i % w.chunks * SQUARE;
        multiply(w.dv + i * SQUARE, at(w.p, from, items(level)), 0, at(w.g_right, j, items(level)), 0, NULL, 1, 1, level);
        multiply(w.dk + i * SQUARE, at(w.ds, from, items(level)), 0, at(w.q_right, j, items(level)), 0, NULL, 1, 1, level);
    }
    reduce(w, blocks, NULL, level);
    for (int64_t i = 0; i < q->count; i++)
        leave(w, w.flat, i, x.before + q->token[i], to(w.out, query(w, x, q, i, inner(w.c)), kind), kind);
}

INLINE void attend(struct work w, struct span x, enum kind kind, enum level level) {
    int64_t rep = w.c.heads / w.c.kv;
    for (int64_t first = 0; first < x.count * rep; first += EDGE) {
        struct queries q;
        f16 scale[2];
        choose(&q, first, x.count * rep, rep);
        int64_t seen = x.before + q.token[q.count - 1] + 1, blocks = up(seen, EDGE) / EDGE;
        enter_queries(w, x, &q, kind, level);
        scores(w, blocks, kind, level);
        soften((f16(*)[2])w.s, x.before, &q, seen, blocks * EDGE, scale);
        if (w.grad) gradients(w, x, &q, blocks, scale, kind, level);
        else outputs(w, x, &q, blocks, scale, kind, level);
    }
}

/* A prompt, the responses to it, and at last what its keys have gathered. */
INLINE void attend_group(struct work w, int64_t g, enum kind kind, enum level level) {
    struct span prompt = {w.c.first[g], w.c.prompt_length[g], 0};
    for (int64_t i = 0; i <= w.c.n; i++) {
        int64_t r = g * w.c.n + i - 1;
        struct span x = i ? (struct span){w.c.first[w.c.groups + r], w.c.fed[r], prompt.count} : prompt;
        enter_keys(w, x, kind, level);
        attend(w, x, kind, level);
        if (w.grad && i) leave_keys(w, x, kind);
    }
    if (w.grad) leave_keys(w, prompt, kind);
}

/* qkv [tokens, (heads + 2 kv) head] -> out [tokens, heads head]; with `grad`, which is that of the latter, out is that of
   qkv. */
void attention(const struct chunk *c, const void *qkv, const float *cosine, const float *sine, const void *grad,
               void *out, char *room, int64_t kind) {
    enum level level = kind == BFLOAT ? bfloat_level() : PLAIN;
#pragma omp parallel
    {
        char before[64] __attribute__((aligned(64)));
        struct work w = {.c = *c, .qkv = qkv, .grad = grad, .cosine = cosine, .sine = sine, .out = out};
        divide(&w, room + omp_get_thread_num() * squares(c) * SQUARE * 4);
        if (level == TILES) tiles_begin(before);
#pragma omp for collapse(2) schedule(static)
        for (int64_t g = 0; g < c->groups; g++)
            for (int64_t h = 0; h < c->kv; h++) {
                w.h = h;
                if (level == TILES) attend_group(w, g, BFLOAT, TILES);
                else EITHER(kind, attend_group(w, g, BFLOAT, PLAIN), attend_group(w, g, FLOAT, PLAIN));
            }
        if (level == TILES) tiles_end(before);
    }
}

INLINE void keep_key(struct work w, int64_t g, int64_t t, void *k, void *v, enum kind kind) {
    int64_t head = w.c.head, column = w.c.width - w.c.prompt_length[g] + t;
    int64_t into = ((g * w.c.kv + w.h) * w.c.width + column) * head;
    const void *from = at(w.qkv, key(w, w.c.first[g] + t), kind);
    for (int64_t j = 0; 32 * j < head; j++) {
        f16 a, b;
        parted(at(from, 32 * j, kind), head / 2 - 16 * j, &a, &b, kind);
        turn(w, t, j, 1.0f, &a, &b);
        joined(to(k, into + 32 * j, kind), head / 2 - 16 * j, a, b, kind);
    }
    memcpy(to(v, into, kind), at(from, w.c.kv * head, kind), head * (kind == BFLOAT ? 2 : 4));
}

/* Turned keys and values of the prompts, [prompts, kv, width, head]; nothing is written before a prompt's first. */
void prompt_keys(const struct chunk *c, const void *qkv, const float *cosine, const float *sine, void *k, void *v,
                 int64_t kind) {
    struct work w = {.c = *c, .qkv = qkv, .cosine = cosine, .sine = sine};
    for (int64_t g = 0; g < c->groups; g++)
        for (w.h = 0; w.h < c->kv; w.h++)
            for (int64_t t = 0; t < c->prompt_length[g]; t++)
                EITHER(kind, keep_key(w, g, t, k, v, BFLOAT), keep_key(w, g, t, k, v, FLOAT));
}
