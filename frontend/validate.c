// Names, scopes, attributes, functions.
//
// A graph's names are all entered before its nodes are looked at, since a file need not be in order; what a subgraph
// takes from the graphs around it orders the node that holds it.
#include "frontend/validate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "frontend/function.h"

#define MOST_ERRORS 1000

// A graph being checked, and those around it.
struct scope {
    struct scope *outer;
    struct model_graph *graph;
    struct order_edges edges;
};

struct check {
    struct model *m;
    struct diags *diags;
    struct model_function *function; // whose body it is; for the main graph the entry that stands for it
    struct map missing_domains;      // reported
    int depth;                       // subgraphs around
};

static bool in_function(const struct check *c)
{
    return c->function->proto;
}

// A hostile file may hold an error every other byte: after a while nobody reads them.
static bool gave_up(const struct check *c)
{
    return c->diags->n_errors >= MOST_ERRORS;
}

static const char *where(const struct check *c)
{
    return in_function(c) ? arena_printf(&c->m->scratch, "in function %s: ", c->function->title) : "";
}

__attribute__((format(printf, 3, 4))) static void error(struct check *c, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&c->m->scratch, format, args);
    va_end(args);
    diag_error(c->diags, loc, "%s%s", where(c), text);
}

// Where a graph is: its node, if it is an attribute.
static struct loc graph_loc(const struct check *c, const struct model_graph *g)
{
    return g->outer ? model_loc(c->m, g->outer->file_nodes[g->outer_node]) : (struct loc){.file = c->m->file};
}

// ---- Names ----

static const char *describe(struct check *c, const struct model_name *n)
{
    switch (n->kind) {
    case MODEL_INPUT:
        return n->initializer ? "an input with an initializer" : "an input";
    case MODEL_INITIALIZER:
    case MODEL_SPARSE_INITIALIZER:
        return "an initializer";
    default:
        return arena_printf(&c->m->scratch, "output %zu of node '%s'", n->output + 1,
                            model_loc(c->m, n->graph->file_nodes[n->index]).node);
    }
}

// An initialiser with an input's name is the input's value.
static void check_default(struct check *c, const struct model_graph *g, const struct model_name *input)
{
    const TgOnnx__TypeProto *type = g->proto ? g->proto->input[input->index]->type : NULL;
    if (!type)
        return;
    const char *name = model_quote(c->m, input->name);
    if (type->value_case != TG_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        error(c, graph_loc(c, g), "input %s has an initializer, but is not a tensor", name);
        return;
    }
    const TgOnnx__TypeProto__Tensor *tensor = type->tensor_type;
    const TgOnnx__TensorProto *value = input->initializer;
    if (tensor->elem_type && tensor->elem_type != value->data_type)
        error(c, graph_loc(c, g), "input %s is of type %s, its initializer of type %s", name,
              onnx_type_name(&c->m->scratch, tensor->elem_type), onnx_type_name(&c->m->scratch, value->data_type));
    const TgOnnx__TensorShapeProto *shape = tensor->shape;
    if (!shape)
        return;
    bool equal = shape->n_dim == value->n_dims;
    for (size_t i = 0; equal && i < shape->n_dim; i++)
        equal = shape->dim[i]->value_case != TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ||
                shape->dim[i]->dim_value < 0 || shape->dim[i]->dim_value == value->dims[i];
    if (!equal)
        error(c, graph_loc(c, g), "the shape of input %s is not that of its initializer", name);
}

static void define(struct check *c, struct model_graph *g, struct model_name n)
{
    if (!n.name || !*n.name) {
        if (n.kind != MODEL_NODE_OUTPUT) // there it means that nobody wants the value
            error(c, graph_loc(c, g), "%s %zu has no name", describe(c, &n), n.index + 1);
        return;
    }
    n.graph = g;
    struct model_name *slot = arena_copy(&c->m->arena, &n, sizeof n);
    struct model_name *old = map_insert(&g->names, &c->m->arena, slot->name, strlen(slot->name), slot);
    if (old && n.kind == MODEL_INITIALIZER && old->kind == MODEL_INPUT && !old->initializer) {
        old->initializer = n.initializer;
        check_default(c, g, old);
    } else if (old) {
        struct loc loc = n.kind == MODEL_NODE_OUTPUT ? model_loc(c->m, g->file_nodes[n.index]) : graph_loc(c, g);
        error(c, loc, "%s is defined twice: as %s and as %s", model_quote(c->m, n.name), describe(c, old),
              describe(c, &n));
    }
}

