/* C (+)= A B with A and B in bfloat16, packed by `pack.c`, and C in float, summed in float: for processors that multiply
   bfloat16 in tiles (AMX) or in vectors (AVX512-BF16). */
#include "blocks.h"
#include "numbers.h"
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { NONE, VECTOR, TILE };
enum { DEEP = 8, RESIDENT = 1 << 20 };  /* steps of a panel in the first-level cache; bytes of A in the second */

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

/* out [32, 32] of two rows of tiles of A, the second `next` tiles after the first, and a panel of B. */
static void block_vector(float *out, const bf16 *a, const bf16 *b, int64_t steps, int64_t next) {
#ifdef __AVX512BF16__
    for (int half = 0; half < 4; half++) {
        const bf16 *rows = a + (half / 2) * next * ROWS * INNER + (half % 2) * 8 * INNER;
        __m512 sum[8][2];
        for (int i = 0; i < 8; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
        for (int64_t k = 0; k < steps * 16; k++) {
            __m512bh left = (__m512bh)_mm512_loadu_si512(b + k * 64), right = (__m512bh)_mm512_loadu_si512(b + k * 64 + 32);
            const bf16 *pair = rows + (k / 16) * ROWS * INNER + (k % 16) * 2;
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                int32_t both;
                memcpy(&both, pair + i * INNER, 4);
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
static void block_tile(float *c, int64_t stride, const bf16 *a, const bf16 *b, int64_t steps, int64_t next, int64_t add) {
#ifdef __AMX_BF16__
    const bf16 *lower = a + next * ROWS * INNER;
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
        for (int i = 0; i < 32; i++) {  /* the stores at the end would wait for these lines */
            __builtin_prefetch(c + i * stride, 1);
            __builtin_prefetch(c + i * stride + 16, 1);
        }
    }
    for (int64_t k = 0; k < steps; k++) {
        _tile_loadd(6, b + k * PANEL * INNER, 128);
        _tile_loadd(4, a + k * ROWS * INNER, 64);
        _tile_loadd(7, b + k * PANEL * INNER + 32, 128);
        _tile_loadd(5, lower + k * ROWS * INNER, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, 4 * stride);
    _tile_stored(1, c + 16, 4 * stride);
    _tile_stored(2, below, 4 * stride);
    _tile_stored(3, below + 16, 4 * stride);
#endif
}

static void tiles_on(int kind) {
#ifdef __AMX_BF16__
    struct { uint8_t palette, start, rest[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = 16;
    if (kind == TILE) _tile_loadconfig(&shape);
#endif
}

static void tiles_off(int kind) {
#ifdef __AMX_BF16__
    if (kind == TILE) _tile_release();
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
                     int64_t steps, int64_t next, int64_t add) {
    float block[32 * PANEL] __attribute__((aligned(64)));
    if (kind == TILE && rows >= 32 && columns >= PANEL) {
        block_tile(c, stride, a, b, steps, next, add);
        return;
    }
    if (kind == TILE) block_tile(block, PANEL, a, b, steps, next, 0);
    else block_vector(block, a, b, steps, next);
    deliver(c, stride, block, rows < 32 ? rows : 32, columns < PANEL ? columns : PANEL, add);
}

/* c [rows, columns] of the given stride = (or += with `add`) A B. Rows of A stay in the second-level cache while panels
   of B pass by, and of a panel as much as the first level holds. */
void product(float *c, int64_t stride, const bf16 *a, const bf16 *b, int64_t rows, int64_t columns, int64_t inner,
             int64_t add, int64_t wanted) {
    int kind = product_kind(wanted);
    int64_t steps = (inner + INNER - 1) / INNER, panels = (columns + PANEL - 1) / PANEL;
    int64_t parts = (steps + DEEP - 1) / DEEP, deep = (steps + parts - 1) / parts;
    int64_t resident = RESIDENT / (64 * steps * 32) * 32;
    resident = resident < 32 ? 32 : resident;
#pragma omp parallel
    {
        tiles_on(kind);
        for (int64_t first = 0; first < rows; first += resident) {
            int64_t last = first + resident < rows ? first + resident : rows;
#pragma omp for schedule(static) nowait
            for (int64_t n = 0; n < panels; n++)
                for (int64_t k = 0; k < steps; k += deep)
                    for (int64_t m = first; m < last; m += 32)
                        multiply(kind, c + m * stride + n * PANEL, stride, a + (m * steps + 16 * k) * INNER,
                                 b + (n * steps + k) * INNER * PANEL, rows - m, columns - n * PANEL,
                                 steps - k < deep ? steps - k : deep, steps, add || k);
        }
        tiles_off(kind);
    }
}
