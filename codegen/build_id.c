#include "codegen/build_id.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <llvm-c/Core.h>

struct search {
    uintptr_t address;
    const void *id; // NULL: not found yet
    size_t size;
};

static size_t aligned(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

// Notes are a header, a name and bytes, each of the two filled up to the segment's alignment.
static void search_notes(struct search *s, const char *at, size_t size, size_t alignment)
{
    while (size >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)at;
        size_t name = sizeof *note, bytes = name + aligned(note->n_namesz, alignment);
        size_t end = bytes + aligned(note->n_descsz, alignment);
        if (end > size)
            return;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof ELF_NOTE_GNU &&
            !memcmp(at + name, ELF_NOTE_GNU, sizeof ELF_NOTE_GNU)) {
            s->id = at + bytes;
            s->size = note->n_descsz;
            return;
        }
        at += end;
        size -= end;
    }
}

static bool has(const struct dl_phdr_info *file, uintptr_t address)
{
    for (int i = 0; i < file->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &file->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && address - (file->dlpi_addr + p->p_vaddr) < p->p_memsz)
            return true;
    }
    return false;
}

static int search_file(struct dl_phdr_info *file, size_t size, void *search)
{
    (void)size;
    struct search *s = search;
    if (!has(file, s->address))
        return 0;
    for (int i = 0; i < file->dlpi_phnum && !s->id; i++) {
        const ElfW(Phdr) *p = &file->dlpi_phdr[i];
        if (p->p_type == PT_NOTE)
            search_notes(s, (const char *)file->dlpi_addr + p->p_vaddr, p->p_memsz, p->p_align < 8 ? 4 : 8);
    }
    return 1;
}

const void *build_id_of(const void *address, size_t *size)
{
    struct search s = {.address = (uintptr_t)address};
    dl_iterate_phdr(search_file, &s);
    *size = s.size;
    return s.id;
}

const void *build_id_compiler(size_t *size)
{
    return build_id_of((const void *)&build_id_compiler, size);
}

// The program's own address of the function may be that of a stub.
const void *build_id_llvm(size_t *size)
{
    void *llvm = dlsym(RTLD_DEFAULT, "LLVMContextCreate");
    return build_id_of(llvm ? llvm : (const void *)&LLVMContextCreate, size);
}
