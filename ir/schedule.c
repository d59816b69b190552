#include "ir/schedule.h"

#include <string.h>

const struct schedule_info schedule_info[SCHEDULE_COUNT] = {
#define SCHEDULE(e, name, least, most, stage, doc) [SCHEDULE_##e] = {name, least, most, SCHEDULE_STAGE_##stage, doc},
#include "ir/schedule.def"
#undef SCHEDULE
};

struct schedule *schedule_create(struct arena *a)
{
    struct schedule *s = ARENA_NEW(a, struct schedule);
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        s->value[i] = SCHEDULE_OPEN;
    return s;
}

enum schedule_key schedule_key_from_name(const char *name, size_t length)
{
    int i = 0;
    while (i < SCHEDULE_COUNT &&
           (strlen(schedule_info[i].name) != length || memcmp(schedule_info[i].name, name, length)))
        i++;
    return (enum schedule_key)i;
}
