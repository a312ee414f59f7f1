/* Products of small matrices in squares of 32 by 32: bfloat16 in AMX tiles, or float in vectors.

   Items are bf16 for TILES and float otherwise. A left factor's square lies row by row; a right factor's does so in
   float, and in bfloat16 as two halves of 16 columns with rows in pairs. Results are float, row by row. */
#pragma once
#include "decoding_product.h"
#include "transpose.h"

enum { EDGE = 32, SQUARE = EDGE * EDGE };

INLINE enum kind items(enum level level) { return level == TILES ? BFLOAT : FLOAT; }

#ifdef __AVX512BF16__
/* [x, y] in bfloat16, and the two in turns. */
INLINE __m512i side_by_side(f16 x, f16 y) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x); }

INLINE __m512i in_turns(f16 x, f16 y) {
    __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
    __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)y));
    return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}
#endif

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
INLINE void multiply_tiles(float *c, const bf16 *a, int64_t a_step, const bf16 *b, int64_t b_step, const bf16 *rest,
                           int64_t steps, int add) {
    enum { LINE = EDGE * sizeof(float), HALF = SQUARE / 2 };
    if (add) {
        _tile_loadd(0, c, LINE); _tile_loadd(1, c + 16, LINE);
        _tile_loadd(2, c + HALF, LINE); _tile_loadd(3, c + HALF + 16, LINE);
    } else {
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    }
    for (int64_t k = 0; k < steps; k++, a += a_step, b += b_step) {
        _tile_loadd(6, b, 64); _tile_loadd(4, a, 64); _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + HALF, 64); _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, b + HALF, 64); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(3, 5, 7);
        if (!rest) continue;
        _tile_loadd(6, rest, 64); _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, rest + HALF, 64); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(3, 5, 7);
        rest += b_step;
    }
    _tile_stored(0, c, LINE); _tile_stored(1, c + 16, LINE);
    _tile_stored(2, c + HALF, LINE); _tile_stored(3, c + HALF + 16, LINE);
}
#endif

INLINE void multiply_floats(float *c, const float *a, int64_t a_step, const float *b, int64_t b_step, const float *rest,
                            int64_t steps, int add) {
    for (int64_t first = 0; first < EDGE; first += 8) {
        f16 sum[8][2] = {0}, (*out)[2] = (f16(*)[2])(c + first * EDGE);
        if (add) memcpy(sum, out, sizeof sum);
        for (int64_t s = 0; s < steps; s++)
            for (int64_t k = 0; k < EDGE; k++) {
                f16 line[2];
                for (int h = 0; h < 2; h++) {
                    int64_t from = s * b_step + k * EDGE + 16 * h;
                    line[h] = load16(b, from, FLOAT);
                    if (rest) line[h] += load16(rest, from, FLOAT);
                }
                const float *x = a + s * a_step + first * EDGE + k;
#pragma GCC unroll 8
                for (int r = 0; r < 8; r++) {
                    sum[r][0] += x[r * EDGE] * line[0];
                    sum[r][1] += x[r * EDGE] * line[1];
                }
            }
        memcpy(out, sum, sizeof sum);
    }
}

/* The square c = (or += with `add`) a_0 b_0 + a_1 b_1 + ..., whose factors lie `a_step` and `b_step` squares apart. What
   b lost in rounding is its `rest`, or NULL. */
INLINE void multiply(float *c, const void *a, int64_t a_step, const void *b, int64_t b_step, const void *rest,
                     int64_t steps, int add, enum level level) {
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    if (level == TILES) return multiply_tiles(c, a, a_step * SQUARE, b, b_step * SQUARE, rest, steps, add);
#endif
    multiply_floats(c, a, a_step * SQUARE, b, b_step * SQUARE, rest, steps, add);
}

/* [x, y] as row `row` of a left factor, rounded to `kind`. */
INLINE void put(void *left, int64_t row, f16 x, f16 y, enum kind kind, enum level level) {
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    if (level == TILES) return _mm512_storeu_si512(to(left, row * EDGE, BFLOAT), side_by_side(x, y));
#endif
    store16(left, row * EDGE, rounded16(x, kind), FLOAT);
    store16(left, row * EDGE + 16, rounded16(y, kind), FLOAT);
}

/* x and y as rows 2 i and 2 i + 1 of a right factor. */
INLINE void put_pair(void *right, int64_t i, const f16 x[2], const f16 y[2], enum kind kind, enum level level) {
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    if (level == TILES) {
        for (int h = 0; h < 2; h++)
            _mm512_storeu_si512(to(right, h * SQUARE / 2 + i * EDGE, BFLOAT), in_turns(x[h], y[h]));
        return;
    }
#endif
    put(right, 2 * i, x[0], x[1], kind, level);
    put(right, 2 * i + 1, y[0], y[1], kind, level);
}

/* A square of floats, turned over. */
INLINE void flip(const float *x, float *y) {
    for (int i = 0; i < EDGE; i += 16)
        for (int j = 0; j < EDGE; j += 16) transpose16(x + i * EDGE + j, EDGE, y + j * EDGE + i, EDGE);
}

/* A left factor as a right one. */
INLINE void right_of(const void *left, void *right, enum level level) {
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    for (int i = 0; i < 16 && level == TILES; i++) {
        const __m256i *x = (const __m256i *)((const bf16 *)left + 2 * i * EDGE);
        for (int h = 0; h < 2; h++) {
            __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x + h));
            __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x + 2 + h));
            _mm512_storeu_si512(to(right, h * SQUARE / 2 + i * EDGE, BFLOAT),
                                _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
        }
    }
    if (level == TILES) return;
#endif
    memcpy(right, left, SQUARE * sizeof(float));
}

/* A left factor's transpose as a right one. */
INLINE void right_of_transpose(const void *left, void *right, enum level level) {
    if (level != TILES) return flip(left, right);
    for (int h = 0; h < 2; h++) transpose16(at(left, h * SQUARE / 2, BFLOAT), 16, to(right, h * SQUARE / 2, BFLOAT), 16);
}

/* The transpose of a left factor as another. */
INLINE void left_of_transpose(const void *left, void *turned, enum level level) {
    if (level != TILES) return flip(left, turned);
    right_of(left, turned, level);
    for (int h = 0; h < 2; h++) transpose16(at(turned, h * SQUARE / 2, BFLOAT), 16, to(turned, h * SQUARE / 2, BFLOAT), 16);
}
