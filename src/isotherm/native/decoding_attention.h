/* One query per head over keys and values that are kept as the products of a decoding step want them. */
#pragma once
#include "decoding_product.h"

enum { MOST = 4 }; /* queries at once, which share keys */

typedef int32_t i16x32 __attribute__((vector_size(64)));

/* The first n, the others being `other`. */
INLINE f16 first16(f16 x, int64_t n, float other) {
    if (n >= 16) return x;
    const i16x32 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    u16x32 inside = (u16x32)(lane < (int32_t)n);
    return (f16)(((u16x32)x & inside) | ((u16x32)all16(other) & ~inside));
}

/* Sixteen pairs: the first numbers of all, and the second. Floats lie as sixteen first ones and sixteen second ones. */
INLINE void load_pairs(const void *x, int64_t i, f16 *first, f16 *second, enum kind kind) {
    if (kind == FLOAT) {
        *first = load16(x, i, FLOAT), *second = load16(x, i + 16, FLOAT);
    } else {
        u16x32 both = *(const u16x32 *)((const bf16 *)x + i);
        *first = (f16)(both << 16), *second = (f16)(both & 0xFFFF0000);
    }
}

INLINE void store_pairs(void *x, int64_t i, f16 first, f16 second, enum kind kind) {
    if (kind == FLOAT)
        store16(x, i, first, FLOAT), store16(x, i + 16, second, FLOAT);
    else
        *(u16x32 *)((bf16 *)x + i) = (u16x32)rounded16(first, BFLOAT) >> 16 | (u16x32)rounded16(second, BFLOAT);
}

/* Keys lie as [t / 16, slot, head, d / 2, pairs of 16 columns], so that sixteen scores are made at once; values as
   [t / 16, slot, head, t % 16, d / 32, pairs of d and d + 16]. They are zero where nothing was kept. */
struct columns {
    void *keys, *values;
    int64_t head, wide, block, value_block; /* numbers of a head's key and value, and from a block to the next */
};

INLINE struct columns columns_of(void *keys, void *values, int64_t slots, int64_t slot, int64_t head, enum kind kind) {
    int64_t wide = up(head, 32), key = 16 * head, value = 16 * wide;
    keys = to(keys, slot * key, kind), values = to(values, slot * value, kind);
    return (struct columns){keys, values, head, wide, slots * key, slots * value};
}

/* One token's key and value of a head become column t. */
INLINE void keep(const void *k, const void *v, enum kind from, struct columns c, int64_t t, enum kind kind) {
    int64_t size = kind == BFLOAT ? 2 : 4, pair = kind == BFLOAT ? 2 : 1, second = kind == BFLOAT ? 1 : 16;
    char *column = to(c.keys, t / 16 * c.block + t % 16 * pair, kind), kept[64];
    for SIXTEEN(c.head) {
        store16(kept, 0, load_some(k, i, left, from), kind);
        for (int64_t j = 0; j < 16 && j < left; j++)
            memcpy(column + ((i + j) / 2 * 32 + j % 2 * second) * size, kept + j * size, size);
    }
    for (int64_t d = 0; d < c.wide; d += 32)
        store_pairs(c.values, t / 16 * c.value_block + t % 16 * c.wide + d, load_some(v, d, c.head - d, from),
                    load_some(v, d + 16, c.head - d - 16, from), kind);
}

/* (a + bi)(cos + i sin) of neighbours; `turns` holds [cos, cos] of each angle, and after them [-sin, sin]. */
INLINE void turn(float *x, const float *turns, int64_t head) {
    const i16x32 other = {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14};
    for SIXTEEN(head) {
        f16 v = load_some(x, i, left, FLOAT), turned = v * load_some(turns, i, left, FLOAT);
        turned += __builtin_shuffle(v, other) * load_some(turns, head + i, left, FLOAT);
        store_some(x, i, left, turned, FLOAT);
    }
}

