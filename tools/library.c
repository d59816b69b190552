#include "tools/library.h"

#include <dlfcn.h>
#include <elf.h>
#include <string.h>
#include <sys/stat.h>

#include "ir/bytes.h"

static const tg_model *find_model(void *library, struct loc loc, struct diags *diags)
{
    const tg_model *code = library ? dlsym(library, "tegula_model") : NULL;
    if (!library)
        diag_error(diags, loc, "cannot be loaded: %s", dlerror());
    else if (!code)
        diag_error(diags, loc, "is no model that tegula compiled: it has no symbol tegula_model");
    else if (code->version != TG_MODEL_VERSION)
        diag_error(diags, loc,
                   "was compiled by another version of tegula (its interface is %d, this one's %d); compile it again",
                   (int)code->version, TG_MODEL_VERSION);
    else
        return code;
    return NULL;
}

// Whether a shared object lacks its end, which dlopen maps without looking: a read of it would be a signal.
static bool is_cut_short(const struct file_bytes *file)
{
    const unsigned char *bytes = file->data;
    Elf64_Ehdr header;
    if (file->size < sizeof header || memcmp(bytes, ELFMAG, SELFMAG) || bytes[EI_CLASS] != ELFCLASS64)
        return false; // dlopen says what it is not
    memcpy(&header, bytes, sizeof header);
    uint64_t size = file->size, entries = (uint64_t)header.e_phnum * sizeof(Elf64_Phdr);
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > size || entries > size - header.e_phoff)
        return true;
    for (int i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr part;
        memcpy(&part, bytes + header.e_phoff + (uint64_t)i * sizeof part, sizeof part);
        if (part.p_offset > size || part.p_filesz > size - part.p_offset)
            return true;
    }
    return false;
}

// Returns 0, or 1 after reporting.
static int check_file(const char *path, struct diags *diags)
{
    struct file_bytes file = {0};
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode)) // dlopen says why
        return 0;
    if (bytes_open(path, &file, diags))
        return 1;
    bool cut = is_cut_short(&file);
    bytes_close(&file);
    if (cut)
        diag_error(diags, (struct loc){.file = path}, "is damaged: its end is missing; compile or copy it again");
    return cut;
}

const tg_model *library_open(const char *path, void **library, struct diags *diags)
{
    // dlopen looks for names without a slash in the system's folders.
    const char *full = strchr(path, '/') ? path : arena_printf(&diags->arena, "./%s", path);
    *library = NULL;
    if (check_file(path, diags))
        return NULL;
    *library = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    const tg_model *code = find_model(*library, (struct loc){.file = path}, diags);
    if (!code && *library)
        dlclose(*library);
    return code;
}
