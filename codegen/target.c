#include "codegen/target.h"

#include "codegen/error.h"
#include "runtime/isa.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Instruction sets. gcc and clang give an enumerator beyond int a wider type, as C23 does.
enum {
#define ISA(id, ...) id = UINT64_C(1) << ISA_BIT_##id,
#include "runtime/isa.def"
};

static const struct extension {
    const char *name;
    uint64_t needs, adds, drops;
} extensions[] = {
#define TARGET_EXTENSION(name, needs, adds, drops) {name, needs, adds, drops},
#include "codegen/target.def"
};

static const struct x86 {
    const char *name;
    uint64_t isa;
    int l1d_kib, l2_kib, unit_bytes;
} x86s[] = {
#define TARGET_X86(name, isa, l1d, l2, unit) {name, isa, l1d, l2, unit},
#include "codegen/target.def"
};

static const struct sm {
    const char *name;
    int sm, ptx;
} sms[] = {
#define TARGET_SM(name, sm, ptx) {name, sm, ptx},
#include "codegen/target.def"
};

#define LENGTH(a) (sizeof(a) / sizeof(a)[0])
#define MOST_VECTOR_BYTES 64

// Enough for every name of the tables in a message.
#define LIST_BYTES 2048

static void list_append(char *list, const char *item)
{
    size_t used = strlen(list);
    snprintf(list + used, LIST_BYTES - used, "%s%s", used ? ", " : "", item);
}

static int fail_unknown(const char *name, char **error)
{
    char list[LIST_BYTES] = "native";
    for (size_t i = 0; i < LENGTH(x86s); i++)
        list_append(list, x86s[i].name);
    for (size_t i = 0; i < LENGTH(sms); i++)
        list_append(list, sms[i].name);
    return error_set(error, "unknown target '%s'; known are %s", name, list);
}

static int fail_extension(const char *target, const char *extension, char **error)
{
    char list[LIST_BYTES] = "";
    const struct extension *known = NULL; // the last of several has the weakest needs
    for (size_t i = 0; i < LENGTH(extensions); i++)
        if (strcmp(extensions[i].name, extension) == 0)
            known = &extensions[i];
    if (known)
        return error_set(error, "target '%s': '+%s' needs a CPU with %s", target, extension,
                         known->needs & AVX512F ? "AVX-512" : "AVX2 and FMA");
    for (size_t i = 0; i < LENGTH(extensions); i++)
        if (i == 0 || strcmp(extensions[i].name, extensions[i - 1].name) != 0)
            list_append(list, extensions[i].name);
    return error_set(error, "target '%s': unknown extension '+%s'; known are %s, each also with 'no' before it", target,
                     extension, list);
}

static bool features_contain(const char *features, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = features; (at = strstr(at, name)); at += length)
        if (at > features && at[-1] == '+' && (at[length] == ',' || !at[length]))
            return true;
    return false;
}

static const struct x86 *find_x86(const char *name)
{
    for (size_t i = 0; i < LENGTH(x86s); i++)
        if (strcmp(x86s[i].name, name) == 0)
            return &x86s[i];
    return NULL;
}

static int set_native(struct target_desc *t, char **error)
{
#ifdef __x86_64__
    char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
    int status = 0;
    if (!cpu || !features || strlen(cpu) >= sizeof t->cpu || strlen(features) >= sizeof t->features) {
        status = error_set(error, "target 'native': cannot tell this machine's CPU");
    } else {
        strcpy(t->cpu, cpu);
        strcpy(t->features, features);
        for (int bit = 0; bit < ISA_COUNT; bit++)
            if (features_contain(features, isa_name(bit)))
                t->isa |= UINT64_C(1) << bit;
        const struct x86 *row = find_x86(cpu);
        long l1d = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
        t->l1d_bytes = l1d > 0 ? l1d : (row ? row->l1d_kib : 32) * 1024L;
        t->l2_bytes = l2 > 0 ? l2 : (row ? row->l2_kib : 256) * 1024L;
        t->unit_bytes = row ? row->unit_bytes : MOST_VECTOR_BYTES;
    }
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(features);
    return status;
#else
    (void)t;
    return error_set(error, "target 'native': this machine has no x86-64 CPU");
#endif
}

// Appends "+x" or "-x" for each bit where isa differs from t->isa, which it replaces.
static int set_isa(struct target_desc *t, uint64_t isa, char **error)
{
    for (int bit = 0; bit < ISA_COUNT; bit++) {
        uint64_t mask = UINT64_C(1) << bit;
        if (!((t->isa ^ isa) & mask))
            continue;
        size_t used = strlen(t->features), room = sizeof t->features - used;
        int n = snprintf(t->features + used, room, "%s%c%s", used ? "," : "", isa & mask ? '+' : '-', isa_name(bit));
        if (n < 0 || (size_t)n >= room)
            return error_set(error, "target '%s': too many features", t->name);
    }
    t->isa = isa;
    return 0;
}

