/* Products of packed factors, for other files. */
#pragma once
#include "blocks.h"
#include "numbers.h"

enum { NONE, VECTOR, TILE };

int product_kind(int64_t wanted);
void product_block(int kind, float *c, int64_t stride, const bf16 *a, int64_t a_steps, const bf16 *b, int64_t b_steps,
                   int64_t rows, int64_t columns, int64_t steps, int64_t add);
void pack_across(bf16 *out, const bf16 *x, int64_t turned); /* in `pack.c` */
void tiles_begin(char *before); /* in `decoding_product.c` */
void tiles_end(const char *before);
