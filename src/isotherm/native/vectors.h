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

/* Sixteen numbers at index i of an array of either kind. */
INLINE f16 load16(const void *x, int64_t i, enum kind kind) {
    return kind == BFLOAT ? widen16((const bf16 *)x + i) : *(const f16 *)((const float *)x + i);
}

INLINE f16 all16(float x) { return (f16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

INLINE float sum16(f16 x) {
    float total = 0;
    for (int i = 0; i < 16; i++) total += x[i];
    return total;
}

/* exp of numbers <= 88, as `fast_exp`. */
INLINE f16 exp16(f16 x) {
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
}

INLINE void store(void *x, int64_t i, float value, enum kind kind) {
    if (kind == BFLOAT)
        ((bf16 *)x)[i] = narrow(value);
    else
        ((float *)x)[i] = value;
}

/* As a number of this kind would be read again. */
INLINE float rounded(float x, enum kind kind) { return kind == BFLOAT ? widen(narrow(x)) : x; }
