#include "runtime/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/isa.h"

// Appends to the message as far as there is room.
__attribute__((format(printf, 2, 3))) static void say(char message[LOADER_MESSAGE_BYTES], const char *format, ...)
{
    size_t used = strlen(message);
    va_list args;
    va_start(args, format);
    vsnprintf(message + used, LOADER_MESSAGE_BYTES - used, format, args);
    va_end(args);
}

// ---- Targets ---------------------------------------------------------------------------------------------------

static void say_lacking(char *message, const struct loader_target *t, uint64_t have)
{
    const char *before = "";
    for (int bit = 0; bit < ISA_COUNT; bit++)
        if (t->isa & ~have & UINT64_C(1) << bit) {
            say(message, "%s%s", before, isa_name(bit));
            before = ", ";
        }
}

static void say_targets(char *message, const struct loader *l)
{
    for (int64_t i = 0; i < l->n_targets; i++)
        say(message, "%s%s", i ? ", " : "", l->targets[i].name);
}

static const struct loader_target *choose_forced(const struct loader *l, uint64_t have, const char *forced,
                                                 char *message)
{
    for (int64_t i = 0; i < l->n_targets; i++) {
        const struct loader_target *t = &l->targets[i];
        if (strcmp(t->name, forced))
            continue;
        if (!(t->isa & ~have))
            return t;
        say(message, "TEGULA_TARGET asks for %s, which this machine cannot run; it lacks ", forced);
        say_lacking(message, t, have);
        return NULL;
    }
    say(message, "TEGULA_TARGET asks for '%s', and the model was compiled for ", forced);
    say_targets(message, l);
    return NULL;
}

const struct loader_target *loader_choose(const struct loader *l, uint64_t have, const char *forced,
                                          char message[LOADER_MESSAGE_BYTES])
{
    message[0] = 0;
    if (forced)
        return choose_forced(l, have, forced, message);
    for (int64_t i = l->n_targets; i-- > 0;)
        if (!(l->targets[i].isa & ~have))
            return &l->targets[i];
    say(message, "the model was compiled for ");
    say_targets(message, l);
    say(message, "%s, which this machine cannot run; for %s it lacks ", l->n_targets > 1 ? "" : " alone",
        l->targets[0].name);
    say_lacking(message, &l->targets[0], have);
    return NULL;
}

// ---- The weights' file -----------------------------------------------------------------------------------------

// The folder of the file that this code was mapped from, be it a shared object or a program: dladdr and argv[0] know
// programs by the names that they were called by.
static bool find_folder(char folder[PATH_MAX])
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[PATH_MAX + 128];
    bool found = false;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        unsigned long begin, end, here = (unsigned long)find_folder;
        char *path = strchr(line, '/'), *slash = path ? strrchr(path, '/') : NULL;
        if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && begin <= here && here < end && slash) {
            snprintf(folder, PATH_MAX, "%.*s", (int)(slash - path), path);
            found = true;
        }
    }
    if (maps)
        fclose(maps);
    return found;
}

// Whether an open file is the one that the code was compiled with, all of it.
static bool is_file_of(const struct loader *l, int fd, const char *path, char *message)
{
    struct loader_file header;
    struct stat st;
    ssize_t n = pread(fd, &header, sizeof header, 0);
    if (n < 0 || fstat(fd, &st))
        say(message, "%s cannot be read: %s", path, strerror(errno));
    else if ((size_t)n < sizeof header || memcmp(header.magic, LOADER_FILE_MAGIC, sizeof header.magic))
        say(message, "%s is no file of weights that tegula wrote, or the beginning of one", path);
    else if (header.bytes != l->file_bytes || header.identity != l->file_identity)
        say(message,
            "%s holds other weights than those that model '%s' was compiled with; compile it again or bring back its "
            "file",
            path, l->name);
    else if (st.st_size != l->file_bytes)
        say(message, "%s has %lld bytes instead of the %lld of the weights of model '%s'; copy it again", path,
            (long long)st.st_size, (long long)l->file_bytes, l->name);
    else
        return true;
    return false;
}

static char *map_file(const struct loader *l, const char *path, char *message)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        say(message, "%s, the weights of model '%s', cannot be opened: %s; %s_load takes another place", path, l->name,
            strerror(errno), l->name);
        return NULL;
    }
    void *memory = MAP_FAILED;
    if (is_file_of(l, fd, path, message)) {
        memory = mmap(NULL, (size_t)l->file_bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED)
            say(message, "%s cannot be mapped: %s", path, strerror(errno));
    }
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

// Another thread may do the same: one of the mappings stays.
static bool load_weights(struct loader *l, const char *given, char *message)
{
    char folder[PATH_MAX], path[PATH_MAX + 256];
    if (!given && !find_folder(folder)) {
        say(message, "/proc/self/maps does not tell where the weights of model '%s' are; give %s to %s_load", l->name,
            l->file, l->name);
        return false;
    }
    snprintf(path, sizeof path, "%s%s%s", given ? given : folder, given ? "" : "/", given ? "" : l->file);
    char *memory = map_file(l, path, message);
    if (!memory)
        return false;
    const char *none = NULL;
    if (!atomic_compare_exchange_strong(&l->weights, &none, memory + sizeof(struct loader_file)))
        munmap(memory, (size_t)l->file_bytes);
    return true;
}

// ---- Loading ---------------------------------------------------------------------------------------------------

static int32_t fail(const tg_env *env, const char *message)
{
    if (env && env->error)
        env->error(env, message);
    return 1;
}

int32_t loader_load(struct loader *l, const tg_env *env, const char *weights, int32_t *target)
{
    const struct loader_target *t = atomic_load_explicit(&l->chosen, memory_order_acquire);
    if (!t) {
        char message[LOADER_MESSAGE_BYTES];
        const char *forced = getenv("TEGULA_TARGET");
        t = loader_choose(l, isa_here(), forced && *forced ? forced : NULL, message);
        if (!t || (l->file && !load_weights(l, weights, message)))
            return fail(env, message);
        if (weights && !l->file)
            return fail(env, "the model has its weights inside and takes no file of them");
        atomic_store_explicit(&l->chosen, t, memory_order_release);
    }
    if (target)
        *target = (int32_t)(t - l->targets);
    return 0;
}
