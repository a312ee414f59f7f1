/* Products of the few rows of a decoding step with weights that were laid out for it beforehand. */
#pragma once
#include "vectors.h"

enum { BLOCK = 64, COLUMNS = 32, DEPTH = 32 }; /* rows at most; columns and inner size are rounded up to these */
enum { TILE = 512, PIECE = 8 };                /* numbers of weights for a step of DEPTH; steps whose x stays in L1 */
enum { AHEAD = 3 };                            /* tiles from the one that is multiplied to the one that is fetched */

enum level { PLAIN = 0, DOT = 1, TILES = 2 }; /* what the processor has for bfloat16: nothing, vdpbf16ps, AMX */

static inline int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

enum level bfloat_level(void);
void tiles_begin(char *before);
void tiles_end(const char *before);

/* Where the n-th of so many tiles of columns begins, at a step of the depth. */
static inline int64_t packed_at(int64_t n, int64_t step, int64_t tiles, int64_t steps) {
    int64_t piece = step / PIECE * PIECE, deep = steps - piece < PIECE ? steps - piece : PIECE;
    return (piece * tiles + n * deep + step - piece) * TILE;
}

/* x of `kind`, as [depth / 32, BLOCK, 32]; w packed; `rows` at most BLOCK. */
struct product {
    const void *x, *w;
    const float *bias; /* of whole COLUMNS, as are the rows of out, which have `ld` numbers */
    int64_t rows, columns, depth, ld;
    void *out;
    float *room; /* for what is not finished: `product_room` */
    enum level level;
};

/* out = or += x w^T + bias in float, rounded as numbers of `kind`; or out = silu(x gate^T) x up^T as the next x, where
   w has sixteen columns of gate, sixteen of up, and so on. */
enum then { STORE, ADD, GATE };

void decoding_product(struct product p, enum then then, enum kind kind);

/* Numbers. */
static inline int64_t product_room(int64_t columns, int64_t depth) {
    return BLOCK * (depth > PIECE * DEPTH ? up(columns, COLUMNS) : 64);
}
