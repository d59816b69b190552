// Looking things up in a model that was read, and naming them.
#include "frontend/model.h"

#include <stdio.h>
#include <string.h>

#include "frontend/function.h"

#define LONGEST_QUOTE 120

// ---- Numbers of the format ----

const char *onnx_type_name(struct arena *a, int32_t type)
{
    switch (type) {
#define ONNX_TYPE(number, name, dtype, bits, field)                                                                    \
    case number:                                                                                                       \
        return #name;
#include "frontend/onnx_type.def"
#undef ONNX_TYPE
    default:
        return arena_printf(a, "%d", type);
    }
}

enum dtype onnx_type_dtype(int32_t type)
{
    switch (type) {
#define ONNX_TYPE(number, name, dtype, bits, field)                                                                    \
    case number:                                                                                                       \
        return dtype_from_name(dtype, sizeof dtype - 1);
#include "frontend/onnx_type.def"
#undef ONNX_TYPE
    default:
        return DTYPE_NONE;
    }
}

int attribute_type(const TgOnnx__AttributeProto *a)
{
    if (a->has_type && a->type)
        return a->type;
    int type = 0, n = 0;
#define ATTRIBUTE(number, name, present, optional)                                                                     \
    if (present) {                                                                                                     \
        type = number;                                                                                                 \
        n++;                                                                                                           \
    }
#include "frontend/attribute.def"
#undef ATTRIBUTE
    return n == 1 ? type : 0;
}

// ---- Looking up ----

const char *model_domain(const char *domain)
{
    return !domain || !strcmp(domain, "ai.onnx") ? "" : domain;
}

int64_t model_opset(const struct model *m, const struct model_function *function, const char *domain)
{
    domain = model_domain(domain);
    if (function)
        for (size_t i = 0; i < function->opsets.n; i++)
            if (!strcmp(function->opsets.list[i].domain, domain))
                return function->opsets.list[i].version;
    for (size_t i = 0; i < m->opsets.n; i++)
        if (!strcmp(m->opsets.list[i].domain, domain))
            return m->opsets.list[i].version;
    return 0;
}

const struct model_graph *model_subgraph(const struct model *m, const TgOnnx__GraphProto *proto)
{
    return map_find(&m->graphs, &proto, sizeof proto);
}

const struct model_function *model_function(const struct model *m, const char *domain, const char *name,
                                            const char *overload)
{
    size_t length = function_key(domain, name, overload, NULL);
    if (!m->function_names.n || length > m->longest_key) // of all that are in the table
        return NULL;
    function_key(domain, name, overload, m->key);
    return map_find(&m->function_names, m->key, length);
}

const struct model_function *model_callee(const struct model *m, const TgOnnx__NodeProto *node)
{
    return model_function(m, node->domain, node->op_type ? node->op_type : "", node->overload);
}

const struct model_name *model_lookup(const struct model_graph *graph, const char *name)
{
    const struct model_name *found = NULL;
    size_t length = strlen(name);
    for (; length && graph && !found; graph = graph->outer)
        found = map_find(&graph->names, name, length);
    return found;
}

// ---- Naming ----

// The length of the UTF-8 sequence at s if it is one that a terminal may see; else 0.
static int printable(const unsigned char *s)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    int n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n == 2 && s[0] == 0xc2 && s[1] < 0xa0 ? 0 : n; // U+0080 to U+009F are control characters
}

// Writes the name, escaped and at most LONGEST_QUOTE bytes of it.
static const char *escape(char text[LONGEST_QUOTE + 8], const char *name)
{
    const unsigned char *s = (const unsigned char *)name;
    size_t used = 0;
    while (*s && used < LONGEST_QUOTE - 4) {
        int n = printable(s);
        if (n) {
            memcpy(text + used, s, (size_t)n);
            used += (size_t)n;
            s += n;
        } else {
            used += (size_t)sprintf(text + used, "\\x%02x", *s++);
        }
    }
    strcpy(text + used, *s ? "..." : "");
    return text;
}

const char *model_quote(struct model *m, const char *name)
{
    char text[LONGEST_QUOTE + 8];
    return arena_printf(&m->arena, "'%s'", escape(text, name ? name : ""));
}

struct loc model_loc(struct model *m, const TgOnnx__NodeProto *node)
{
    char text[LONGEST_QUOTE + 8];
    struct loc loc = {.file = m->file};
    loc.op_type = arena_strdup(&m->arena, escape(text, node->op_type ? node->op_type : "?"));
    loc.output = arena_strdup(&m->arena, escape(text, node->n_output ? node->output[0] : ""));
    loc.node = node->name && *node->name ? arena_strdup(&m->arena, escape(text, node->name))
                                         : arena_printf(&m->arena, "%s -> %s", loc.op_type, loc.output);
    return loc;
}
