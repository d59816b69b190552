#include "ir/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct file_stamp file_stamp_of(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return (struct file_stamp){0};
    return (struct file_stamp){.device = st->st_dev,
                               .inode = st->st_ino,
                               .size = st->st_size,
                               .modified_ns = nanoseconds(st->st_mtim),
                               .changed_ns = nanoseconds(st->st_ctim)};
}

bool file_stamp_holds(const struct file_stamp *stamp, const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return false;
    struct file_stamp now = file_stamp_of(&st);
    return now.inode && now.device == stamp->device && now.inode == stamp->inode && now.size == stamp->size &&
           now.modified_ns == stamp->modified_ns && now.changed_ns == stamp->changed_ns;
}

// These return NULL, or what is wrong, with the system's reason in *error if it has one. They do not report, since that
// may unwind past an open file.

static const char *read_stream(int fd, struct file_bytes *out, int *error)
{
    size_t room = 0, used = 0;
    char *data = NULL;
    for (;;) {
        if (used == room) {
            room = room ? room * 2 : (size_t)1 << 16;
            char *grown = realloc(data, room);
            if (!grown) {
                free(data);
                return "out of memory";
            }
            data = grown;
        }
        ssize_t n = read(fd, data + used, room - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *error = errno;
            free(data);
            return "cannot be read";
        }
        if (!n)
            break;
        used += (size_t)n;
    }
    *out = (struct file_bytes){.data = data, .size = used, .copied = true};
    return NULL;
}

const char *bytes_map(int fd, struct file_bytes *out, int *error)
{
    *error = 0;
    struct stat st;
    if (fstat(fd, &st)) {
        *error = errno;
        return "cannot be examined";
    }
    if (S_ISDIR(st.st_mode))
        return "is a folder, not a file";
    if (!S_ISREG(st.st_mode))
        return read_stream(fd, out, error);
    if ((uintmax_t)st.st_size > SIZE_MAX)
        return "the file is too large for this machine";
    size_t size = (size_t)st.st_size;
    void *data = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : "";
    if (data == MAP_FAILED) {
        *error = errno;
        return "cannot be mapped";
    }
    *out = (struct file_bytes){.data = data, .size = size, .mapped = size, .stamp = file_stamp_of(&st)};
    return NULL;
}

static int report(const char *name, const char *wrong, int error, struct diags *diags)
{
    if (wrong)
        diag_error(diags, (struct loc){.file = name}, "%s%s%s", wrong, error ? ": " : "", error ? strerror(error) : "");
    return wrong != NULL;
}

int bytes_open_fd(int fd, const char *name, struct file_bytes *out, struct diags *diags)
{
    int error;
    const char *wrong = bytes_map(fd, out, &error);
    return report(name, wrong, error, diags);
}

int bytes_open(const char *path, struct file_bytes *out, struct diags *diags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), error = fd < 0 ? errno : 0;
    const char *wrong = fd < 0 ? "cannot be opened" : bytes_map(fd, out, &error);
    if (fd >= 0)
        close(fd);
    return report(path, wrong, error, diags);
}

void bytes_close(struct file_bytes *b)
{
    if (b->mapped)
        munmap((void *)b->data, b->size);
    if (b->copied)
        free((void *)b->data);
    *b = (struct file_bytes){0};
}
