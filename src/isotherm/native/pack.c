/* Packs the factors of `product.c` from float or bfloat16, rounded to the nearest. */
#include "product.h"
#include "transpose.h"

static inline bf16 item(const void *x, int64_t i, int64_t wide) {
    return wide ? narrow(((const float *)x)[i]) : ((const bf16 *)x)[i];
}

#ifdef __AVX512BF16__
static inline __m256i sixteen(const void *x, int64_t i, int64_t wide) {
    if (!wide) return _mm256_loadu_si256((const __m256i *)((const bf16 *)x + i));
    return (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps((const float *)x + i));
}
#endif

/* One block of 16 lines by 32 of the line: lines as rows of a tile (turned 0), or as words across (turned 1). */
static void along(bf16 *out, const void *x, int64_t stride, int64_t lines, int64_t length, int64_t wide,
                  int64_t turned) {
    bf16 block[16][32] __attribute__((aligned(64)));
#ifdef __AVX512BF16__
    if (lines >= 16 && length >= 32) {
        __m512i r[16];
        for (int i = 0; i < 16; i++)
            r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(sixteen(x, i * stride, wide)),
                                      sixteen(x, i * stride + 16, wide), 1);
        if (turned) transpose(r);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(out + i * INNER, r[i]);
        return;
    }
#endif
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 32; j++) block[i][j] = i < lines && j < length ? item(x, i * stride + j, wide) : 0;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++)
            memcpy(out + i * INNER + 2 * j, turned ? &block[j][2 * i] : &block[i][2 * j], 4);
}

/* One block of 32 lines by 16 across them, pairs of lines together: pairs as rows (turned 0), or columns (1). */
static void across(bf16 *out, const void *x, int64_t stride, int64_t lines, int64_t length, int64_t wide,
                   int64_t turned) {
#ifdef __AVX512BF16__
    if (lines >= 32 && length >= 16) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) {
            __m512i low = _mm512_cvtepu16_epi32(sixteen(x, 2 * i * stride, wide));
            __m512i high = _mm512_cvtepu16_epi32(sixteen(x, (2 * i + 1) * stride, wide));
            r[i] = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
        }
        if (turned) transpose(r);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(out + i * INNER, r[i]);
        return;
    }
#endif
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++)
            for (int k = 0; k < 2; k++) {
                int line = 2 * (turned ? j : i) + k, place = turned ? i : j;
                out[i * INNER + 2 * j + k] = line < lines && place < length ? item(x, line * stride + place, wide) : 0;
            }
}

/* A step of 32 lines by 32 of x, as a strip of A whose inner index counts the lines (turned 1), or as a panel of B. */
void pack_across(bf16 *out, const bf16 *x, int64_t turned) {
    for (int half = 0; half < 2; half++)
        across(out + half * (STEP / 2), x + 16 * half, INNER, 32, 16, 0, turned);
}

/* x [rows, inner] -> tiles of A; with `turned`, x [inner, rows]. */
void product_pack_a(bf16 *out, const void *x, int64_t wide, int64_t stride, int64_t rows, int64_t inner,
                    int64_t turned) {
    int64_t size = wide ? 4 : 2, steps = (inner + INNER - 1) / INNER;
    int64_t tiles = (rows + 31) / 32 * 2;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < tiles * steps; j++) {  /* along the lines of x, whichever they are */
        int64_t m = turned ? j % tiles : j / steps, k = turned ? j / tiles : j % steps;
        int64_t row = m * 16, i = k * INNER;
        const char *from = (const char *)x + size * (turned ? i * stride + row : row * stride + i);
        bf16 *to = out + (m / 2 * steps + k) * STEP + m % 2 * (STEP / 2);
        if (turned) across(to, from, stride, inner - i, rows - row, wide, 1);
        else along(to, from, stride, rows - row, inner - i, wide, 0);
    }
}

/* x [inner, columns] -> panels of B; with `turned`, x [columns, inner]. */
void product_pack_b(bf16 *out, const void *x, int64_t wide, int64_t stride, int64_t inner, int64_t columns,
                    int64_t turned) {
    int64_t size = wide ? 4 : 2, steps = (inner + INNER - 1) / INNER;
    int64_t halves = (columns + PANEL - 1) / PANEL * 2;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < halves * steps; j++) {
        int64_t n = turned ? j / steps : j % halves, k = turned ? j % steps : j / halves;
        int64_t column = n * 16, i = k * INNER;
        const char *from = (const char *)x + size * (turned ? column * stride + i : i * stride + column);
        bf16 *to = out + (n / 2 * steps + k) * STEP + n % 2 * (STEP / 2);
        if (turned) along(to, from, stride, columns - column, inner - i, wide, 1);
        else across(to, from, stride, inner - i, columns - column, wide, 0);
    }
}