static void define_sparse(struct check *c, struct model_graph *g, size_t index)
{
    const TgOnnx__SparseTensorProto *s = g->proto->sparse_initializer[index];
    if (!s->values || !s->indices)
        error(c, graph_loc(c, g), "sparse initializer %zu has no %s", index + 1, s->values ? "indices" : "values");
    else
        define(c, g, (struct model_name){.name = s->values->name, .kind = MODEL_SPARSE_INITIALIZER, .index = index});
}

static void define_all(struct check *c, struct model_graph *g)
{
    const TgOnnx__GraphProto *p = g->proto;
    if (!p) {
        const TgOnnx__FunctionProto *f = g->function->proto;
        for (size_t i = 0; i < f->n_input && !gave_up(c); i++)
            define(c, g, (struct model_name){.name = f->input[i], .kind = MODEL_INPUT, .index = i});
    }
    for (size_t i = 0; p && i < p->n_input; i++) {
        define(c, g, (struct model_name){.name = p->input[i]->name, .kind = MODEL_INPUT, .index = i});
        if (!p->input[i]->type && !g->outer)
            error(c, graph_loc(c, g), "input %s has no type", model_quote(c->m, p->input[i]->name));
    }
    for (size_t i = 0; p && i < p->n_initializer; i++)
        define(c, g,
               (struct model_name){.name = p->initializer[i]->name,
                                   .kind = MODEL_INITIALIZER,
                                   .index = i,
                                   .initializer = p->initializer[i]});
    for (size_t i = 0; p && i < p->n_sparse_initializer; i++)
        define_sparse(c, g, i);
    for (size_t i = 0; i < g->n_nodes && !gave_up(c); i++)
        for (size_t k = 0; k < g->file_nodes[i]->n_output && !gave_up(c); k++)
            define(c, g,
                   (struct model_name){
                       .name = g->file_nodes[i]->output[k], .kind = MODEL_NODE_OUTPUT, .index = i, .output = k});
}

static void add_edge(struct check *c, struct order_edges *edges, size_t producer)
{
    if (edges->n == edges->room) {
        size_t room = edges->room ? edges->room * 2 : 16;
        size_t *list = ARENA_ARRAY(&c->m->scratch, size_t, room);
        if (edges->n)
            memcpy(list, edges->producer, edges->n * sizeof *list);
        edges->producer = list;
        edges->room = room;
    }
    edges->producer[edges->n++] = producer;
}

// Whether a name is defined; if by a node, then the node being checked in that node's graph comes after it.
static bool use(struct check *c, struct scope *s, const char *name)
{
    const struct model_name *n = model_lookup(s->graph, name);
    if (n && n->kind == MODEL_NODE_OUTPUT) {
        while (s->graph != n->graph)
            s = s->outer;
        add_edge(c, &s->edges, n->index);
    }
    return n;
}

// ---- Attributes ----

static void check_graph(struct check *c, struct scope *s, struct model_graph *g);

static void check_subgraph(struct check *c, struct scope *outer, size_t node, const TgOnnx__GraphProto *proto)
{
    struct model_graph *g = ARENA_NEW(&c->m->arena, struct model_graph);
    *g = (struct model_graph){.proto = proto,
                              .function = outer->graph->function,
                              .outer = outer->graph,
                              .outer_node = node,
                              .n_nodes = proto->n_node,
                              .file_nodes = proto->node};
    map_insert(&c->m->graphs, &c->m->arena, &g->proto, sizeof g->proto, g);
    struct scope inner = {.outer = outer};
    c->depth++;
    check_graph(c, &inner, g);
    c->depth--;
}

static const char *attribute_type_name(struct check *c, int type)
{
    switch (type) {
#define ATTRIBUTE(number, name, present, optional)                                                                     \
    case number:                                                                                                       \
        return #name;
#include "frontend/attribute.def"
#undef ATTRIBUTE
    default:
        return arena_printf(&c->m->scratch, "%d", type);
    }
}

