#include "tools/launch.h"

#include <string.h>

#include "ir/dims.h"
#include "tools/json.h"

// ---- Texts -----------------------------------------------------------------------------------------------------

const char *launch_operators(const struct launch *x, struct arena *a)
{
    const char *text = "";
    for (int i = 0; i < x->n_nodes; i++)
        text = arena_printf(a, "%s%s%s", text, i ? " + " : "", x->nodes[i].operator);
    return text;
}

static bool has_name(const struct launch_node *node)
{
    return node->name[0] != ':';
}

static const char *node_name(const struct launch_node *node, struct arena *a)
{
    return has_name(node) ? node->name : arena_printf(a, "line %s", node->name + 1);
}

const char *launch_nodes(const struct launch *x, int most, struct arena *a)
{
    const char *text = "";
    for (int i = 0; i < x->n_nodes && i < most; i++)
        text = arena_printf(a, has_name(&x->nodes[i]) ? "%s%s'%s'" : "%s%s%s", text, i ? ", " : "",
                            node_name(&x->nodes[i], a));
    return x->n_nodes > most ? arena_printf(a, "%s and %d more", text, x->n_nodes - most) : text;
}

void launch_json_nodes(FILE *out, const struct launch *x, struct arena *a)
{
    fputc('[', out);
    for (int i = 0; i < x->n_nodes; i++) {
        fputs(i ? ", {\"name\": " : "{\"name\": ", out);
        json_string(out, node_name(&x->nodes[i], a));
        fputs(", \"operator\": ", out);
        json_string(out, x->nodes[i].operator);
        fputc('}', out);
    }
    fputc(']', out);
}

// ---- Work ------------------------------------------------------------------------------------------------------

static int64_t symbol_value(const tg_model *code, const int64_t *symbols, const char *name)
{
    for (int i = 0; i < code->n_symbols; i++)
        if (!strcmp(code->symbols[i], name))
            return symbols[i];
    return -1;
}

struct evaluation {
    const struct module *m;
    const tg_model *code;
    const int64_t *symbols;
    int64_t *values; // by the module's id
    bool known;
};

static void give_value(void *evaluation, int id)
{
    struct evaluation *e = evaluation;
    e->values[id] = symbol_value(e->code, e->symbols, e->m->symbols[id]);
    e->known &= e->values[id] >= 0;
}

bool launch_value(const tg_model *code, const int64_t *symbols, const char *expression, double *value)
{
    struct module *m = module_create();
    int64_t x = 0;
    if (!m)
        return false;
    dim d = dims_parse(m, expression);
    struct evaluation e = {m, code, symbols, ARENA_ARRAY(&m->arena, int64_t, m->n_symbols + 1), true};
    dims_symbols(m, d, give_value, &e);
    bool known = dims_eval(m, d, e.values, &x) && e.known;
    module_destroy(m);
    *value = (double)x;
    return known;
}
