#include "codegen/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codegen/error.h"
#include "codegen/temporary.h"

static int write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int write_fd(int fd, const char *path, const void *data, size_t size, char **error)
{
    int failed = write_all(fd, data, size), reason = errno;
    if (close(fd) && !failed) { // some file systems tell only now that the disk is full
        failed = -1;
        reason = errno;
    }
    return failed ? error_set(error, "%s: cannot write: %s", path, strerror(reason)) : 0;
}

// The file that writing to path would change: a symbolic link's target, or path. To be freed; NULL: out of memory.
char *file_resolve(const char *path)
{
    char *real = realpath(path, NULL);
    return real ? real : strdup(path);
}

// A name beside path that nobody else makes, on whatever machine that shares the folder.
static char *temporary_name(const char *path)
{
    static atomic_uint counter;
    uint64_t number = 0;
    char *name;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
        number = (uint64_t)getpid() << 32 | atomic_fetch_add(&counter, 1);
    return asprintf(&name, "%s.tmp%016" PRIx64, path, number) < 0 ? NULL : name;
}

bool file_is_special(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

// Creates the temporary file. Returns its descriptor; -1 after setting *error.
static int create(struct file_pending *f, const char *path, char **error)
{
    *f = (struct file_pending){.final = file_resolve(path)};
    f->temporary = f->final ? temporary_name(f->final) : NULL;
    if (!f->temporary)
        return error_set(error, "out of memory");
    if (file_is_special(f->final)) {
        free(f->temporary);
        f->temporary = NULL;
        return error_set(error, "%s: not a regular file", path);
    }
    if (temporary_note(f->temporary))
        return error_set(error, "out of memory");
    int fd = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd < 0 ? error_set(error, "%s: cannot create: %s", path, strerror(errno)) : fd;
}

int file_prepare(struct file_pending *f, const char *path, const void *data, size_t size, char **error)
{
    if (file_is_special(path)) {
        *f = (struct file_pending){0};
        int special = open(path, O_WRONLY | O_CLOEXEC);
        return special < 0 ? error_set(error, "%s: cannot open: %s", path, strerror(errno))
                           : write_fd(special, path, data, size, error);
    }
    int fd = create(f, path, error), status = fd < 0 ? -1 : write_fd(fd, path, data, size, error);
    if (status)
        file_discard(f);
    return status;
}

int file_begin(struct file_pending *f, const char *path, FILE **out, char **error)
{
    int fd = create(f, path, error);
    *out = fd < 0 ? NULL : fdopen(fd, "w+b");
    if (*out)
        return 0;
    if (fd >= 0) {
        close(fd);
        error_set(error, "out of memory");
    }
    file_discard(f);
    return -1;
}

int file_end(struct file_pending *f, FILE *out, char **error)
{
    // The position may be behind what has been written.
    bool failed = fflush(out) || ferror(out) || ftruncate(fileno(out), ftello(out));
    int reason = errno;
    if (fclose(out) && !failed) {
        failed = true;
        reason = errno;
    }
    if (!failed)
        return 0;
    error_set(error, "%s: cannot write: %s", f->final, strerror(reason));
    file_discard(f);
    return -1;
}

int file_commit(struct file_pending *f, char **error)
{
    if (!f->final)
        return 0;
    int status =
        rename(f->temporary, f->final) ? error_set(error, "%s: cannot create: %s", f->final, strerror(errno)) : 0;
    file_discard(f);
    return status;
}

void file_discard(struct file_pending *f)
{
    if (f->temporary) {
        unlink(f->temporary);
        temporary_forget(f->temporary);
    }
    free(f->temporary);
    free(f->final);
    *f = (struct file_pending){0};
}

int file_write(const char *path, const void *data, size_t size, char **error)
{
    struct file_pending f;
    return file_prepare(&f, path, data, size, error) || file_commit(&f, error) ? -1 : 0;
}

// ---- Folders ---------------------------------------------------------------------------------------------------

int file_make_folder(char *template)
{
    if (!mkdtemp(template))
        return -1;
    if (!temporary_note(template))
        return 0;
    rmdir(template);
    errno = ENOMEM;
    return -1;
}

char *file_name_in(const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return NULL;
    if (!temporary_note(path))
        return path;
    free(path);
    return NULL;
}

void file_remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));)
        unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        closedir(d);
    rmdir(folder);
    temporary_forget(folder);
}