/* What some queries that share keys look at: a prompt and the row's own columns. */
struct view {
    const float *q;
    float *p, *a; /* [queries, n], [queries, head] */
    int64_t n, length, used;
    struct columns prompt, own;
};

/* p [queries, count], rounded up to sixteen columns with -inf, and the largest; meanwhile fetches the next head's
   keys. */
INLINE void scores(struct view s, struct columns c, int64_t count, float *p, f16 best[MOST], int queries,
                   enum kind kind) {
    for (int64_t t = 0; t < count; t += 16) {
        const void *keys = at(c.keys, t / 16 * c.block, kind);
        f16 sum[MOST][2] = {0}, first, second;
#pragma GCC unroll 4
        for (int64_t d = 0; d < c.head; d += 2) {
            load_pairs(keys, d * 16, &first, &second, kind);
            __builtin_prefetch(at(keys, (c.head + d) * 16, kind));
            for (int i = 0; i < queries; i++) {
                sum[i][0] += s.q[i * c.head + d] * first;
                sum[i][1] += s.q[i * c.head + d + 1] * second;
            }
        }
        for (int i = 0; i < queries; i++) {
            f16 found = first16(sum[i][0] + sum[i][1], count - t, -INFINITY);
            *(f16 *)(p + i * s.n + t) = found;
            best[i] = larger16(best[i], found);
        }
    }
}

/* sum += p value, of 32 numbers of one token's values; meanwhile fetches the next head's. */
INLINE void add_token(struct view s, const float *p, const void *value, f16 sum[MOST][2], int queries,
                      enum kind kind) {
    f16 first, second;
    load_pairs(value, 0, &first, &second, kind);
    __builtin_prefetch(at(value, 16 * s.own.wide, kind));
    for (int i = 0; i < queries; i++) {
        sum[i][0] += p[i * s.n] * first;
        sum[i][1] += p[i * s.n] * second;
    }
}

/* even + odd += sum_t p_t values_t, of 32 numbers of the values from d on; p and the values may end with zeros. */
INLINE void weighted(struct view s, struct columns c, int64_t count, const float *p, int64_t d, f16 even[MOST][2],
                     f16 odd[MOST][2], int queries, enum kind kind) {
    for (int64_t t = 0; t < count; t += 16)
        for (int64_t i = 0; i < 16 && t + i < count; i += 2) {
            const void *value = at(c.values, t / 16 * c.value_block + i * c.wide + d, kind);
            add_token(s, p + t + i, value, even, queries, kind);
            add_token(s, p + t + i + 1, at(value, c.wide, kind), odd, queries, kind);
        }
}

/* a = softmax(q K) V, of so many queries, a constant. */
INLINE void look_back(struct view s, int queries, enum kind kind) {
    f16 best[MOST], total[MOST] = {0};
    float *p = s.p + up(s.length, 16), top[MOST];
    for (int i = 0; i < queries; i++) best[i] = all16(-INFINITY);
    scores(s, s.prompt, s.length, s.p, best, queries, kind);
    scores(s, s.own, s.used, p, best, queries, kind);
    for (int i = 0; i < queries; i++) top[i] = largest16(best[i]);
    for (int64_t t = 0; t < s.n; t += 16)
        for (int i = 0; i < queries; i++) {
            f16 *e = (f16 *)(s.p + i * s.n + t);
            total[i] += *e = exp16(*e - top[i]);
        }
    for (int64_t d = s.own.wide - 32; d >= 0; d -= 32) { /* from the last: what lies beyond a head is written over */
        f16 even[MOST][2] = {0}, odd[MOST][2] = {0};
        weighted(s, s.prompt, s.length, s.p, d, even, odd, queries, kind);
        weighted(s, s.own, s.used, p, d, even, odd, queries, kind);
        for (int i = 0; i < queries; i++)
            for (int j = 0; j < 2; j++)
                *(f16 *)(s.a + i * s.own.head + d + 16 * j) = (even[i][j] + odd[i][j]) * (1.0f / sum16(total[i]));
    }
}
