/* Sixteen floats at a time, in the compiler's own vector types: they become whatever the processor has. */
#pragma once
#include "numbers.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef float f16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t u16x32 __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t half16 __attribute__((vector_size(32), aligned(2), may_alias));
#define INLINE static inline __attribute__((always_inline))

enum kind { FLOAT = 0, BFLOAT = 1 };

INLINE f16 widen16(const bf16 *x) {
#ifdef __AVX512F__
    return (f16)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x)), 16);
#else
    return (f16)(__builtin_convertvector(*(const half16 *)x, u16x32) << 16);
#endif
}

/* i counts sixteen at a time, and `left` is what is still there. */
#define SIXTEEN(n) (int64_t i = 0, left = (n); left > 0; i += 16, left -= 16)

INLINE f16 all16(float x) { return (f16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

INLINE void narrow16(bf16 *out, f16 x) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i *)out, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    for (int i = 0; i < 16; i++) out[i] = narrow(x[i]);
#endif
}

/* Sixteen numbers at index i of an array of either kind. */
INLINE f16 load16(const void *x, int64_t i, enum kind kind) {
    return kind == BFLOAT ? widen16((const bf16 *)x + i) : *(const f16 *)((const float *)x + i);
}

INLINE void store16(void *x, int64_t i, f16 value, enum kind kind) {
    if (kind == BFLOAT)
        narrow16((bf16 *)x + i, value);
    else
        *(f16 *)((float *)x + i) = value;
}

/* The same for the last `left` numbers of an array, the others being 0. */
INLINE f16 load_some(const void *x, int64_t i, int64_t left, enum kind kind) {
    if (left >= 16) return load16(x, i, kind);
    f16 found = {0};
    for (int64_t j = 0; j < left; j++)
        found[j] = kind == BFLOAT ? widen(((const bf16 *)x)[i + j]) : ((const float *)x)[i + j];
    return found;
}

INLINE void store_some(void *x, int64_t i, int64_t left, f16 value, enum kind kind) {
    if (left >= 16) return store16(x, i, value, kind);
    for (int64_t j = 0; j < left; j++) {
        if (kind == BFLOAT)
            ((bf16 *)x)[i + j] = narrow(value[j]);
        else
            ((float *)x)[i + j] = value[j];
    }
}

/* As numbers of this kind would be read again. */
INLINE f16 rounded16(f16 x, enum kind kind) {
    if (kind == FLOAT) return x;
#ifdef __AVX512BF16__
    __m512i wide = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
    return (f16)_mm512_slli_epi32(wide, 16);
#else
    bf16 kept[16];
    narrow16(kept, x);
    return widen16(kept);
#endif
}

INLINE float sum16(f16 x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < 16; i++) total += x[i];
    return total;
#endif
}

/* The larger of each two; b where one is NaN. */
INLINE f16 larger16(f16 a, f16 b) {
#ifdef __AVX512F__
    return (f16)_mm512_max_ps((__m512)a, (__m512)b);
#else
    u16x32 more = (u16x32)(a > b);
    return (f16)(((u16x32)a & more) | ((u16x32)b & ~more));
#endif
}

INLINE float largest16(f16 x) {
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)x);
#else
    float top = x[0];
    for (int i = 1; i < 16; i++) top = x[i] > top ? x[i] : top;
    return top;
#endif
}

/* exp of numbers <= 88, as `fast_exp`. */
INLINE f16 exp16(f16 x) {
#ifdef __AVX512F__
    f16 n = (f16)_mm512_roundscale_ps((__m512)(x * 1.44269504f), 8), r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    f16 p = all16(8.31252e-3f);
    p = p * r + 4.189016e-2f;
    p = p * r + 1.6667115e-1f;
    p = p * r + 4.9999231e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    __mmask16 there = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);
    return (f16)_mm512_maskz_scalef_ps(there, (__m512)p, (__m512)n);
#else
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    u16x32 tiny = (u16x32)(x < -87.0f);
    f16 shifted = x * 1.44269504f + round, n = shifted - round;
    f16 r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    f16 p = all16(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    f16 y = p * (f16)(((u16x32)shifted + 127) << 23);
    return (f16)((u16x32)y & ~tiny);
#endif
}

INLINE void store(void *x, int64_t i, float value, enum kind kind) {
    if (kind == BFLOAT)
        ((bf16 *)x)[i] = narrow(value);
    else
        ((float *)x)[i] = value;
}

/* As a number of this kind would be read again. */
INLINE float rounded(float x, enum kind kind) { return kind == BFLOAT ? widen(narrow(x)) : x; }

