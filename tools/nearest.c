#include "tools/nearest.h"

#include <string.h>

#define LONGEST 64

static size_t least(size_t x, size_t y)
{
    return x < y ? x : y;
}

// How many characters must be inserted, deleted, replaced or swapped with their neighbour (Damerau, 1964).
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t d[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[n][m];
}

const char *nearest_name(const char *word, size_t n, int n_names, const char *const *names)
{
    const char *best = NULL;
    size_t limit = n / 3 + 1; // what a name must be nearer than
    for (int i = 0; i < n_names && n <= LONGEST; i++) {
        size_t m = names[i] ? strlen(names[i]) : LONGEST + 1;
        size_t d = m <= LONGEST ? distance(word, n, names[i], m) : limit;
        if (d < limit) {
            limit = d;
            best = names[i];
        }
    }
    return best;
}
