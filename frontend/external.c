#include "frontend/external.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEADS_OUT (-2)

struct mapping {
    struct mapping *next;
    dev_t device;
    ino_t inode;
    void *data; // NULL: empty file
    size_t size;
    struct file_stamp stamp;
};

// One of the places that led to a file.
struct found {
    struct found *next;
    const char *path;
    const struct mapping *mapping;
};

struct external {
    struct arena *arena;
    const char *model, *folder;
    struct map locations; // -> struct mapping
    struct mapping *mappings;
    struct found *found;
};

struct external *external_create(struct arena *arena, uint64_t secret, const char *model, const char *folder)
{
    struct external *e = ARENA_NEW(arena, struct external);
    e->arena = arena;
    e->model = model;
    e->folder = folder;
    map_init(&e->locations, secret);
    return e;
}

void external_destroy(struct external *e)
{
    if (!e)
        return;
    for (struct mapping *m = e->mappings; m; m = m->next)
        if (m->data)
            munmap(m->data, m->size);
}

// ---- Finding the file ----

static const char *refuse_path(const char *location)
{
    if (!*location)
        return "is empty";
    if (*location == '/')
        return "is an absolute path: it must be relative to the model's folder";
    for (const char *p = location; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return "has '..' in it: it must stay in the model's folder";
        p += n + (p[n] == '/');
    }
    return NULL;
}

// Opens root/path without following a symbolic link below root: component by component, each relative to the folder
// opened before it, so that nobody can exchange one in between. -1 with errno.
static int open_beneath(const char *root, const char *path)
{
    int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (folder >= 0) {
        char name[NAME_MAX + 1];
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        bool last = path[n + strspn(path + n, "/")] == 0;
        if (n > NAME_MAX) {
            close(folder);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, n);
        name[n] = 0;
        // A pipe would block the open, a terminal become ours.
        int flags = O_NOFOLLOW | O_CLOEXEC | (last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY);
        int next = openat(folder, n ? name : ".", flags);
        int error = errno;
        close(folder);
        errno = error;
        if (last)
            return next;
        folder = next;
        path += n;
    }
    return -1;
}

// What `path` is below `folder`, both without links in them; NULL if it is elsewhere.
static const char *below(const char *folder, const char *path)
{
    size_t n = strlen(folder);
    while (n && folder[n - 1] == '/')
        n--; // the root folder
    return !strncmp(folder, path, n) && path[n] == '/' ? path + n + 1 : NULL;
}

// The same where a link is on the way: to where it leads, if that is allowed. LEADS_OUT: it is not.
static int open_through_link(const struct external *e, const char *location)
{
    int fd = -1;
    char *path = arena_printf(e->arena, "%s/%s", e->folder, location);
    char *target = realpath(path, NULL);
    int error = errno; // realpath may set it where it succeeds, too
    char *roots[2] = {realpath(e->folder, NULL), e->model ? realpath(e->model, NULL) : NULL};
    if (roots[1]) // a file: its folder
        *strrchr(roots[1], '/') = 0;
    if (target && roots[0]) {
        fd = LEADS_OUT;
        for (int i = 0; i < 2 && fd == LEADS_OUT; i++) {
            const char *rest = roots[i] ? below(roots[i], target) : NULL;
            if (rest)
                fd = open_beneath(*roots[i] ? roots[i] : "/", rest);
        }
        error = errno;
    }
    free(target);
    free(roots[0]);
    free(roots[1]);
    errno = error;
    return fd;
}

static int open_location(const struct external *e, const char *location)
{
    int fd = open_beneath(e->folder, location);
    // A link in the way says ELOOP at its end, ENOTDIR as a folder.
    return fd < 0 && (errno == ELOOP || errno == ENOTDIR) ? open_through_link(e, location) : fd;
}

// ---- Mapping it ----

// Nothing here may allocate: `fd` is open. NULL with *m mapped or set to an older mapping of the same file; else what
// is wrong, with errno where *error is set.
static const char *map_file(const struct external *e, int fd, struct mapping **m, int *error)
{
    struct stat st;
    if (fstat(fd, &st)) {
        *error = errno;
        return "cannot be examined";
    }
    if (!S_ISREG(st.st_mode))
        return "is not a regular file";
    if (st.st_nlink > 1) // the other names may be of a file that the model's author must not read
        return "has other names (hard links), which may lie outside of the model's folder; replace it by a copy";
    for (struct mapping *old = e->mappings; old; old = old->next)
        if (old->device == st.st_dev && old->inode == st.st_ino) {
            *m = old;
            return NULL;
        }
    if ((uintmax_t)st.st_size > SIZE_MAX)
        return "is too large for this machine";
    void *data = NULL;
    if (st.st_size) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            *error = errno;
            return "cannot be mapped";
        }
    }
    **m = (struct mapping){
        .device = st.st_dev, .inode = st.st_ino, .data = data, .size = (size_t)st.st_size, .stamp = file_stamp_of(&st)};
    return NULL;
}

static const char *find_and_map(struct external *e, const char *location, struct mapping **out)
{
    const char *wrong = refuse_path(location);
    if (wrong)
        return wrong;
    if (!e->folder)
        return "cannot be read: the model has no folder";
    const char *key = arena_strdup(e->arena, location), *path = arena_printf(e->arena, "%s/%s", e->folder, location);
    struct mapping *fresh = ARENA_NEW(e->arena, struct mapping), *m = fresh;
    struct found *found = ARENA_NEW(e->arena, struct found);
    int error = 0, fd = open_location(e, location);
    if (fd == LEADS_OUT)
        return "is a link that leads out of the model's folder";
    if (fd < 0) {
        error = errno;
        wrong = "cannot be opened";
    } else {
        wrong = map_file(e, fd, &m, &error);
        close(fd);
    }
    if (wrong)
        return error ? arena_printf(e->arena, "%s: %s", wrong, strerror(error)) : wrong;
    if (m == fresh) {
        m->next = e->mappings;
        e->mappings = m;
    }
    *found = (struct found){e->found, path, m};
    e->found = found;
    map_insert(&e->locations, e->arena, key, strlen(key), m);
    *out = m;
    return NULL;
}

const char *external_map(struct external *e, const char *location, const uint8_t **data, uint64_t *size)
{
    struct mapping *m = map_find(&e->locations, location, strlen(location));
    const char *wrong = m ? NULL : find_and_map(e, location, &m);
    if (wrong)
        return wrong;
    *data = m->data;
    *size = m->size;
    return NULL;
}

int external_files(const struct external *e, struct arena *arena, const struct named_bytes **out)
{
    int n = 0;
    for (const struct found *f = e->found; f; f = f->next)
        n++;
    struct named_bytes *files = ARENA_ARRAY(arena, struct named_bytes, n + 1);
    n = 0;
    for (const struct found *f = e->found; f; f = f->next)
        files[n++] = (struct named_bytes){f->path, f->mapping->data, f->mapping->size, f->mapping->stamp};
    *out = files;
    return n;
}
