#include "runtime/isa.h"

enum { LEAF_1, LEAF_7, LEAF_7_1, LEAF_EXT, LEAF_COUNT };
enum { EAX, EBX, ECX, EDX, REGISTER_COUNT };

// What XCR0 must have (Intel's manual, volume 1, 13.3).
enum {
    STATE_NONE = 0,
    STATE_AVX = 0x6,     // XMM, YMM
    STATE_AVX512 = 0xe6, // and masks, the upper halves of ZMM, ZMM 16 to 31
    STATE_AMX = 0x60000  // TILECFG, TILEDATA
};

static const struct {
    const char *name;
    uint8_t leaf, reg, bit;
    uint32_t state;
} rows[] = {
#define ISA(id, name, leaf, reg, bit, state) {name, leaf, reg, bit, STATE_##state},
#include "runtime/isa.def"
};

const char *isa_name(int bit)
{
    return rows[bit].name;
}

#ifdef __x86_64__
#include <cpuid.h>

#define OSXSAVE (1u << 27) // of leaf 1's ECX: there is an XCR0 to be read

static uint64_t kept_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint64_t isa_here(void)
{
    static const uint32_t leaves[LEAF_COUNT][2] = {
        [LEAF_1] = {1, 0}, [LEAF_7] = {7, 0}, [LEAF_7_1] = {7, 1}, [LEAF_EXT] = {0x80000001, 0}};
    uint32_t told[LEAF_COUNT][REGISTER_COUNT] = {{0}};
    for (int i = 0; i < LEAF_COUNT; i++) {
        uint32_t *r = told[i];
        if (i != LEAF_7_1 || told[LEAF_7][EAX] >= 1)
            __get_cpuid_count(leaves[i][0], leaves[i][1], &r[EAX], &r[EBX], &r[ECX], &r[EDX]);
    }
    uint64_t state = told[LEAF_1][ECX] & OSXSAVE ? kept_state() : 0, isa = 0;
    for (int i = 0; i < ISA_COUNT; i++)
        if (told[rows[i].leaf][rows[i].reg] >> rows[i].bit & 1 && (state & rows[i].state) == rows[i].state)
            isa |= UINT64_C(1) << i;
    return isa;
}
#else
uint64_t isa_here(void)
{
    return 0;
}
#endif
