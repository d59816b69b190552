// The format: System V ABI, chapter 4 and its AMD64 supplement.
//
//   header | constants | symbol table | its names | names of sections | section headers
#include "codegen/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/error.h"
#include "codegen/weights.h"

#define ALIGNMENT 64
#define LARGE (INT64_C(1) << 30) // sections for what code reaches by 64-bit addresses only

#ifndef SHF_X86_64_LARGE
#define SHF_X86_64_LARGE 0x10000000
#endif

enum { SECTION_NULL, SECTION_DATA, SECTION_STACK, SECTION_SYMBOLS, SECTION_STRINGS, SECTION_NAMES, SECTION_COUNT };

// The names of sections, and where each begins.
static const char section_names[] = "\0.rodata\0.lrodata\0.note.GNU-stack\0.symtab\0.strtab\0.shstrtab";
enum { NAME_RODATA = 1, NAME_LRODATA = 9, NAME_STACK = 18, NAME_SYMTAB = 34, NAME_STRTAB = 42, NAME_SHSTRTAB = 50 };

static size_t align(size_t x, size_t alignment)
{
    return (x + alignment - 1) / alignment * alignment;
}

static void put(FILE *f, const void *bytes, size_t size)
{
    if (size) // a failure is found at the end
        fwrite(bytes, 1, size, f);
}

static void put_zeros(FILE *f, size_t n)
{
    static const char zeros[ALIGNMENT];
    put(f, zeros, n);
}

int elf_end_weights(struct weights_file *file, const char *symbol, const struct weights *w, char **error)
{
    FILE *f = file->f;
    bool large = w->bytes > LARGE;
    size_t length = strlen(symbol) + 1;
    const Elf64_Sym symbols[2] = {
        {0},
        {.st_name = 1,
         .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
         .st_other = STV_HIDDEN,
         .st_shndx = SECTION_DATA,
         .st_size = (uint64_t)w->bytes},
    };
    size_t data = (size_t)file->start, table = align(data + (size_t)w->bytes, 8), strings = table + sizeof symbols,
           names = strings + 1 + length, headers = align(names + sizeof section_names, 8);
    const Elf64_Shdr sections[SECTION_COUNT] = {
        [SECTION_DATA] = {.sh_name = large ? NAME_LRODATA : NAME_RODATA,
                          .sh_type = SHT_PROGBITS,
                          .sh_flags = SHF_ALLOC | (large ? SHF_X86_64_LARGE : 0),
                          .sh_offset = data,
                          .sh_size = (uint64_t)w->bytes,
                          .sh_addralign = ALIGNMENT},
        // Says that the stack need not be executable.
        [SECTION_STACK] = {.sh_name = NAME_STACK, .sh_type = SHT_PROGBITS, .sh_offset = table, .sh_addralign = 1},
        [SECTION_SYMBOLS] = {.sh_name = NAME_SYMTAB,
                             .sh_type = SHT_SYMTAB,
                             .sh_offset = table,
                             .sh_size = sizeof symbols,
                             .sh_link = SECTION_STRINGS,
                             .sh_info = 1, // the first that is not local
                             .sh_addralign = 8,
                             .sh_entsize = sizeof symbols[0]},
        [SECTION_STRINGS] = {.sh_name = NAME_STRTAB,
                             .sh_type = SHT_STRTAB,
                             .sh_offset = strings,
                             .sh_size = 1 + length,
                             .sh_addralign = 1},
        [SECTION_NAMES] = {.sh_name = NAME_SHSTRTAB,
                           .sh_type = SHT_STRTAB,
                           .sh_offset = names,
                           .sh_size = sizeof section_names,
                           .sh_addralign = 1},
    };
    const Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_SYSV},
        .e_type = ET_REL,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_shoff = headers,
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = SECTION_COUNT,
        .e_shstrndx = SECTION_NAMES,
    };
    weights_go_to_end(file, w);
    put_zeros(f, table - data - (size_t)w->bytes);
    put(f, symbols, sizeof symbols);
    put(f, "", 1);
    put(f, symbol, length);
    put(f, section_names, sizeof section_names);
    put_zeros(f, headers - names - sizeof section_names);
    put(f, sections, sizeof sections);
    fseeko(f, 0, SEEK_SET); // rewind would forget a failure
    put(f, &header, sizeof header);
    fseeko(f, 0, SEEK_END);
    return weights_close(file, error);
}

// ---- Symbols' names --------------------------------------------------------------------------------------------

static const Elf64_Shdr *find_sections(const struct driver_buffer *object)
{
    return (const Elf64_Shdr *)(object->data + ((const Elf64_Ehdr *)object->data)->e_shoff);
}

static const Elf64_Shdr *find_symbols(const struct driver_buffer *object)
{
    const Elf64_Shdr *sections = find_sections(object);
    for (int i = 0; i < ((const Elf64_Ehdr *)object->data)->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB)
            return &sections[i];
    return NULL;
}

static bool is_for_others(const Elf64_Sym *symbol)
{
    return ELF64_ST_BIND(symbol->st_info) != STB_LOCAL && symbol->st_shndx != SHN_UNDEF;
}

// The object, and behind it a table of names: the old one, then the new names.
int elf_prefix_symbols(const struct driver_buffer *object, const char *prefix, struct driver_buffer *out, char **error)
{
    const Elf64_Shdr *table = find_symbols(object);
    if (!table)
        return error_set(error, "an object has no symbols");
    const Elf64_Shdr *strings = find_sections(object) + table->sh_link;
    const Elf64_Sym *symbols = (const Elf64_Sym *)(object->data + table->sh_offset);
    const char *names = object->data + strings->sh_offset;
    size_t n = table->sh_size / sizeof *symbols, size = object->size + strings->sh_size;
    for (size_t i = 0; i < n; i++)
        if (is_for_others(&symbols[i]))
            size += strlen(prefix) + strlen(names + symbols[i].st_name) + 1;
    char *copy = malloc(size + 1);
    if (!copy)
        return error_set(error, "out of memory");
    memcpy(copy, object->data, object->size);
    memcpy(copy + object->size, names, strings->sh_size);
    size_t end = object->size + strings->sh_size;
    Elf64_Sym *renamed = (Elf64_Sym *)(copy + table->sh_offset);
    for (size_t i = 0; i < n; i++)
        if (is_for_others(&symbols[i])) {
            renamed[i].st_name = (Elf64_Word)(end - object->size);
            end += (size_t)sprintf(copy + end, "%s%s", prefix, names + symbols[i].st_name) + 1;
        }
    Elf64_Shdr *moved = (Elf64_Shdr *)(copy + ((const char *)strings - object->data));
    moved->sh_offset = object->size;
    moved->sh_size = end - object->size;
    copy[size] = 0;
    *out = (struct driver_buffer){copy, size};
    return 0;
}
