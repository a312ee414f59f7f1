#include "decoding_product.h"
#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static int forced = -1;

/* For tests: 0, 1 or 2 uses no more than that; -1 whatever there is. Returns what is used. */
int64_t limit_bfloat(int64_t level) {
    forced = (int)level;
    return bfloat_level();
}

static enum level found(void) {
#ifdef __AMX_BF16__
    if (syscall(SYS_arch_prctl, 0x1023, 18) == 0) return TILES; /* asks the kernel for tile data, once a process */
#endif
#ifdef __AVX512BF16__
    return DOT;
#endif
    return PLAIN;
}

enum level bfloat_level(void) {
    static int known = -1;
    if (known < 0) known = found();
    return forced >= 0 && forced < known ? forced : known;
}

/* Bytes of `decoding_pack`'s output. */
int64_t decoding_packed_size(int64_t columns, int64_t depth, int64_t kind) {
    return up(columns, COLUMNS) * up(depth, DEPTH) * (kind == BFLOAT && bfloat_level() != PLAIN ? 2 : 4);
}

/* w [columns, depth] of `kind` -> blocks of 16 columns, in each of them the depth (in pairs for bfloat16) by columns. */
void decoding_pack(const void *w, void *out, int64_t columns, int64_t depth, int64_t kind) {
    int64_t deep = up(depth, DEPTH);
    int pairs = kind == BFLOAT && bfloat_level() != PLAIN;
    memset(out, 0, decoding_packed_size(columns, depth, kind));
    for (int64_t n = 0; n < columns; n++)
        for (int64_t k = 0; k < depth; k++) {
            int64_t block = (n / 16) * deep * 16, from = n * depth + k;
            if (pairs)
                ((bf16 *)out)[block + (k / 2) * 32 + (n % 16) * 2 + k % 2] = ((const bf16 *)w)[from];
            else
                ((float *)out)[block + k * 16 + n % 16] =
                    kind == BFLOAT ? widen(((const bf16 *)w)[from]) : ((const float *)w)[from];
        }
}

/* Eight rows by 32 columns in registers. */
INLINE void block_plain(const void *x, int64_t ldx, const float *w, int64_t deep, float *y, int64_t ldy,
                        enum kind kind) {
    f16 sum[8][2] = {0};
    for (int64_t k = 0; k < deep; k++) {
        f16 a = *(const f16 *)(w + k * 16), b = *(const f16 *)(w + deep * 16 + k * 16);
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) {
            float v = kind == BFLOAT ? widen(((const bf16 *)x)[r * ldx + k]) : ((const float *)x)[r * ldx + k];
            sum[r][0] += v * a;
            sum[r][1] += v * b;
        }
    }
    for (int r = 0; r < 8; r++)
        for (int c = 0; c < 2; c++) *(f16 *)(y + r * ldy + 16 * c) = sum[r][c];
}

static void plain(const void *x, int64_t ldx, const float *w, int64_t rows, int64_t columns, int64_t deep, float *y,
                  int64_t ldy, enum kind kind) {
    for (int64_t n = 0; n < columns; n += COLUMNS)
        for (int64_t r = 0; r < rows; r += 8) {
            if (kind == BFLOAT)
                block_plain((const bf16 *)x + r * ldx, ldx, w + n * deep, deep, y + r * ldy + n, ldy, BFLOAT);
            else
                block_plain((const float *)x + r * ldx, ldx, w + n * deep, deep, y + r * ldy + n, ldy, FLOAT);
        }
}

#ifdef __AVX512BF16__
static void dot(const bf16 *x, int64_t ldx, const bf16 *w, int64_t rows, int64_t columns, int64_t deep, float *y,
                int64_t ldy) {
    for (int64_t n = 0; n < columns; n += COLUMNS)
        for (int64_t row = 0; row < rows; row += 8) {
            const bf16 *a = w + n * deep, *b = a + 16 * deep;
            __m512 sum[8][2];
            for (int r = 0; r < 8; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
            for (int64_t k = 0; k < deep; k += 2) {
                __m512bh left = (__m512bh)_mm512_loadu_si512(a + k * 16);
                __m512bh right = (__m512bh)_mm512_loadu_si512(b + k * 16);
#pragma GCC unroll 8
                for (int r = 0; r < 8; r++) {
                    int pair;
                    memcpy(&pair, x + (row + r) * ldx + k, 4);
                    __m512bh v = (__m512bh)_mm512_set1_epi32(pair);
                    sum[r][0] = _mm512_dpbf16_ps(sum[r][0], v, left);
                    sum[r][1] = _mm512_dpbf16_ps(sum[r][1], v, right);
                }
            }
            for (int r = 0; r < 8; r++)
                for (int c = 0; c < 2; c++) _mm512_storeu_ps(y + (row + r) * ldy + n + 16 * c, sum[r][c]);
        }
}
#endif

/* The tile configuration belongs to the thread, and others (oneDNN) remember theirs: it is given back as it was. */
void tiles_begin(char *before) {
#ifdef __AMX_BF16__
    /* Palette 1; eight tiles of 64 bytes (two bytes each, from byte 16) by 16 rows (from byte 48). */
    static const char config[64] = {[0] = 1, [16] = 64, [18] = 64, [20] = 64, [22] = 64, [24] = 64, [26] = 64, [28] = 64,
                                    [30] = 64, [48] = 16, [49] = 16, [50] = 16, [51] = 16, [52] = 16, [53] = 16,
                                    [54] = 16, [55] = 16};
    _tile_storeconfig(before);
    _tile_loadconfig(config);
#else
    (void)before;
#endif
}

void tiles_end(const char *before) {
#ifdef __AMX_BF16__
    _tile_loadconfig(before);
#else
    (void)before;
#endif
}

#ifdef __AMX_BF16__
static void tiles(const bf16 *x, int64_t ldx, const bf16 *w, int64_t rows, int64_t columns, int64_t deep, float *y,
                  int64_t ldy) {
    for (int64_t n = 0; n < columns; n += COLUMNS)
        for (int64_t r = 0; r < rows; r += ROWS) {
            const bf16 *a = x + r * ldx, *b = w + n * deep;
            float *out = y + r * ldy + n;
            _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
            for (int64_t k = 0; k < deep; k += DEPTH) {
                _tile_loadd(4, a + k, ldx * 2);
                _tile_loadd(5, a + 16 * ldx + k, ldx * 2);
                _tile_loadd(6, b + k * 16, 64);
                _tile_loadd(7, b + deep * 16 + k * 16, 64);
                _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, out, ldy * 4); _tile_stored(1, out + 16, ldy * 4);
            _tile_stored(2, out + 16 * ldy, ldy * 4); _tile_stored(3, out + 16 * ldy + 16, ldy * 4);
        }
}
#endif

void decoding_product(const void *x, int64_t ldx, const void *w, int64_t rows, int64_t columns, int64_t depth, float *y,
             int64_t ldy, enum kind kind, enum level level) {
    int64_t m = up(rows, ROWS), n = up(columns, COLUMNS), deep = up(depth, DEPTH);
#ifdef __AMX_BF16__
    if (kind == BFLOAT && level == TILES) return tiles(x, ldx, w, m, n, deep, y, ldy);
#endif
#ifdef __AVX512BF16__
    if (kind == BFLOAT && level >= DOT) return dot(x, ldx, w, m, n, deep, y, ldy);
#endif
    (void)level;
    plain(x, ldx, w, m, n, deep, y, ldy, kind);
}
