#include "tools/launch.h"

#include <string.h>

#include "tools/json.h"

static const struct function *host_of(const struct module *m)
{
    const struct function *f = m->first_function;
    while (f && f->kind != FUNCTION_HOST)
        f = f->next;
    return f;
}

struct launches launches_find(const struct module *m, struct arena *a)
{
    struct launches l = {.m = m};
    const struct function *host = host_of(m);
    if (host)
        l.n = launches_of(host, a, &l.list);
    return l;
}

int64_t *launches_symbols(const struct launches *l, const tg_model *code, const int64_t *values, struct arena *a)
{
    int64_t *symbols = ARENA_ARRAY(a, int64_t, l->m->n_symbols + 1);
    for (int i = 0; i < l->m->n_symbols; i++) {
        symbols[i] = -1;
        for (int j = 0; j < code->n_symbols; j++)
            if (!strcmp(l->m->symbols[i], code->symbols[j]))
                symbols[i] = values[j];
    }
    return symbols;
}

// ---- Texts -----------------------------------------------------------------------------------------------------

// What a place without an operator does: its operations.
static const char *operations_at(const struct op *launch, const struct loc *node, struct arena *a)
{
    const struct origin *o = launch->loc.origin;
    const char *text = "";
    for (int i = 0; o && i < o->n_ops; i++)
        if (loc_same_node(&o->ops[i]->loc, node))
            text = arena_printf(a, "%s%s%s", text, *text ? " + " : "", op_info[o->ops[i]->code].name);
    return *text ? text : op_attr(launch, ATTR_KERNEL)->string;
}

static const char *operator_of(const struct op *launch, const struct loc *node, struct arena *a)
{
    return node->op_type ? node->op_type : operations_at(launch, node, a);
}

const char *launch_operators(const struct op *launch, struct arena *a)
{
    struct loc *nodes;
    int n = origin_nodes(launch, a, &nodes);
    const char *text = "";
    for (int i = 0; i < n; i++)
        text = arena_printf(a, "%s%s%s", text, i ? " + " : "", operator_of(launch, &nodes[i], a));
    bool copies = launch->loc.origin && launch->loc.origin->copied;
    return !copies ? text : nodes[0].op_type ? arena_printf(a, "copy (%s)", text) : "copy";
}

static const char *node_name(const struct loc *node, struct arena *a)
{
    return node->node ? node->node : arena_printf(a, "line %d", node->line);
}

const char *launch_nodes(const struct op *launch, int most, struct arena *a)
{
    struct loc *nodes;
    int n = origin_nodes(launch, a, &nodes);
    const char *text = "";
    for (int i = 0; i < n && i < most; i++)
        text = arena_printf(a, nodes[i].node ? "%s%s'%s'" : "%s%s%s", text, i ? ", " : "", node_name(&nodes[i], a));
    return n > most ? arena_printf(a, "%s and %d more", text, n - most) : text;
}

void launch_json_nodes(FILE *out, const struct op *launch, struct arena *a)
{
    struct loc *nodes;
    int n = origin_nodes(launch, a, &nodes);
    fputc('[', out);
    for (int i = 0; i < n; i++) {
        fputs(i ? ", {\"name\": " : "{\"name\": ", out);
        json_string(out, node_name(&nodes[i], a));
        fputs(", \"operator\": ", out);
        json_string(out, operator_of(launch, &nodes[i], a));
        fputc('}', out);
    }
    fputc(']', out);
}

const char *launch_kernel(const struct launches *l, int i)
{
    const char *name = op_attr(l->list[i], ATTR_KERNEL)->string, *model = host_of(l->m)->name;
    size_t n = strlen(model); // codegen/model_objects.c puts it in front
    return !strncmp(name, model, n) && !strncmp(name + n, "__", 2) ? name + n + 2 : name;
}
