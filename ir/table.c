#include "ir/table.h"

struct table_slot {
    uint64_t key;
    void *p; // NULL: the slot is free
};

// The key's slot, or the free one where it would go. Keys may be multiples of 64 or count up: their bits are mixed.
static struct table_slot *find(const struct table *t, uint64_t key)
{
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    size_t i = (hash ^ hash >> 32) & (t->room - 1);
    while (t->slots[i].p && t->slots[i].key != key)
        i = (i + 1) & (t->room - 1);
    return &t->slots[i];
}

static void grow(struct table *t)
{
    struct table larger = {t->arena, t->n, t->room ? 2 * t->room : 16, NULL};
    larger.slots = ARENA_ARRAY(t->arena, struct table_slot, larger.room);
    for (size_t i = 0; i < t->room; i++)
        if (t->slots[i].p)
            *find(&larger, t->slots[i].key) = t->slots[i];
    *t = larger;
}

void *table_get(const struct table *t, uint64_t key)
{
    return t->room ? find(t, key)->p : NULL;
}

void table_set(struct table *t, uint64_t key, void *p)
{
    if (4 * t->n >= 3 * t->room)
        grow(t);
    struct table_slot *slot = find(t, key);
    t->n += !slot->p;
    *slot = (struct table_slot){key, p};
}

uint64_t table_hash(uint64_t hash, const void *data, size_t n)
{
    for (const unsigned char *p = data; n--; p++)
        hash = (hash ^ *p) * 1099511628211u; // FNV-1a
    return hash;
}