// What is wrong between the type and the content of an attribute; NULL: nothing.
static const char *wrong_content(struct check *c, const TgOnnx__AttributeProto *a)
{
    int n = 0, found = 0;
    bool known = false, may_be_absent = false;
#define ATTRIBUTE(number, name, present, optional)                                                                     \
    if (present) {                                                                                                     \
        n++;                                                                                                           \
        found = number;                                                                                                \
    }                                                                                                                  \
    if (a->type == number) {                                                                                           \
        known = true;                                                                                                  \
        may_be_absent = optional;                                                                                      \
    }
#include "frontend/attribute.def"
#undef ATTRIBUTE
    bool refers = a->ref_attr_name && *a->ref_attr_name;
    if (refers && n)
        return "has a value and refers to an attribute of the function as well";
    if (n > 1)
        return "has values of several types";
    if (a->type && !known)
        return arena_printf(&c->m->scratch, "has the unknown type %d", a->type);
    if (n && a->type && found != a->type)
        return arena_printf(&c->m->scratch, "is of type %s, but its value is of type %s",
                            attribute_type_name(c, a->type), attribute_type_name(c, found));
    if (!n && !refers && !may_be_absent)
        return a->type ? "has no value" : "has no type and no value";
    return NULL;
}

static bool function_takes(const struct model_function *f, const char *attribute)
{
    return map_find(&f->parameters, attribute, strlen(attribute));
}

static void check_attribute(struct check *c, struct scope *s, size_t node, const TgOnnx__AttributeProto *a)
{
    const TgOnnx__NodeProto *n = s->graph->file_nodes[node];
    const char *wrong = wrong_content(c, a);
    if (!a->name || !*a->name)
        error(c, model_loc(c->m, n), "an attribute has no name");
    if (wrong)
        error(c, model_loc(c->m, n), "attribute %s %s", model_quote(c->m, a->name), wrong);
    if (a->ref_attr_name && *a->ref_attr_name && !function_takes(c->function, a->ref_attr_name))
        error(c, model_loc(c->m, n), "attribute %s refers to %s, which is no attribute of %s",
              model_quote(c->m, a->name), model_quote(c->m, a->ref_attr_name),
              in_function(c) ? "the function" : "a function");
    if (a->g)
        check_subgraph(c, s, node, a->g);
    for (size_t i = 0; i < a->n_graphs && !gave_up(c); i++)
        check_subgraph(c, s, node, a->graphs[i]);
}

// ---- Nodes ----

static void check_callee(struct check *c, const TgOnnx__NodeProto *node)
{
    const struct model_function *callee = model_callee(c->m, node);
    const char *domain = model_domain(node->domain);
    if (callee) {
        function_add_call(c->m, c->function, (struct function_call){callee, node, c->depth});
        if (node->n_input > callee->proto->n_input)
            error(c, model_loc(c->m, node), "%zu inputs are given to function %s, which takes %zu", node->n_input,
                  callee->title, callee->proto->n_input);
        if (node->n_output > callee->proto->n_output)
            error(c, model_loc(c->m, node), "%zu outputs are wanted of function %s, which has %zu", node->n_output,
                  callee->title, callee->proto->n_output);
        for (size_t i = 0; i < node->n_attribute && !gave_up(c); i++) {
            const char *name = node->attribute[i]->name;
            if (name && *name && !function_takes(callee, name))
                error(c, model_loc(c->m, node), "function %s has no attribute %s; remove it", callee->title,
                      model_quote(c->m, name));
        }
        return;
    }
    if (node->overload && *node->overload)
        error(c, model_loc(c->m, node), "there is no function %s with overload %s", model_quote(c->m, node->op_type),
              model_quote(c->m, node->overload));
    if (!model_opset(c->m, in_function(c) ? c->function : NULL, domain) &&
        !map_insert(&c->missing_domains, &c->m->scratch, domain, strlen(domain) + 1, c))
        error(c, model_loc(c->m, node), "the node is of operator set %s, which is not imported",
              *domain ? model_quote(c->m, domain) : "ai.onnx");
}

static void check_node(struct check *c, struct scope *s, size_t index)
{
    const TgOnnx__NodeProto *node = s->graph->file_nodes[index];
    if (node->op_type && *node->op_type)
        check_callee(c, node);
    else
        error(c, model_loc(c->m, node), "the node has no operator");
    for (size_t i = 0; i < node->n_input && !gave_up(c); i++)
        if (*node->input[i] && !use(c, s, node->input[i]))
            error(c, model_loc(c->m, node), "input %zu is %s, which is not defined", i + 1,
                  model_quote(c->m, node->input[i]));

    struct map names;
    map_init(&names, c->m->secret);
    for (size_t i = 0; i < node->n_attribute && !gave_up(c); i++) {
        const TgOnnx__AttributeProto *a = node->attribute[i];
        check_attribute(c, s, index, a);
        if (node->n_attribute > 1 && a->name &&
            map_insert(&names, &c->m->scratch, a->name, strlen(a->name), node->attribute[i]))
            error(c, model_loc(c->m, node), "attribute %s is given twice", model_quote(c->m, a->name));
    }
}