// Applies "+vnni+noamx".
static int set_extensions(struct target_desc *t, const char *list, char **error)
{
    uint64_t isa = t->isa;
    while (*list == '+') {
        char word[16];
        size_t length = strcspn(++list, "+");
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), list);
        list += length;

        bool drop = strncmp(word, "no", 2) == 0, found = false;
        for (size_t i = 0; i < LENGTH(extensions) && !found; i++) {
            const struct extension *e = &extensions[i];
            if (strcmp(e->name, word + (drop ? 2 : 0)) != 0 || (!drop && (e->needs & ~isa)))
                continue;
            isa = drop ? isa & ~e->drops : isa | e->adds;
            found = true;
        }
        if (!found)
            return fail_extension(t->name, word, error);
    }
    return set_isa(t, isa, error);
}

static void set_x86_facts(struct target_desc *t)
{
    t->kind = TARGET_KIND_X86;
    t->triple = "x86_64-pc-linux-gnu";
    t->avx512 = (t->isa & ISA_F512) == ISA_F512;
    t->vector_bytes = t->avx512 ? MOST_VECTOR_BYTES : t->isa & AVX2 ? 32 : 16;
    t->packed_bytes = t->vector_bytes;
    if (t->unit_bytes > t->vector_bytes)
        t->unit_bytes = t->vector_bytes;
    t->n_vector_registers = t->avx512 ? 32 : 16;
    t->fma = t->isa & FMA;
    t->f16c = t->isa & F16C;
    t->vnni = t->isa & (t->avx512 ? AVX512VNNI : AVXVNNI);
    t->bf16 = t->avx512 && t->isa & AVX512BF16;
    t->fp16 = t->avx512 && t->isa & AVX512FP16;
    t->amx = (t->isa & ISA_AMX) == ISA_AMX;
}

static void set_sm(struct target_desc *t, const struct sm *row)
{
    t->kind = TARGET_KIND_NVPTX;
    t->triple = "nvptx64-nvidia-cuda";
    snprintf(t->cpu, sizeof t->cpu, "%s", row->name);
    snprintf(t->features, sizeof t->features, "+ptx%d", row->ptx);
    t->vector_bytes = t->packed_bytes = t->unit_bytes = 16;
    t->n_vector_registers = 255;
    t->fma = t->f16c = true;
    t->sm = row->sm;
    t->sm_a = row->name[strlen(row->name) - 1] == 'a';
    t->ptx_version = row->ptx;
}

int target_parse(const char *name, struct target_desc *t, char **error)
{
    struct target_desc new = {0};
    if (strlen(name) >= sizeof new.name)
        return fail_unknown("(a very long name)", error);
    strcpy(new.name, name);

    for (size_t i = 0; i < LENGTH(sms); i++)
        if (strcmp(sms[i].name, name) == 0) {
            set_sm(&new, &sms[i]);
            *t = new;
            return 0;
        }

    size_t length = strcspn(name, "+");
    char base[sizeof new.name];
    snprintf(base, sizeof base, "%.*s", (int)length, name);
    const struct x86 *row = find_x86(base);
    if (row) {
        strcpy(new.cpu, row->name);
        new.isa = row->isa;
        new.l1d_bytes = row->l1d_kib * 1024L;
        new.l2_bytes = row->l2_kib * 1024L;
        new.unit_bytes = row->unit_bytes;
    } else if (strcmp(base, "native") != 0) {
        return fail_unknown(base, error);
    } else if (set_native(&new, error)) {
        return -1;
    }
    if (set_extensions(&new, name + length, error))
        return -1;
    set_x86_facts(&new);
    *t = new;
    return 0;
}

void target_any(struct target_desc *t)
{
    *t = (struct target_desc){.name = "x86-64", .cpu = "x86-64", .l1d_bytes = 32 * 1024, .l2_bytes = 256 * 1024};
    set_x86_facts(t);
}

int target_compare(const struct target_desc *a, const struct target_desc *b)
{
    int bytes = a->vector_bytes - b->vector_bytes;
    return bytes ? bytes : __builtin_popcountll(a->isa) - __builtin_popcountll(b->isa);
}

bool target_runs_here(const struct target_desc *t)
{
    struct target_desc here;
    return t->kind == TARGET_KIND_X86 && target_parse("native", &here, NULL) == 0 && !(t->isa & ~here.isa);
}
