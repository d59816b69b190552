// A hash table from byte strings to pointers. The keys of a model are hostile, so the hash takes a secret.
#ifndef TEGULA_FRONTEND_MAP_H
#define TEGULA_FRONTEND_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/arena.h"

struct map_entry;

struct map {
    struct map_entry *entries; // open addressing; NULL key: free
    size_t n, size;
    uint64_t secret;
};

uint64_t map_secret(void);
void map_init(struct map *map, uint64_t secret);
// NULL if there is none.
void *map_find(const struct map *map, const void *key, size_t length);
// Inserts unless the key is there: then returns the value that it has, else NULL. The key's bytes are not copied;
// the table is allocated in `arena`, and so dies with it. `value` is not NULL.
void *map_insert(struct map *map, struct arena *arena, const void *key, size_t length, void *value);

#endif
