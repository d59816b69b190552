// Folders of tensor files: found by position, written all at once.
#include "tools/tensor_file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codegen/file.h"

// ---- Reading ----

struct entry {
    int position;
    char name[NAME_MAX + 1];
};

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->position != y->position ? x->position < y->position ? -1 : 1 : strcmp(x->name, y->name);
}

// The position in "input_12.npy"; -1 for other names.
static int position(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) || name[n] != '_')
        return -1;
    const char *digits = name + n + 1, *end = digits + strspn(digits, "0123456789");
    if (end == digits || end - digits > 9 || (strcmp(end, ".npy") && strcmp(end, ".pb")))
        return -1;
    return atoi(digits);
}

// Fills in at most `room` entries, and returns how many there are; -1 after a diagnostic. Allocates nothing, since
// running out of memory would leave the folder open.
static int find_entries(const char *dir, const char *prefix, struct entry *entries, int room, struct diags *diags)
{
    DIR *d = opendir(dir);
    int n = 0, error = d ? 0 : errno;
    for (struct dirent *file; d && (errno = 0, file = readdir(d)); errno = 0) {
        int at = position(file->d_name, prefix);
        if (at >= 0 && n < room) {
            entries[n].position = at;
            memcpy(entries[n].name, file->d_name, strlen(file->d_name) + 1);
        }
        n += at >= 0 && n < INT32_MAX;
    }
    if (d) {
        error = errno;
        closedir(d);
    }
    if (error)
        diag_error(diags, (struct loc){.file = dir}, "cannot list the folder: %s", strerror(error));
    return error ? -1 : n;
}

int tensor_dir_list(const char *dir, const char *prefix, struct arena *a, struct tensor_dir *out, struct diags *diags)
{
    struct loc loc = {.file = dir};
    int room = find_entries(dir, prefix, NULL, 0, diags), status = 0, expected = 0;
    struct entry *entries = ARENA_ARRAY(a, struct entry, room < 0 ? 0 : room);
    int n = room < 0 ? -1 : find_entries(dir, prefix, entries, room, diags);
    if (n < 0)
        return 1;
    if (n > room) // files came in between
        n = room;
    if (n)
        qsort(entries, (size_t)n, sizeof *entries, compare);
    struct tensor_dir list = {n, ARENA_ARRAY(a, const char *, n)};
    for (int i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        if (i && e->position == expected - 1) {
            diag_error(diags, loc, "both %s and %s are %s %d; remove one of them", e[-1].name, e->name, prefix,
                       e->position);
            status = 1;
        } else if (e->position > expected) {
            diag_error(diags, loc, "there is %s, but no %s_%d.npy or %s_%d.pb", e->name, prefix, expected, prefix,
                       expected);
            status = 1;
        }
        expected = e->position + 1;
        list.paths[i] = arena_printf(a, "%s/%s", dir, e->name);
    }
    if (!status)
        *out = list;
    return status;
}

// ---- Writing ----

static int fail(const char *path, const char *what, struct diags *diags)
{
    diag_error(diags, (struct loc){.file = path}, "%s: %s", what, strerror(errno));
    return 1;
}

// What is there and no folder fails in the next turn.
static int make_one(const char *path, const char **made, struct arena *a, struct diags *diags)
{
    if (mkdir(path, 0777))
        return errno == EEXIST ? 0 : fail(path, "cannot make the folder", diags);
    if (!*made)
        *made = arena_strdup(a, path);
    return 0;
}

int tensor_dir_make(const char *dir, const char **made, struct arena *a, struct diags *diags)
{
    char *path = arena_strdup(a, dir);
    *made = NULL;
    for (char *c = path; *c; c++)
        if (*c == '/' && c > path) {
            *c = 0;
            if (make_one(path, made, a, diags))
                return 1;
            *c = '/';
        }
    if (make_one(path, made, a, diags))
        return 1;
    struct stat st;
    if (stat(dir, &st))
        return fail(dir, "cannot open the folder", diags);
    if (!S_ISDIR(st.st_mode)) {
        diag_error(diags, (struct loc){.file = dir}, "this is no folder; give another name");
        return 1;
    }
    return access(dir, W_OK | X_OK) ? fail(dir, "cannot write to the folder", diags) : 0;
}

void tensor_dir_remove(const char *dir, const char *made, struct arena *a)
{
    char *path = arena_strdup(a, dir);
    for (size_t n = strlen(path); n >= strlen(made); n--)
        if (!path[n] || path[n] == '/') {
            path[n] = 0;
            rmdir(path);
        }
}

// Messages name the file that it is to become.
static int write_staged(const char *from, const char *to, const struct tensor_file *t, struct diags *diags)
{
    size_t size, n = strlen(from);
    char *message = NULL;
    uint8_t *bytes = tensor_file_encode(to, t, TENSOR_FORMAT_AUTO, &size, diags);
    if (!bytes)
        return 1;
    int status = file_write(from, bytes, size, &message);
    free(bytes);
    if (!status)
        return 0;
    bool named = message && !strncmp(message, from, n);
    diag_error(diags, (struct loc){0}, "%s%s", named ? to : "",
               !message ? "out of memory"
               : named  ? message + n
                        : message);
    free(message);
    return 1;
}

// Writes the files into a folder of their own, from which they can be moved at once.
static int stage_files(const struct tensor_dir_pending *p, const struct tensor_file *tensors, struct diags *diags)
{
    if (mkdir(p->stage, 0777))
        return fail(p->stage, "cannot make the folder", diags);
    for (int i = 0; i < p->n; i++)
        if (write_staged(p->from[i], p->to[i], &tensors[i], diags))
            return 1;
    return 0;
}

static int check_places(const struct tensor_dir_pending *p, struct diags *diags)
{
    struct stat st;
    for (int i = 0; i < p->n; i++)
        if (!stat(p->to[i], &st) && S_ISDIR(st.st_mode)) {
            diag_error(diags, (struct loc){.file = p->to[i]},
                       "this is a folder, where a file is to be written; remove it");
            return 1;
        }
    return 0;
}

int tensor_dir_prepare(struct tensor_dir_pending *p, const char *dir, const char *prefix, const char *ending, int n,
                       const struct tensor_file *tensors, struct arena *a, struct diags *diags)
{
    *p = (struct tensor_dir_pending){.n = n,
                                     .stage = arena_printf(a, "%s/.%s_%ld", dir, prefix, (long)getpid()),
                                     .from = ARENA_ARRAY(a, const char *, n + 1),
                                     .to = ARENA_ARRAY(a, const char *, n + 1)};
    for (int i = 0; i < n; i++) {
        const char *name = arena_printf(a, "%s_%d.%s", prefix, i, ending);
        p->from[i] = arena_printf(a, "%s/%s", p->stage, name);
        p->to[i] = arena_printf(a, "%s/%s", dir, name);
    }
    int status = stage_files(p, tensors, diags) || check_places(p, diags);
    if (status)
        tensor_dir_discard(p);
    return status;
}

int tensor_dir_commit(struct tensor_dir_pending *p, struct diags *diags)
{
    int status = 0;
    for (int i = 0; i < p->n && !status; i++)
        if (rename(p->from[i], p->to[i]))
            status = fail(p->to[i], "cannot create", diags);
    tensor_dir_discard(p);
    return status;
}

void tensor_dir_discard(struct tensor_dir_pending *p)
{
    for (int i = 0; i < p->n; i++)
        unlink(p->from[i]);
    if (p->stage)
        rmdir(p->stage);
    *p = (struct tensor_dir_pending){0};
}
