#include "codegen/launches.h"

#include <stdlib.h>
#include <string.h>

#include "passes/origin.h"

static int count_launches(const struct block *b, int n, const struct op **launches)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op->code == OP_LAUNCH) {
            if (launches)
                launches[n] = op;
            n++;
        }
        for (int i = 0; i < op->n_blocks; i++)
            n = count_launches(op->blocks[i], n, launches);
    }
    return n;
}

int launches_of(const struct function *host, struct arena *a, const struct op *const **launches)
{
    int n = count_launches(host->body, 0, NULL);
    const struct op **list = ARENA_ARRAY(a, const struct op *, n + 1);
    *launches = list;
    return count_launches(host->body, 0, list);
}

// ---- Writing ---------------------------------------------------------------------------------------------------

struct writer {
    struct arena *arena;
    const struct function *host;
    char *bytes;
    size_t n, room;
};

static void put(struct writer *w, const char *text)
{
    size_t size = strlen(text) + 1;
    if (w->room - w->n < size) {
        w->room = 2 * w->room + size + 1024;
        char *grown = ARENA_ARRAY(w->arena, char, w->room);
        if (w->n)
            memcpy(grown, w->bytes, w->n);
        w->bytes = grown;
    }
    memcpy(w->bytes + w->n, text, size);
    w->n += size;
}

static const char *kernel_of(const struct writer *w, const struct op *launch)
{
    const char *name = op_attr(launch, ATTR_KERNEL)->string;
    size_t n = strlen(w->host->name); // codegen/model_objects.c puts it in front
    return !strncmp(name, w->host->name, n) && !strncmp(name + n, "__", 2) ? name + n + 2 : name;
}

// What a place without an operator does: its operations.
static const char *operations_at(const struct writer *w, const struct op *launch, const struct loc *node)
{
    const struct origin *o = launch->loc.origin;
    const char *text = "";
    for (int i = 0; o && i < o->n_ops; i++)
        if (loc_same_node(&o->ops[i]->loc, node))
            text = arena_printf(w->arena, "%s%s%s", text, *text ? " + " : "", op_info[o->ops[i]->code].name);
    return *text ? text : kernel_of(w, launch);
}

static const char *operator_of(const struct writer *w, const struct op *launch, const struct loc *node)
{
    if (launch->loc.origin && launch->loc.origin->copied)
        return node->op_type ? arena_printf(w->arena, "copy (%s)", node->op_type) : "copy";
    return node->op_type ? node->op_type : operations_at(w, launch, node);
}

static void put_launch(struct writer *w, const struct op *launch)
{
    struct module *m = w->host->module;
    struct loc *nodes;
    int n = origin_nodes(launch, w->arena, &nodes);
    struct origin_work work = origin_work(launch, m);
    put(w, kernel_of(w, launch));
    put(w, dim_string(w->arena, m, work.flops));
    put(w, dim_string(w->arena, m, work.bytes));
    for (int i = 0; i < n; i++) {
        put(w, operator_of(w, launch, &nodes[i]));
        put(w, nodes[i].node && *nodes[i].node ? nodes[i].node : arena_printf(w->arena, ":%d", nodes[i].line));
    }
    put(w, "");
}

struct data launches_write(const struct function *host, struct arena *a)
{
    struct writer w = {.arena = a, .host = host};
    const struct op *const *launches;
    int n = launches_of(host, a, &launches);
    for (int i = 0; i < n; i++)
        put_launch(&w, launches[i]);
    put(&w, "");
    return (struct data){.bytes = w.bytes, .size = (int64_t)w.n};
}

// ---- Reading ---------------------------------------------------------------------------------------------------

static const char *behind(const char *text)
{
    return text + strlen(text) + 1;
}

// How many strings there are before the empty one.
static int count_strings(const char *text)
{
    int n = 0;
    for (; *text; text = behind(text))
        n++;
    return n;
}

static const char *take(const char **text, struct arena *a)
{
    const char *string = *text;
    *text = behind(string);
    return arena_strndup(a, string, strlen(string));
}

static const char *read_launch(const char *text, struct arena *a, struct launch *x)
{
    int n = (count_strings(text) - 3) / 2;
    struct launch_node *nodes = ARENA_ARRAY(a, struct launch_node, n + 1);
    *x = (struct launch){.n_nodes = n, .nodes = nodes};
    x->kernel = take(&text, a);
    x->flops = take(&text, a);
    x->bytes = take(&text, a);
    for (int i = 0; i < n; i++) {
        nodes[i].operator= take(&text, a);
        nodes[i].name = take(&text, a);
    }
    return behind(text);
}

static int count_lists(const char *text)
{
    int n = 0;
    for (; *text; text = behind(text), n++)
        while (*text)
            text = behind(text);
    return n;
}

int launches_read(const char *text, struct arena *a, const struct launch **launches)
{
    int n = count_lists(text);
    struct launch *list = ARENA_ARRAY(a, struct launch, n + 1);
    for (int i = 0; i < n; i++)
        text = read_launch(text, a, &list[i]);
    *launches = list;
    return n;
}
