// The schedule record of a kernel: what was chosen, or is to be chosen, where the kernel itself leaves it open. It
// changes how fast a kernel is, and in which order sums are added, but not what it computes.
#ifndef TEGULA_IR_SCHEDULE_H
#define TEGULA_IR_SCHEDULE_H

#include <stdint.h>

#include "ir/arena.h"

enum schedule_key {
#define SCHEDULE(e, name, least, most, stage, doc) SCHEDULE_##e,
#include "ir/schedule.def"
#undef SCHEDULE
    SCHEDULE_COUNT
};

enum schedule_stage { SCHEDULE_STAGE_LOWER, SCHEDULE_STAGE_SHAPE };

struct schedule_info {
    const char *name;
    int64_t least, most;
    enum schedule_stage stage;
    const char *doc;
};
extern const struct schedule_info schedule_info[SCHEDULE_COUNT];

#define SCHEDULE_OPEN (-1)

struct schedule {
    const char *problem; // what the kernel computes, in words that other models share; NULL: nobody said
    int64_t value[SCHEDULE_COUNT];
};

struct schedule *schedule_create(struct arena *a);                         // all open
enum schedule_key schedule_key_from_name(const char *name, size_t length); // SCHEDULE_COUNT if there is none

#endif
