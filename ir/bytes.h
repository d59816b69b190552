// The bytes of a file: those of a regular file are mapped, anything else (a pipe) is read to its end.
#ifndef TEGULA_IR_BYTES_H
#define TEGULA_IR_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/diag.h"

// Tells whether a file is still the one that was read. All zeros: it was no regular file.
struct file_stamp {
    uint64_t device, inode;
    int64_t size, modified_ns, changed_ns;
};

struct file_bytes {
    const void *data; // not NULL once opened
    size_t size;
    bool mapped, copied; // how they are released
    struct file_stamp stamp;
};

// Those of a file that somebody else has.
struct named_bytes {
    const char *path;
    const void *data;
    size_t size;
    struct file_stamp stamp;
};

struct stat;
struct file_stamp file_stamp_of(const struct stat *st);
// Whether the file of that name is the one, and has not been written to.
bool file_stamp_holds(const struct file_stamp *stamp, const char *path);

// Returns 0, or 1 after reporting. The bytes belong to the caller. A file that is mapped must not be shortened
// meanwhile, like a running program's.
int bytes_open(const char *path, struct file_bytes *out, struct diags *diags);
// The same of a descriptor, which stays open; `name` stands for the file in messages.
int bytes_open_fd(int fd, const char *name, struct file_bytes *out, struct diags *diags);

// The same without reporting. Returns NULL, or what is wrong, with errno in *error if that has the reason, else 0.
const char *bytes_map(int fd, struct file_bytes *out, int *error);

// What is all zeros may be closed, too.
void bytes_close(struct file_bytes *b);

#endif
