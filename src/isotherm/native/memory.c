/* Keeps freed memory in the process: large temporaries of a step would otherwise go back to the system and be cleared
   and mapped in again, page by page, in the next one. */
#include <limits.h>
#include <stdint.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* 1 where the allocator took it. */
int64_t keep_memory(void) {
#ifdef M_MMAP_MAX
    return mallopt(M_MMAP_MAX, 0) && mallopt(M_TRIM_THRESHOLD, INT_MAX) && mallopt(M_TOP_PAD, 64 << 20);
#else
    return 0;
#endif
}
