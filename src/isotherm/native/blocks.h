/* The blocks in which `pack.c` lays factors out and `product.c` multiplies them. */
#pragma once

/* A: strips of 32 rows, in which 32 of the inner index are a step: two tiles of 16 rows, one after the other. B: panels
   of 32 columns, in steps of two tiles of 16 pairs by 16 columns. Both are filled up with zeros to whole steps. */
enum { INNER = 32, STRIP = 32, PANEL = 32, STEP = 1024 };
