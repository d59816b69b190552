#include "frontend/map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FIRST_SIZE 16

struct map_entry {
    const void *key;
    size_t length;
    uint64_t hash;
    void *value;
};

uint64_t map_secret(void)
{
    uint64_t secret;
    if (getrandom(&secret, sizeof secret, GRND_NONBLOCK) == sizeof secret)
        return secret;
    struct timespec now; // early in a boot, or no such system call
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_nsec * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)now.tv_sec ^ (uintptr_t)&now;
}

// The two halves of the 128-bit product folded together, as wyhash does (github.com/wangyi-fudan/wyhash).
static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash(const struct map *map, const void *key, size_t length)
{
    const uint64_t odd = UINT64_C(0xa0761d6478bd642f);
    uint64_t h = mix(map->secret ^ odd, length ^ UINT64_C(0xe7037ed1a0b428db));
    const unsigned char *p = key;
    while (length) {
        size_t step = length < 8 ? length : 8;
        uint64_t word = 0;
        memcpy(&word, p, step);
        h = mix(h ^ word, map->secret ^ odd);
        p += step;
        length -= step;
    }
    return mix(h, odd ^ map->secret >> 1);
}

void map_init(struct map *map, uint64_t secret)
{
    *map = (struct map){.secret = secret};
}

// Where the key is or would go.
static struct map_entry *place(const struct map *map, uint64_t h, const void *key, size_t length)
{
    for (size_t i = h;; i++) {
        struct map_entry *e = &map->entries[i & (map->size - 1)];
        if (!e->key || (e->hash == h && e->length == length && !memcmp(e->key, key, length)))
            return e;
    }
}

void *map_find(const struct map *map, const void *key, size_t length)
{
    return map->n ? place(map, hash(map, key, length), key, length)->value : NULL;
}

static void grow(struct map *map, struct arena *arena)
{
    struct map old = *map;
    map->size = old.size ? old.size * 2 : FIRST_SIZE;
    map->entries = ARENA_ARRAY(arena, struct map_entry, map->size);
    for (size_t i = 0; i < old.size; i++)
        if (old.entries[i].key)
            *place(map, old.entries[i].hash, old.entries[i].key, old.entries[i].length) = old.entries[i];
}

void *map_insert(struct map *map, struct arena *arena, const void *key, size_t length, void *value)
{
    if (map->n >= map->size / 2)
        grow(map, arena);
    uint64_t h = hash(map, key, length);
    struct map_entry *e = place(map, h, key, length);
    if (e->key)
        return e->value;
    *e = (struct map_entry){key, length, h, value};
    map->n++;
    return NULL;
}
