/* What `attention.c` works on: tokens laid out in squares, and how they get in and out.

   Of each 32 numbers of a token the even ones come first, so that neighbours, which are turned together, are vectors. */
#pragma once
#include "squares.h"

enum { SOON = 32 }; /* tokens */

struct chunk {
    int64_t groups, n, width, room, heads, kv, head; /* prompts have at most `width` tokens, responses feed `room` */
    const int64_t *prompt_length, *fed;              /* of each prompt, of each response */
    const int64_t *first;                            /* the packed token that starts each prompt, then each response */
};

/* Squares [blocks of keys or queries, chunks of the head]. */
struct work {
    struct chunk c;
    const void *qkv, *grad;
    const float *cosine, *sine;
    void *out;
    int64_t h, chunks;                                      /* the head that reads keys */
    void *k, *v, *turned;                                   /* [keys, head]; k in the backward pass or v as [head, keys] */
    void *q, *q_rest, *q_turned, *q_rest_turned, *q_right;  /* q rounded, and what rounding left of it */
    void *g, *g_turned, *g_right;
    void *p, *ds, *right;                                   /* [keys, queries]; `right`: p, in the backward pass ds */
    float *s, *dp, *result, *flat, *dk, *dv;
};

static int64_t chunks_of(const struct chunk *c) { return up(c->head, EDGE) / EDGE; }

static int64_t blocks_of(const struct chunk *c) { return up(c->width + c->room, EDGE) / EDGE; }

static int64_t squares(const struct chunk *c) { return blocks_of(c) * (5 * chunks_of(c) + 5) + 10 * chunks_of(c); }

/* Bytes that `attention` works in. */
int64_t attention_room(const struct chunk *c) { return omp_get_max_threads() * squares(c) * SQUARE * 4; }

static void divide(struct work *w, char *room) {
    int64_t blocks = blocks_of(&w->c), chunks = chunks_of(&w->c);
    struct { void **place; int64_t count; } parts[] = {
        {&w->k, blocks * chunks}, {&w->v, blocks * chunks}, {&w->turned, blocks * chunks}, {&w->q, chunks},
        {&w->q_rest, chunks}, {&w->q_turned, chunks}, {&w->q_rest_turned, chunks}, {&w->q_right, chunks},
        {&w->g, chunks}, {&w->g_turned, chunks}, {&w->g_right, chunks}, {&w->p, blocks}, {&w->ds, blocks},
        {&w->right, blocks}, {(void **)&w->s, blocks}, {(void **)&w->dp, blocks}, {(void **)&w->result, chunks},
        {(void **)&w->flat, chunks}, {(void **)&w->dk, blocks * chunks}, {(void **)&w->dv, blocks * chunks},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; room += parts[i++].count * SQUARE * 4) *parts[i].place = room;
    w->chunks = chunks;
}

/* Of the square that holds a row's part of chunk j, counted in items; and of that part. */
INLINE int64_t square(struct work w, int64_t block, int64_t j) { return (block * w.chunks + j) * SQUARE; }

INLINE int64_t place(struct work w, int64_t row, int64_t j) {
    return square(w, row / EDGE, j) + row % EDGE * EDGE;
}

/* Sixteen pairs of neighbours from x, zeros behind the last `left`. */
INLINE void parted(const void *x, int64_t left, f16 *a, f16 *b, enum kind kind) {
#ifdef __AVX512F__
    if (left >= 16 && kind == BFLOAT) {
        __m512i both = _mm512_loadu_si512(x);
        *a = (f16)_mm512_slli_epi32(both, 16);
        *b = (f16)_mm512_and_si512(both, _mm512_set1_epi32(0xFFFF0000));
        return;
    }
    if (left >= 16) {
        __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        __m512 first = _mm512_loadu_ps(x), second = _mm512_loadu_ps((const float *)x + 16);
        *a = (f16)_mm512_permutex2var_ps(first, even, second);
        *b = (f16)_mm512_permutex2var_ps(first, _mm512_add_epi32(even, _mm512_set1_epi32(1)), second);
        return;
    }
#endif
    *a = *b = all16(0.0f);
    for (int64_t i = 0; i < 16 && i < left; i++) (*a)[i] = load(x, 2 * i, kind), (*b)[i] = load(x, 2 * i + 1, kind);
}

