// Schedules: what is chosen for kernels, by a cost model unless the kernel's text or a file says otherwise.
//
// A file has lines `PATTERN: key = value, ...`, and comments after a '#'. The pattern (of fnmatch) is compared with the
// kernel's name and with its problem; of the lines that match the last one that has a key decides it.
#ifndef TEGULA_PASSES_SCHEDULE_H
#define TEGULA_PASSES_SCHEDULE_H

#include "ir/ir.h"

struct schedule_line {
    const char *pattern;
    struct loc loc;
    int64_t value[SCHEDULE_COUNT]; // SCHEDULE_OPEN: not said
};

struct schedules {
    int n;
    struct schedule_line *lines;
};

// Reads a file's text; name, which is kept, stands for it in messages. Everything lives in the arena. NULL after
// reporting.
struct schedules *schedules_read(struct arena *a, const char *text, size_t length, const char *name,
                                 struct diags *diags);

// What the file, else the kernel's text, says of a kernel; SCHEDULE_OPEN if neither does. It is then on the kernel's
// record. s may be NULL.
int64_t schedule_said(const struct schedules *s, struct function *k, enum schedule_key key);
// The same, or `otherwise`, which then goes on the record.
int64_t schedule_choose(const struct schedules *s, struct function *k, enum schedule_key key, int64_t otherwise);

// Reports lines that match no kernel of a module, and keys that the kernels they match do not have. Returns 0, or 1
// after reporting.
int schedules_check(const struct schedules *s, const struct module *m, struct diags *diags);

// The records of a module's kernels as such a file.
void schedules_print(struct arena *a, const struct module *m, char **text);

#endif
