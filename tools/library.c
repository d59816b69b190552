#include "tools/library.h"

#include <dlfcn.h>
#include <string.h>

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

const tg_model *library_open(const char *path, void **library, struct diags *diags)
{
    // dlopen looks for names without a slash in the system's folders.
    const char *full = strchr(path, '/') ? path : arena_printf(&diags->arena, "./%s", path);
    *library = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    const tg_model *code = find_model(*library, (struct loc){.file = path}, diags);
    if (!code && *library)
        dlclose(*library);
    return code;
}
