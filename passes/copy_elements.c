#include "passes/copy_elements.h"

#include <string.h>

#define COPY(bytes)                                                                                                    \
    for (int64_t i = 0; i < n; i++)                                                                                    \
    memcpy((char *)to + i * to_stride * (bytes), (const char *)from + i * from_stride * (bytes), bytes)

void copy_elements(void *to, int64_t to_stride, const void *from, int64_t from_stride, int64_t n, int bytes)
{
    if (to_stride == 1 && from_stride == 1)
        memcpy(to, from, (size_t)(n * bytes));
    else if (bytes == 1)
        COPY(1);
    else if (bytes == 2)
        COPY(2);
    else if (bytes == 4)
        COPY(4);
    else
        COPY(8);
}
