#include "passes/schedule.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

// ---- Reading ---------------------------------------------------------------------------------------------------

struct reader {
    struct arena *arena;
    struct diags *diags;
    struct loc loc;
    const char *at, *end; // of the line
};

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && isspace((unsigned char)*r->at))
        r->at++;
}

static bool accept(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool read_value(struct reader *r, int64_t *value)
{
    skip_blanks(r);
    const char *digits = r->at;
    *value = 0;
    while (r->at < r->end && isdigit((unsigned char)*r->at) && *value < INT64_MAX / 16)
        *value = *value * 10 + (*r->at++ - '0');
    return r->at > digits;
}

static bool read_setting(struct reader *r, struct schedule_line *line)
{
    skip_blanks(r);
    const char *name = r->at;
    while (r->at < r->end && (isalnum((unsigned char)*r->at) || *r->at == '_'))
        r->at++;
    size_t length = (size_t)(r->at - name);
    enum schedule_key key = schedule_key_from_name(name, length);
    if (!length) {
        diag_error(r->diags, r->loc, "expected 'key = value'");
        return false;
    }
    if (key == SCHEDULE_COUNT) {
        diag_error(r->diags, r->loc, "'%.*s' is not what a schedule may say; docs/tile.md lists that", (int)length,
                   name);
        return false;
    }
    const struct schedule_info *info = &schedule_info[key];
    int64_t value;
    if (!accept(r, '=') || !read_value(r, &value)) {
        diag_error(r->diags, r->loc, "expected '%s = NUMBER'", info->name);
        return false;
    }
    if (value < info->least || value > info->most) {
        diag_error(r->diags, r->loc, "%s is from %lld to %lld", info->name, (long long)info->least,
                   (long long)info->most);
        return false;
    }
    if (line->value[key] != SCHEDULE_OPEN) {
        diag_error(r->diags, r->loc, "%s stands twice", info->name);
        return false;
    }
    line->value[key] = value;
    return true;
}

static bool read_line(struct reader *r, struct schedule_line *line)
{
    const char *colon = memchr(r->at, ':', (size_t)(r->end - r->at)), *last = colon;
    while (colon && last > r->at && isspace((unsigned char)last[-1]))
        last--;
    if (!colon || last == r->at) {
        diag_error(r->diags, r->loc, "expected 'PATTERN: key = value, ...'");
        return false;
    }
    *line = (struct schedule_line){.pattern = arena_strndup(r->arena, r->at, (size_t)(last - r->at)), .loc = r->loc};
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        line->value[i] = SCHEDULE_OPEN;
    r->at = colon + 1;
    do
        if (!read_setting(r, line))
            return false;
    while (accept(r, ','));
    skip_blanks(r);
    if (r->at == r->end)
        return true;
    diag_error(r->diags, r->loc, "expected ',' or the end of the line at '%.*s'", (int)(r->end - r->at), r->at);
    return false;
}

struct schedules *schedules_read(struct arena *a, const char *text, size_t length, const char *name,
                                 struct diags *diags)
{
    int errors = diags->n_errors, n_lines = 1;
    for (size_t i = 0; i < length; i++)
        n_lines += text[i] == '\n';
    struct schedules *s = ARENA_NEW(a, struct schedules);
    s->lines = ARENA_ARRAY(a, struct schedule_line, n_lines);
    const char *at = text, *end = text + length;
    for (int i = 1; i <= n_lines; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct reader r = {a, diags, {.file = name, .line = i}, at, newline ? newline : end};
        const char *comment = memchr(r.at, '#', (size_t)(r.end - r.at));
        if (comment)
            r.end = comment;
        skip_blanks(&r);
        if (r.at < r.end && read_line(&r, &s->lines[s->n]))
            s->n++;
        at = newline ? newline + 1 : end;
    }
    return errors == diags->n_errors ? s : NULL;
}

// ---- Choosing --------------------------------------------------------------------------------------------------

// While graphs are lowered kernels have no final names: one that equals an earlier one takes that one's.
static bool matches(const struct schedule_line *line, const struct function *k, enum schedule_stage stage)
{
    if (k->kind != FUNCTION_KERNEL)
        return false;
    const char *problem = k->schedule ? k->schedule->problem : NULL;
    return (problem && !fnmatch(line->pattern, problem, 0)) ||
           (stage == SCHEDULE_STAGE_SHAPE && !fnmatch(line->pattern, k->name, 0));
}

int64_t schedule_said(const struct schedules *s, struct function *k, enum schedule_key key)
{
    int64_t value = k->schedule ? k->schedule->value[key] : SCHEDULE_OPEN;
    for (int i = 0; s && i < s->n; i++)
        if (s->lines[i].value[key] != SCHEDULE_OPEN && matches(&s->lines[i], k, schedule_info[key].stage))
            value = s->lines[i].value[key];
    if (value != SCHEDULE_OPEN && !k->schedule)
        k->schedule = schedule_create(&k->module->arena);
    if (value != SCHEDULE_OPEN)
        k->schedule->value[key] = value;
    return value;
}

int64_t schedule_choose(const struct schedules *s, struct function *k, enum schedule_key key, int64_t otherwise)
{
    int64_t value = schedule_said(s, k, key);
    if (value != SCHEDULE_OPEN)
        return value;
    if (!k->schedule)
        k->schedule = schedule_create(&k->module->arena);
    return k->schedule->value[key] = otherwise;
}

// ---- Checking and printing -------------------------------------------------------------------------------------

static bool chooses(const struct function *k, enum schedule_key key)
{
    return schedule_info[key].stage == SCHEDULE_STAGE_SHAPE ||
           (k->schedule && k->schedule->value[key] != SCHEDULE_OPEN);
}

int schedules_check(const struct schedules *s, const struct module *m, struct diags *diags)
{
    int errors = diags->n_errors;
    for (int i = 0; s && i < s->n; i++) {
        const struct schedule_line *line = &s->lines[i];
        bool any = false;
        for (const struct function *k = m->first_function; k && !any; k = k->next)
            any = matches(line, k, SCHEDULE_STAGE_SHAPE);
        if (!any)
            diag_error(diags, line->loc, "no kernel has a name or a problem like '%s'", line->pattern);
        for (int key = 0; any && key < SCHEDULE_COUNT; key++) {
            bool used = line->value[key] == SCHEDULE_OPEN;
            for (const struct function *k = m->first_function; k && !used; k = k->next)
                used = matches(line, k, schedule_info[key].stage) && chooses(k, (enum schedule_key)key);
            if (!used)
                diag_error(diags, line->loc, "no kernel with a problem like '%s' chooses %s", line->pattern,
                           schedule_info[key].name);
        }
    }
    return errors != diags->n_errors;
}

static bool is_same(const struct schedule *a, const struct schedule *b)
{
    return !memcmp(a->value, b->value, sizeof a->value);
}

// Whether another kernel has the same problem; *before: with the same record, and it stands before.
static bool shares_problem(const struct module *m, const struct function *k, bool *before)
{
    bool passed = false, differs = false;
    *before = false;
    for (const struct function *o = m->first_function; o; o = o->next) {
        passed |= o == k;
        if (o == k || !o->schedule || !o->schedule->problem || strcmp(o->schedule->problem, k->schedule->problem))
            continue;
        differs |= !is_same(o->schedule, k->schedule);
        *before |= !passed && is_same(o->schedule, k->schedule);
    }
    return differs;
}

// The pattern of a problem alone: the '?' of an open size is a wildcard to fnmatch, and would also mean a size of one
// digit.
static const char *pattern_of(struct arena *a, const char *problem)
{
    const char *pattern = "";
    for (const char *c = problem; *c; c++)
        pattern = arena_printf(a, strchr("?*[", *c) ? "%s[%c]" : "%s%c", pattern, *c);
    return pattern;
}

void schedules_print(struct arena *a, const struct module *m, char **text)
{
    *text = arena_strdup(a, "");
    for (const struct function *k = m->first_function; k; k = k->next) {
        const struct schedule *s = k->schedule;
        bool before = false;
        if (!s)
            continue;
        bool by_problem = s->problem && !shares_problem(m, k, &before);
        const char *head = by_problem ? pattern_of(a, s->problem) : k->name, *settings = "";
        for (int key = 0; key < SCHEDULE_COUNT; key++)
            if (s->value[key] != SCHEDULE_OPEN)
                settings = arena_printf(a, "%s%s %s = %lld", settings, *settings ? "," : "", schedule_info[key].name,
                                        (long long)s->value[key]);
        if (!before && *settings)
            *text = arena_printf(a, "%s%s:%s\n", *text, head, settings);
    }
}
