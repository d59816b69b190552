// A hash table from 64-bit keys to pointers. Its memory is the arena's and as large as what is in it, so that something
// small can be looked up by the id of a value of a large function, or by its address.
#ifndef TEGULA_IR_TABLE_H
#define TEGULA_IR_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "ir/arena.h"

struct table_slot;

// All zero but for the arena: empty.
struct table {
    struct arena *arena;
    size_t n, room; // room: a power of two, or 0
    struct table_slot *slots;
};

void *table_get(const struct table *t, uint64_t key); // NULL: there is nothing
// What was there for the key is replaced. p must not be NULL.
void table_set(struct table *t, uint64_t key, void *p);

static inline uint64_t table_key(const void *address)
{
    return (uint64_t)(uintptr_t)address;
}

// Goes on with a hash of what came before.
uint64_t table_hash(uint64_t hash, const void *data, size_t n);

#endif
