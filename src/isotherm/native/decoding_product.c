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

static int in_pairs(int64_t kind) { return kind == BFLOAT && bfloat_level() != PLAIN; }

/* Bytes of `decoding_pack`'s output. */
int64_t decoding_packed_size(int64_t columns, int64_t depth, int64_t kind) {
    return up(columns, COLUMNS) * up(depth, DEPTH) * (in_pairs(kind) ? 2 : 4);
}

static void pack_whole(bf16 *tile, const bf16 *w, int64_t depth) {
    for (int j = 0; j < 16; j++)
        for (int i = 0; i < 16; i++) memcpy(tile + j * 32 + i * 2, w + i * depth + j * 2, 4);
}

/* w [columns, depth] of `kind` -> tiles of 16 columns by 32 of the depth, in each of them the depth (in pairs for
   bfloat16) by columns. Of a PIECE of the depth come all columns, then the next piece. The i-th 16 columns become the
   (first + i step)-th of the output, which was zero. */
void decoding_pack(const void *w, void *out, int64_t columns, int64_t depth, int64_t kind, int64_t first,
                   int64_t step) {
    int64_t steps = up(depth, DEPTH) / DEPTH, tiles = up(columns, COLUMNS) / 16 * step;
    int pairs = in_pairs(kind);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < columns; n += 16)
        for (int64_t k = 0; k < depth; k += DEPTH) {
            int64_t into = packed_at(first + n / 16 * step, k / DEPTH, tiles, steps);
            int64_t wide = columns - n < 16 ? columns - n : 16, deep = depth - k < DEPTH ? depth - k : DEPTH;
            if (pairs && wide == 16 && deep == DEPTH)
                pack_whole((bf16 *)out + into, (const bf16 *)w + n * depth + k, depth);
            else
                for (int64_t j = 0; j < deep; j++)
                    for (int64_t i = 0; i < wide; i++) {
                        int64_t from = (n + i) * depth + k + j;
                        if (pairs)
                            ((bf16 *)out)[into + j / 2 * 32 + i * 2 + j % 2] = ((const bf16 *)w)[from];
                        else
                            ((float *)out)[into + j * 16 + i] = load(w, from, kind);
                    }
        }
}

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

/* What comes after a product, of rows that are still to be finished. */
struct rest {
    const float *y, *bias;
    char *out;
    int64_t ld, rows;
};

INLINE void finish(struct rest *rest, int64_t count, enum then then, enum kind kind) {
    for (; count > 0 && rest->rows > 0; count--, rest->rows--, rest->y += 16, rest->out += rest->ld) {
        f16 v = *(const f16 *)rest->y;
        if (then == GATE) {
            f16 gate = rounded16(*(const f16 *)(rest->y - BLOCK * 16), kind);
            store16(rest->out, 0, gated16(gate, rounded16(v, kind), kind), kind);
        } else {
            v = rounded16(v + *(const f16 *)rest->bias, kind);
            if (then == ADD) v += *(f16 *)rest->out;
            *(f16 *)rest->out = v;
        }
    }
}

/* y [BLOCK, 16] = or += x w^T of some steps, of `rows` rounded up to sixteen, which are in registers. */
INLINE void plain(const void *x, const float *w, int64_t rows, int64_t steps, float *y, int more, enum kind kind) {
    for (int64_t row = 0; row < rows; row += 16) {
        f16 sum[16];
        float wide[16][PIECE * DEPTH];
        for (int r = 0; r < 16; r++) {
            sum[r] = more ? *(f16 *)(y + (row + r) * 16) : (f16){0};
            for (int64_t k = 0; k < steps * DEPTH; k += 16)
                *(f16 *)(wide[r] + k) = load16(x, (k / DEPTH * BLOCK + row + r) * DEPTH + k % DEPTH, kind);
        }
        for (int64_t k = 0; k < steps * DEPTH; k++) {
            f16 column = *(const f16 *)(w + k * 16);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) sum[r] += wide[r][k] * column;
        }
        for (int r = 0; r < 16; r++) *(f16 *)(y + (row + r) * 16) = sum[r];
    }
}

