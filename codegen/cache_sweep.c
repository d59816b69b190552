#include "codegen/cache_sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WRITING_SECONDS 3600 // no writer takes longer

struct entry {
    char *name;
    int64_t bytes;
    struct timespec used;
};

struct folder {
    int fd;
    const char *keep; // name of a file
    struct entry *entries;
    int n, room;
};

// "....tegula" is an entry, "....tegula.tmp12-3" one that is being written (file.h).
static bool is_entry(const char *name)
{
    size_t n = strlen(name), m = strlen(CACHE_ENDING);
    return n > m && !strcmp(name + n - m, CACHE_ENDING);
}

static bool is_temporary(const char *name)
{
    return strstr(name, CACHE_ENDING ".tmp") != NULL;
}

// Without memory the entry is left alone.
static void note_entry(struct folder *f, const char *name, const struct stat *st)
{
    if (f->n == f->room) {
        int room = f->room * 2 + 64;
        struct entry *grown = realloc(f->entries, (size_t)room * sizeof *grown);
        if (!grown)
            return;
        f->entries = grown;
        f->room = room;
    }
    char *copy = strdup(name);
    if (copy)
        f->entries[f->n++] = (struct entry){copy, st->st_size, st->st_mtim};
}

static void examine(struct folder *f, const char *name)
{
    struct stat st;
    if ((!is_entry(name) && !is_temporary(name)) || fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(st.st_mode))
        return;
    if (is_entry(name))
        note_entry(f, name, &st);
    else if (st.st_mtim.tv_sec < time(NULL) - WRITING_SECONDS)
        unlinkat(f->fd, name, 0);
}

static int compare_use(const void *a, const void *b)
{
    const struct timespec *x = &((const struct entry *)a)->used, *y = &((const struct entry *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static void remove_oldest(struct folder *f, int64_t limit)
{
    int64_t bytes = 0;
    for (int i = 0; i < f->n; i++)
        bytes += f->entries[i].bytes;
    if (f->n)
        qsort(f->entries, (size_t)f->n, sizeof *f->entries, compare_use);
    for (int i = 0; i < f->n && bytes > limit; i++)
        if (strcmp(f->entries[i].name, f->keep) != 0 && !unlinkat(f->fd, f->entries[i].name, 0))
            bytes -= f->entries[i].bytes;
}

void cache_sweep(const char *folder, const char *keep, int64_t limit)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    const char *slash = strrchr(keep, '/');
    struct folder f = {.fd = dirfd(dir), .keep = slash ? slash + 1 : keep};
    for (const struct dirent *d = readdir(dir); d; d = readdir(dir))
        examine(&f, d->d_name);
    remove_oldest(&f, limit);
    for (int i = 0; i < f.n; i++)
        free(f.entries[i].name);
    free(f.entries);
    closedir(dir);
}