INLINE void joined(void *x, int64_t left, f16 a, f16 b, enum kind kind) {
#ifdef __AVX512BF16__
    if (left >= 16 && kind == BFLOAT) return _mm512_storeu_si512(x, in_turns(a, b));
#endif
#ifdef __AVX512F__
    if (left >= 16 && kind == FLOAT) {
        __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        _mm512_storeu_ps(x, _mm512_permutex2var_ps((__m512)a, low, (__m512)b));
        low = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        return _mm512_storeu_ps((float *)x + 16, _mm512_permutex2var_ps((__m512)a, low, (__m512)b));
    }
#endif
    for (int64_t i = 0; i < 16 && i < left; i++) store(x, 2 * i, a[i], kind), store(x, 2 * i + 1, b[i], kind);
}

/* (a + bi)(cos + i sin) at a position; `way` -1 turns back. */
INLINE void turn(struct work w, int64_t position, int64_t j, float way, f16 *a, f16 *b) {
    int64_t from = position * (w.c.head / 2) + 16 * j, left = w.c.head / 2 - 16 * j;
    f16 c = load_some(w.cosine, from, left, FLOAT), s = way * load_some(w.sine, from, left, FLOAT), x = *a;
    *a = x * c - *b * s;
    *b = x * s + *b * c;
}

/* A token's numbers -> a row of `into`, turned unless the position is negative; `rest` gets what rounding leaves. Tokens
   lie `width` numbers apart, too far for the processor to foresee. */
INLINE void enter(struct work w, const void *x, int64_t width, int64_t position, void *into, void *rest,
                  int64_t row, enum kind kind, enum level level) {
    for (int64_t j = 0; j < w.chunks; j++) {
        f16 a, b;
        __builtin_prefetch(at(x, 32 * j + SOON * width, kind));
        parted(at(x, 32 * j, kind), w.c.head / 2 - 16 * j, &a, &b, kind);
        if (position >= 0) turn(w, position, j, 1.0f, &a, &b);
        int64_t to_place = place(w, row, j);
        put(to(into, to_place, items(level)), 0, a, b, kind, level);
        if (rest && kind == BFLOAT)
            put(to(rest, to_place, items(level)), 0, a - rounded16(a, kind), b - rounded16(b, kind), kind, level);
    }
}

/* A row of floats -> a token's numbers, turned back unless the position is negative. */
INLINE void leave(struct work w, const float *from, int64_t row, int64_t position, void *x, enum kind kind) {
    for (int64_t j = 0; j < w.chunks; j++) {
        f16 a = load16(from, place(w, row, j), FLOAT), b = load16(from, place(w, row, j) + 16, FLOAT);
        if (position >= 0) turn(w, position, j, -1.0f, &a, &b);
        joined(to(x, 32 * j, kind), w.c.head / 2 - 16 * j, a, b, kind);
    }
}

INLINE void zero_rows(struct work w, void *x, int64_t from, int64_t until, enum kind kind) {
    for (int64_t row = from; row < until; row++)
        for (int64_t j = 0; j < w.chunks; j++) memset(to(x, place(w, row, j), kind), 0, EDGE * (kind == BFLOAT ? 2 : 4));
}

INLINE int64_t inner(struct chunk c) { return (c.heads + 2 * c.kv) * c.head; }

/* Where a token's key begins among packed q, k, v; its value follows those of the other heads. */
INLINE int64_t key(struct work w, int64_t token) { return token * inner(w.c) + (w.c.heads + w.h) * w.c.head; }
