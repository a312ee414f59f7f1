/* The blocks in which `pack.c` lays factors out and `product.c` multiplies them. */
#pragma once

/* A: tiles of 16 rows by 32 of the inner index, two rows of tiles at a time. B: panels of 32 columns, in which 32 of the
   inner index come together, as 16 pairs. Both are filled up with zeros to whole blocks. */
enum { ROWS = 16, INNER = 32, PANEL = 32 };
