/* C (+)= A B with A and B in bfloat16, packed by `pack.c`, and C in float, summed in float: for processors that multiply
   bfloat16 in tiles (AMX) or in vectors (AVX512-BF16). */
#include "blocks.h"
#include "numbers.h"
#include "product.h"
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { DEEP = 8, LONG = 32, RESIDENT = 1 << 20 }; /* steps in the first-level cache and in the second; bytes of B there */

static int best(void) {
#ifdef __AMX_BF16__
    if (syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0) return TILE;
#endif
#ifdef __AVX512BF16__
    return VECTOR;
#endif
    return NONE;
}

/* What multiplies: 2 tiles, 1 vectors, 0 nothing; never more than `wanted`. */
int product_kind(int64_t wanted) {
    static int found = -1;
    if (found < 0) found = best();
    return wanted < found ? (int)wanted : found;
}

/* out [32, 32] of a strip of A and a panel of B, both from the same step on. */
static void block_vector(float *out, const bf16 *a, const bf16 *b, int64_t steps) {
#ifdef __AVX512BF16__
    for (int half = 0; half < 4; half++) {
        const bf16 *rows = a + half * 8 * INNER;
        __m512 sum[8][2];
        for (int i = 0; i < 8; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
        for (int64_t k = 0; k < steps * 16; k++) {
            int64_t step = k / 16 * STEP, pair = k % 16;
            __m512bh left = (__m512bh)_mm512_loadu_si512(b + step + pair * INNER);
            __m512bh right = (__m512bh)_mm512_loadu_si512(b + step + STEP / 2 + pair * INNER);
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                int32_t both;
                memcpy(&both, rows + step + i * INNER + 2 * pair, 4);
                __m512bh x = (__m512bh)_mm512_set1_epi32(both);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, left);
                sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, right);
            }
        }
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 2; j++) _mm512_storeu_ps(out + (half * 8 + i) * PANEL + j * 16, sum[i][j]);
    }
#endif
}

/* c [32, 32] = or += the same, a row of c being `stride` floats after the last. */
static void block_tile(float *c, int64_t stride, const bf16 *a, const bf16 *b, int64_t steps, int64_t add) {
#ifdef __AMX_BF16__
    enum { HALF = STEP / 2 };
    float *below = c + 16 * stride;
    if (add) {
        _tile_loadd(0, c, 4 * stride);
        _tile_loadd(1, c + 16, 4 * stride);
        _tile_loadd(2, below, 4 * stride);
        _tile_loadd(3, below + 16, 4 * stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (const bf16 *end = a + steps * STEP; a < end; a += STEP, b += STEP) {  /* a load before each product */
        _tile_loadd(6, b, 64);
        _tile_loadd(4, a, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + HALF, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, b + HALF, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, 4 * stride);
    _tile_stored(1, c + 16, 4 * stride);
    _tile_stored(2, below, 4 * stride);
    _tile_stored(3, below + 16, 4 * stride);
#endif
}

static void deliver(float *c, int64_t stride, const float *block, int64_t rows, int64_t columns, int64_t add) {
    for (int64_t i = 0; i < rows; i++) {
        float *to = c + i * stride;
        const float *from = block + i * PANEL;
        if (columns == PANEL && add) for (int j = 0; j < PANEL; j++) to[j] += from[j];
        else if (add) for (int j = 0; j < columns; j++) to[j] += from[j];
        else memcpy(to, from, 4 * columns);
    }
}

/* One block of c, `rows` by `columns` of it real. */
static void multiply(int kind, float *c, int64_t stride, const bf16 *a, const bf16 *b, int64_t rows, int64_t columns,
                     int64_t steps, int64_t add) {
    float block[STRIP * PANEL] __attribute__((aligned(64)));
    if (kind == TILE && rows >= STRIP && columns >= PANEL) {
        block_tile(c, stride, a, b, steps, add);
        return;
    }
    if (kind == TILE) block_tile(block, PANEL, a, b, steps, 0);
    else block_vector(block, a, b, steps);
    deliver(c, stride, block, rows < STRIP ? rows : STRIP, columns < PANEL ? columns : PANEL, add);
}

/* Some rows of C from `steps` steps of A and B, which have `a_steps` and `b_steps` in all: as many of a panel as the
   first-level cache holds, against strips from the second. */
void product_block(int kind, float *c, int64_t stride, const bf16 *a, int64_t a_steps, const bf16 *b, int64_t b_steps,
                   int64_t rows, int64_t columns, int64_t steps, int64_t add) {
    int64_t parts = (steps + DEEP - 1) / DEEP, deep = (steps + parts - 1) / parts;
    for (int64_t k = 0; k < steps; k += deep)
        for (int64_t n = 0; n < columns; n += PANEL)
            for (int64_t m = 0; m < rows; m += STRIP)
                multiply(kind, c + m * stride + n, stride, a + (m / STRIP * a_steps + k) * STEP,
                         b + (n / PANEL * b_steps + k) * STEP, rows - m, columns - n,
                         steps - k < deep ? steps - k : deep, add || k);
}

/* c [rows, columns] of the given stride = (or += with `add`) A B, as many steps and panels of B at a time as stay in the
   second-level cache. */
void product(float *c, int64_t stride, const bf16 *a, const bf16 *b, int64_t rows, int64_t columns, int64_t inner,
             int64_t add, int64_t wanted) {
    int kind = product_kind(wanted);
    int64_t steps = (inner + INNER - 1) / INNER, deep = steps < LONG ? steps : LONG;
    int64_t wide = RESIDENT / (2 * STEP * deep) * PANEL;
#pragma omp parallel
    {
        char before[64] __attribute__((aligned(64)));
        if (kind == TILE) tiles_begin(before);
        for (int64_t k = 0; k < steps; k += deep)
            for (int64_t n = 0; n < columns; n += wide)
#pragma omp for schedule(static) nowait
                for (int64_t m = 0; m < rows; m += STRIP)
                    product_block(kind, c + m * stride + n, stride, a + (m / STRIP * steps + k) * STEP, steps,
                                  b + (n / PANEL * steps + k) * STEP, steps, rows - m < STRIP ? rows - m : STRIP,
                                  columns - n < wide ? columns - n : wide, steps - k < deep ? steps - k : deep, add || k);
        if (kind == TILE) tiles_end(before);
    }
}
