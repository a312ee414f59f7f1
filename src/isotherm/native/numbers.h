/* Numbers as the C files use them: bfloat16, exp, and sums that the compiler turns into vector code.

   Numbers travel as float or as bfloat16 (the upper half of a float); every sum is kept in float. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

typedef uint16_t bf16;

static inline float widen(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

/* To the nearest, ties to even; a NaN stays one. */
static inline bf16 narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    return x != x ? 0x7FC0 : (bf16)rounded;
}

/* e^d to 2 units in the last place for d from -87 to 88; of a NaN a NaN. Straight code, so that loops vectorise. */
static inline float exp_within(float d) {
    float n = nearbyintf(d * 1.44269504f);
    float r = fmaf(n, -0.693359375f, d);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* The same of any x <= 88: 0 below -87. */
static inline float fast_exp(float x) {
    float y = exp_within(x < -87.0f ? -87.0f : x);
    return x < -87.0f ? 0.0f : y;
}
