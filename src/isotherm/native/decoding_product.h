/* y = x w^T for the few rows of a decoding step, from weights that were laid out for it beforehand. */
#pragma once
#include "vectors.h"

enum { ROWS = 32, COLUMNS = 32, DEPTH = 32 }; /* rows, columns and inner size are rounded up to these */

enum level { PLAIN = 0, DOT = 1, TILES = 2 }; /* what the processor has for bfloat16: nothing, vdpbf16ps, AMX */

static inline int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

enum level bfloat_level(void);
void tiles_begin(char *before);
void tiles_end(const char *before);

/* x [rows, depth] of `kind` with `ldx` numbers per row; w packed; y [rows, columns] float with `ldy` per row. */
void decoding_product(const void *x, int64_t ldx, const void *w, int64_t rows, int64_t columns, int64_t depth, float *y,
             int64_t ldy, enum kind kind, enum level level);