// ---- Graphs ----

static void check_output(struct check *c, struct scope *s, const char *name, size_t index)
{
    if (!name || !*name)
        error(c, graph_loc(c, s->graph), "output %zu has no name", index + 1);
    else if (!model_lookup(s->graph, name))
        error(c, graph_loc(c, s->graph), "output %s is not defined", model_quote(c->m, name));
    else if (s->outer && !map_find(&s->graph->names, name, strlen(name)))
        use(c, s, name); // of a graph around: the node waits for it
}

// s->outer is set; the rest of s is filled here.
static void check_graph(struct check *c, struct scope *s, struct model_graph *g)
{
    s->graph = g;
    s->edges.start = ARENA_ARRAY(&c->m->scratch, size_t, g->n_nodes + 1);
    map_init(&g->names, c->m->secret);
    define_all(c, g);
    c->function->n_nodes += (int64_t)g->n_nodes;
    for (size_t i = 0; i < g->n_nodes && !gave_up(c); i++) {
        s->edges.start[i] = s->edges.n;
        check_node(c, s, i);
    }
    if (gave_up(c))
        return;
    s->edges.start[g->n_nodes] = s->edges.n;
    if (g->proto)
        for (size_t i = 0; i < g->proto->n_output && !gave_up(c); i++)
            check_output(c, s, g->proto->output[i]->name, i);
    else
        for (size_t i = 0; i < g->function->proto->n_output && !gave_up(c); i++)
            check_output(c, s, g->function->proto->output[i], i);
    order_nodes(c->m, g, &s->edges, where(c), c->diags);
}

static struct check check_begin(struct model *m, struct model_function *f, struct diags *diags)
{
    struct check c = {.m = m, .diags = diags, .function = f};
    map_init(&c.missing_domains, m->secret);
    return c;
}

static void add_parameter(struct check *c, const char *name)
{
    struct loc loc = {.file = c->m->file};
    if (!name || !*name)
        error(c, loc, "an attribute of the function has no name");
    else if (map_insert(&c->function->parameters, &c->m->arena, name, strlen(name), c->function))
        error(c, loc, "the function has two attributes %s", model_quote(c->m, name));
}

// Before any body is looked at, since those call functions that come later.
static void check_parameters(struct model *m, struct model_function *f, struct diags *diags)
{
    struct check c = check_begin(m, f, diags);
    const TgOnnx__FunctionProto *p = f->proto;
    map_init(&f->parameters, m->secret);
    for (size_t i = 0; i < p->n_attribute && !gave_up(&c); i++)
        add_parameter(&c, p->attribute[i]);
    for (size_t i = 0; i < p->n_attribute_proto && !gave_up(&c); i++) {
        const TgOnnx__AttributeProto *a = p->attribute_proto[i];
        add_parameter(&c, a->name);
        const char *wrong = a->ref_attr_name && *a->ref_attr_name ? "refers to another"
                            : a->g || a->n_graphs                 ? "has a graph as its default"
                                                                  : wrong_content(&c, a);
        if (wrong)
            error(&c, (struct loc){.file = m->file}, "attribute %s %s", model_quote(m, a->name), wrong);
    }
}

static void check_function(struct model *m, struct model_function *f, struct diags *diags)
{
    struct check c = check_begin(m, f, diags);
    f->body = ARENA_NEW(&m->arena, struct model_graph);
    *f->body = (struct model_graph){.function = f, .n_nodes = f->proto->n_node, .file_nodes = f->proto->node};
    check_graph(&c, &(struct scope){0}, f->body);
}

void validate_model(struct model *m, struct diags *diags)
{
    map_init(&m->graphs, m->secret);
    function_read_all(m, diags);
    for (size_t i = 0; i < m->n_functions; i++)
        check_parameters(m, &m->functions[i], diags);
    for (size_t i = 0; i < m->n_functions; i++)
        check_function(m, &m->functions[i], diags);

    const TgOnnx__GraphProto *p = m->proto->graph;
    m->graph = ARENA_NEW(&m->arena, struct model_graph);
    *m->graph = (struct model_graph){.proto = p, .n_nodes = p->n_node, .file_nodes = p->node};
    struct check c = check_begin(m, &m->functions[m->n_functions], diags);
    check_graph(&c, &(struct scope){0}, m->graph);
    if (!p->n_output)
        diag_error(diags, (struct loc){.file = m->file}, "the graph has no outputs");
    function_check_calls(m, diags);
}