#ifdef __AVX512BF16__
static void dot(const bf16 *x, const bf16 *w, int64_t rows, int64_t steps, float *y, int more) {
    for (int64_t row = 0; row < rows; row += 16) {
        __m512 sum[16];
        for (int r = 0; r < 16; r++) sum[r] = more ? _mm512_loadu_ps(y + (row + r) * 16) : _mm512_setzero_ps();
        for (int64_t k = 0; k < steps * 16; k++) {
            const bf16 *from = x + (k / 16 * BLOCK + row) * DEPTH + k % 16 * 2;
            __m512bh pairs = (__m512bh)_mm512_loadu_si512(w + k * 32);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                int pair;
                memcpy(&pair, from + r * DEPTH, 4);
                sum[r] = _mm512_dpbf16_ps(sum[r], (__m512bh)_mm512_set1_epi32(pair), pairs);
            }
        }
        for (int r = 0; r < 16; r++) _mm512_storeu_ps(y + (row + r) * 16, sum[r]);
    }
}
#endif

#ifdef __AMX_BF16__
/* Each weight is read once, for all rows; while tiles are multiplied, what was multiplied before is finished. */
INLINE void tiles(const bf16 *x, const bf16 *w, int64_t rows, int64_t steps, float *y, int more, struct rest *rest,
                  enum then then) {
    if (more) {
        _tile_loadd(0, y, 64); _tile_loadd(1, y + 256, 64); _tile_loadd(2, y + 512, 64); _tile_loadd(3, y + 768, 64);
    } else {
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    }
    for (int64_t k = 0; k < steps; k++, x += BLOCK * DEPTH, w += TILE) {
        _tile_loadd(4, w, 64);
        _tile_loadd(5, x, 64);
        _tile_dpbf16ps(0, 5, 4);
        if (rows > 16) {
            _tile_loadd(6, x + 16 * DEPTH, 64);
            _tile_dpbf16ps(1, 6, 4);
        }
        if (rows > 32) {
            _tile_loadd(7, x + 32 * DEPTH, 64);
            _tile_dpbf16ps(2, 7, 4);
        }
        if (rows > 48) {
            _tile_loadd(5, x + 48 * DEPTH, 64);
            _tile_dpbf16ps(3, 5, 4);
        }
        for (int i = 0; i < 16; i++) __builtin_prefetch(w + AHEAD * TILE + i * 32);
        finish(rest, then == GATE ? 4 : 8, then, BFLOAT);
    }
    _tile_stored(0, y, 64); _tile_stored(1, y + 256, 64); _tile_stored(2, y + 512, 64); _tile_stored(3, y + 768, 64);
}
#endif

INLINE void multiply(const void *x, const void *w, int64_t first, int64_t rows, int64_t steps, float *y, int more,
                     struct rest *rest, enum then then, enum kind kind, enum level level) {
#ifdef __AMX_BF16__
    if (kind == BFLOAT && level == TILES) return tiles(x, (const bf16 *)w + first, rows, steps, y, more, rest, then);
#endif
#ifdef __AVX512BF16__
    if (kind == BFLOAT && level >= DOT) return dot(x, (const bf16 *)w + first, rows, steps, y, more);
#endif
    (void)level, (void)rest, (void)then;
    plain(x, (const float *)w + first, rows, steps, y, more, kind);
}

INLINE void all_columns(struct product p, enum then then, enum kind kind) {
    int64_t steps = up(p.depth, DEPTH) / DEPTH, count = up(p.columns, COLUMNS) / 16, size = kind == BFLOAT ? 2 : 4;
    struct rest rest = {.rows = 0, .ld = then == GATE ? DEPTH * size : p.ld * 4};
    for (int64_t k = 0; k < steps; k += PIECE)
        for (int64_t n = 0; n < count; n++) {
            int64_t deep = steps - k < PIECE ? steps - k : PIECE, first = packed_at(n, k, count, steps);
            float *y = p.room + (steps > PIECE ? n : n % 4) * BLOCK * 16;
            multiply(at(p.x, k * BLOCK * DEPTH, kind), p.w, first, p.rows, deep, y, k > 0, &rest, then, kind, p.level);
            if (k + deep < steps || (then == GATE && n % 2 == 0)) continue;
            finish(&rest, BLOCK, then, kind);
            rest.y = y, rest.rows = p.rows, rest.bias = then == GATE ? NULL : p.bias + n * 16;
            rest.out = then == GATE ? to(p.out, n / 4 * BLOCK * DEPTH + n / 2 % 2 * 16, kind) : (float *)p.out + n * 16;
        }
    finish(&rest, BLOCK, then, kind);
}

void decoding_product(struct product p, enum then then, enum kind kind) {
    if (then == STORE)
        EITHER(kind, all_columns(p, STORE, BFLOAT), all_columns(p, STORE, FLOAT));
    else if (then == ADD)
        EITHER(kind, all_columns(p, ADD, BFLOAT), all_columns(p, ADD, FLOAT));
    else
        EITHER(kind, all_columns(p, GATE, BFLOAT), all_columns(p, GATE, FLOAT));
}