INLINE const void *at(const void *x, int64_t i, enum kind kind) {
    return kind == BFLOAT ? (const void *)((const bf16 *)x + i) : (const void *)((const float *)x + i);
}

INLINE void *to(void *x, int64_t i, enum kind kind) { return (void *)at(x, i, kind); }

INLINE float load(const void *x, int64_t i, enum kind kind) {
    return kind == BFLOAT ? widen(((const bf16 *)x)[i]) : ((const float *)x)[i];
}

/* One of two statements, so that the compiler sees `kind` as a constant in each. */
#define EITHER(kind, call_b, call_f) \
    do {                             \
        if (kind == BFLOAT)          \
            call_b;                  \
        else                         \
            call_f;                  \
    } while (0)

/* 1 / (1 + exp(-x)). */
INLINE f16 sigmoid16(f16 x) {
    f16 y = -x;
    u16x32 large = (u16x32)(y > 80.0f); /* exp16 is for numbers <= 88 */
    y = 1.0f + exp16((f16)(((u16x32)y & ~large) | ((u16x32)all16(80.0f) & large)));
#ifdef __AVX512F__
    f16 guess = (f16)_mm512_rcp14_ps((__m512)y); /* and a step of Newton's: 2^-14 becomes 2^-27 */
    return guess * (2.0f - y * guess);
#else
    return 1.0f / y;
#endif
}

/* The same to 2^-13, for what is rounded to bfloat16 next. */
INLINE f16 short_sigmoid16(f16 x) {
#ifdef __AVX512F__
    __m512 t = _mm512_mul_ps((__m512)x, _mm512_set1_ps(-1.44269504f)), n = _mm512_roundscale_ps(t, 8);
    f16 f = (f16)_mm512_sub_ps(t, n); /* 2^f: Taylor, |f| <= 1/2 */
    f16 p = all16(9.61812911e-3f);
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    return (f16)_mm512_rcp14_ps(_mm512_add_ps(_mm512_scalef_ps((__m512)p, n), _mm512_set1_ps(1.0f)));
#else
    return sigmoid16(x);
#endif
}

/* y = x s with s = 1 / sqrt(mean(x^2) + eps), times `scale` where there is one. */
INLINE void normal_row(const float *x, const float *scale, void *y, int64_t width, float eps, enum kind out) {
    f16 total = {0};
    for SIXTEEN(width) {
        f16 v = load_some(x, i, left, FLOAT);
        total += v * v;
    }
    float s = 1.0f / sqrtf(sum16(total) / width + eps);
    for SIXTEEN(width) {
        f16 v = load_some(x, i, left, FLOAT) * s;
        if (scale) v *= load_some(scale, i, left, FLOAT);
        store_some(y, i, left, v, out);
    }
}

/* silu(gate) up with silu(x) = x sigmoid(x), for numbers of `kind`. */
INLINE f16 gated16(f16 gate, f16 up, enum kind kind) {
    return gate * (kind == BFLOAT ? short_sigmoid16(gate) : sigmoid16(gate)) * up;
}

/* The same, y, and from its gradient d those of gate and up. */
INLINE void gated_back16(f16 gate, f16 up, f16 d, f16 *y, f16 *dgate, f16 *dup, enum kind kind) {
    f16 share = kind == BFLOAT ? short_sigmoid16(gate) : sigmoid16(gate), silu = gate * share;
    *y = silu * up;
    *dgate = d * up * (share + silu * (1.0f - share));
    *dup = d * silu;
}

/* g += s dy - x s^3 mean(x dy); with a scale dy is multiplied by it first, and its gradient x s dy is summed. */
INLINE void normal_back_row(const float *x, const void *dy, const float *scale, float *scale_grad, float *g,
                            int64_t width, float eps, enum kind kind) {
    f16 total = {0}, along = {0};
    for SIXTEEN(width) {
        f16 v = load_some(x, i, left, FLOAT), d = load_some(dy, i, left, kind);
        total += v * v;
        if (scale) d *= load_some(scale, i, left, FLOAT);
        along += v * d;
    }
    float s = 1.0f / sqrtf(sum16(total) / width + eps), back = sum16(along) * s * s * s / width;
    for SIXTEEN(width) {
        f16 v = load_some(x, i, left, FLOAT), d = load_some(dy, i, left, kind);
        if (scale_grad) store_some(scale_grad, i, left, load_some(scale_grad, i, left, FLOAT) + d * v * s, FLOAT);
        if (scale) d *= load_some(scale, i, left, FLOAT);
        store_some(g, i, left, load_some(g, i, left, FLOAT) + (s * d - v * back), FLOAT);
    }
}
