#include "frontend/import.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "frontend/census.h"
#include "frontend/import_internal.h"
#include "ir/lex.h"

static const struct operator_row rows[] = {
#define OPERATOR(name, since, least, most, outputs, function, parameter, attributes)                                   \
    {#name, since, least, most, outputs, import_op_##function, parameter, attributes},
#include "frontend/operators.def"
#undef OPERATOR
};

const struct operator_row *import_row(const TgOnnx__NodeProto *node, int64_t version)
{
    const struct operator_row *best = NULL;
    if (*model_domain(node->domain) || !node->op_type)
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].since <= version && !strcmp(rows[i].name, node->op_type) && (!best || rows[i].since > best->since))
            best = &rows[i];
    return best;
}

// ---- Names -----------------------------------------------------------------------------------------------------

// What a name of the model becomes in text: letters, digits and _, not one of the words of size expressions.
static const char *identifier(struct import *im, const char *name, const char *otherwise)
{
    static const char *const words[] = {"min", "max", "mod", "floordiv", "broadcast"};
    char *text = arena_strdup(&im->arena, name && *name ? name : otherwise);
    lex_make_identifier(text);
    bool word = false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        word |= !strcmp(text, words[i]);
    if (strlen(text) > 100)
        text[100] = 0;
    return word || isdigit((unsigned char)*text) ? arena_printf(&im->arena, "_%s", text) : text;
}

static bool symbol_taken(const struct import *im, const char *name)
{
    for (const struct symbol_name *s = im->symbols; s; s = s->next)
        if (!strcmp(s->name, name))
            return true;
    return false;
}

// The size by the name that the model has for it; made if new. model_name may be NULL.
static dim open_size(struct import *im, const char *model_name, const char *wanted)
{
    for (const struct symbol_name *s = im->symbols; s && model_name; s = s->next)
        if (s->model_name && !strcmp(s->model_name, model_name))
            return dim_symbol(s->id);
    const char *name = wanted;
    for (int i = 1; symbol_taken(im, name); i++)
        name = arena_printf(&im->arena, "%s_%d", wanted, i);
    struct symbol_name *s = ARENA_NEW(&im->arena, struct symbol_name);
    *s = (struct symbol_name){model_name, name, module_symbol(im->module, name, strlen(name)), im->symbols};
    im->symbols = s;
    return dim_symbol(s->id);
}

// The value that the options give an open size.
static bool given_size(struct import *im, const char *model_name, const char *name, int64_t *value)
{
    bool found = false;
    for (int i = 0; im->options && i < im->options->n_dims; i++) {
        const struct import_dim *d = &im->options->dims[i];
        if ((model_name && !strcmp(d->name, model_name)) || !strcmp(d->name, name)) {
            im->dims_used[i] = found = true;
            *value = d->value;
        }
    }
    return found;
}

static dim size_of_input(struct import *im, const char *input, int d,
                         const TgOnnx__TensorShapeProto__Dimension *dimension)
{
    int64_t value = 0;
    if (dimension->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && dimension->dim_value >= 0)
        return dimension->dim_value;
    bool named =
        dimension->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *dimension->dim_param;
    const char *model_name = named ? dimension->dim_param : NULL;
    const char *name = named ? identifier(im, model_name, "")
                             : arena_printf(&im->arena, "%s_dim%d", identifier(im, input, "input"), d);
    bool given = given_size(im, model_name, name, &value) && value >= 0; // check_options complains
    return given ? dims_from_int(im->module, value) : open_size(im, model_name, name);
}

// ---- Scopes ----------------------------------------------------------------------------------------------------

struct scope *import_scope(struct import *im, struct scope *outer, const struct model_graph *g)
{
    struct scope *s = ARENA_NEW(&im->arena, struct scope);
    s->outer = outer;
    s->graph = g;
    map_init(&s->values, im->model->secret);
    return s;
}

void import_define(struct import *im, struct scope *s, const char *name, struct import_value *v)
{
    map_insert(&s->values, &im->arena, name, strlen(name), v);
}

static struct import_value *failed_value(struct import *im, const char *name)
{
    struct import_value *v = ARENA_NEW(&im->arena, struct import_value);
    v->name = name;
    im->failed = true;
    return v;
}

static struct import_value *initializer(struct import *im, const struct model_name *found)
{
    struct loc loc = {.file = im->model->file, .node = found->name};
    struct tensor_data t; // what is wrong with it is said of the node that wants it
    const char *name = model_quote(im->model, found->name);
    if (!found->initializer)
        diag_error(im->diags, im->b.loc, "the sparse initializer %s is not supported; store it dense", name);
    else if (model_tensor_at(im->model, im->b.loc, found->initializer, &t, im->diags))
        ;
    else if (t.dtype == DTYPE_NONE)
        diag_error(im->diags, im->b.loc, "the element type %s of initializer %s is not supported",
                   onnx_type_name(&im->arena, t.onnx_type), name);
    else if (t.rank > MAX_RANK)
        diag_error(im->diags, im->b.loc, "initializer %s has %d dimensions; %d is the most", name, t.rank, MAX_RANK);
    else
        return import_data(im, &t, found->name, loc);
    return failed_value(im, found->name);
}

struct import_value *import_lookup(struct import *im, struct scope *s, const char *name)
{
    for (; s; s = s->outer) {
        struct import_value *v = map_find(&s->values, name, strlen(name));
        if (v)
            return v;
        const struct model_name *found = map_find(&s->graph->names, name, strlen(name));
        if (found && found->kind != MODEL_NODE_OUTPUT &&
            (found->initializer || found->kind == MODEL_SPARSE_INITIALIZER)) {
            v = initializer(im, found);
            import_define(im, s, found->name, v);
            return v;
        }
    }
    return failed_value(im, name); // its node could not be imported; the reader has seen to the rest
}

// ---- Nodes -----------------------------------------------------------------------------------------------------

static void call_function(struct node *n, const struct model_function *f)
{
    struct import *im = n->im;
    struct scope *s = import_scope(im, NULL, f->body);
    s->call = n;
    const TgOnnx__FunctionProto *p = f->proto;
    for (size_t i = 0; i < p->n_input; i++) {
        struct import_value absent = {.name = p->input[i], .absent_of = n};
        import_define(im, s, p->input[i],
                      node_has_input(n, (int)i) ? n->inputs[i] : arena_copy(&im->arena, &absent, sizeof absent));
    }
    import_nodes(im, s);
    for (size_t i = 0; i < p->n_output && i < (size_t)n->n_outputs; i++) {
        const struct import_value *v = import_lookup(im, s, p->output[i]);
        if (!v->type)
            n->failed = true;
        else
            node_output_value(n, (int)i, v);
    }
}

static bool gather_inputs(struct node *n)
{
    const TgOnnx__NodeProto *p = n->proto;
    bool good = true;
    n->inputs = ARENA_ARRAY(&n->im->arena, struct import_value *, p->n_input + 1);
    for (size_t i = 0; i < p->n_input; i++)
        if (*p->input[i]) {
            n->inputs[i] = import_lookup(n->im, n->scope, p->input[i]);
            if (n->inputs[i]->absent_of)
                n->inputs[i] = NULL;
            else
                good &= n->inputs[i]->type != NULL;
        }
    n->n_inputs = (int)p->n_input;
    while (n->n_inputs && !n->inputs[n->n_inputs - 1])
        n->n_inputs--;
    n->n_outputs = (int)p->n_output;
    n->outputs = ARENA_ARRAY(&n->im->arena, struct import_value *, p->n_output + 1);
    return good;
}

// A node needs its input i, and there is none: it is left out, or the call of the function that the node is part of
// does not give it. That is told once, however many nodes need it.
static void report_missing_input(struct node *n, int i)
{
    bool named = (size_t)i < n->proto->n_input && *n->proto->input[i];
    struct import_value *v = named ? import_lookup(n->im, n->scope, n->proto->input[i]) : NULL;
    if (v) {
        node_error(v->absent_of, "input %s of the function is missing; its node '%s' needs it",
                   model_quote(n->im->model, v->name), n->loc.node);
        v->absent_of = NULL;
        n->failed = true;
    } else if (n->row->most_inputs < 0) {
        node_error(n, "input %d is missing", i + 1);
    } else {
        node_error(n, "input %d is missing; version %lld takes at least %d", i + 1, (long long)n->version,
                   n->row->least_inputs);
    }
}

static void check_counts(struct node *n)
{
    const struct operator_row *row = n->row;
    int outputs = n->n_outputs;
    while (outputs && !*n->proto->output[outputs - 1])
        outputs--;
    // Inputs that may be left out although they do not stand last.
    int optional = row->function == import_op_loop ? 2 : row->function == import_op_scan_batches ? 1 : 0;
    for (int i = optional; i < row->least_inputs; i++)
        if (!node_has_input(n, i)) {
            report_missing_input(n, i);
            return;
        }
    if (row->most_inputs >= 0 && n->n_inputs > row->most_inputs)
        node_error(n, "has %d inputs; version %lld takes at most %d", n->n_inputs, (long long)n->version,
                   row->most_inputs);
    for (int i = optional; row->most_inputs < 0 && i < n->n_inputs; i++)
        if (!n->inputs[i]) {
            report_missing_input(n, i);
            return;
        }
    if (row->most_outputs >= 0 && outputs > row->most_outputs)
        node_error(n, "has %d outputs; version %lld has at most %d", outputs, (long long)n->version, row->most_outputs);
}

static void import_node(struct import *im, struct scope *s, const TgOnnx__NodeProto *proto)
{
    struct node *n = ARENA_NEW(&im->arena, struct node); // outlives its subgraphs' scopes
    *n = (struct node){.im = im, .proto = proto, .scope = s, .loc = model_loc(im->model, proto)};
    const struct model_function *f = model_callee(im->model, proto);
    n->version = model_opset(im->model, s->graph->function, proto->domain);
    n->row = f ? NULL : import_row(proto, n->version);
    struct builder outer = im->b; // of the node that this one is in a branch of, or of the call
    im->b.loc = n->loc;
    im->b.diags = im->diags;
    im->b.failed = false;
    bool good = gather_inputs(n);
    if (!good || (!f && !n->row)) {
        n->failed = im->failed = true;
    } else if (f) {
        call_function(n, f);
    } else {
        check_counts(n);
        node_check_attributes(n);
        if (!n->failed)
            n->row->function(n);
    }
    n->failed |= im->b.failed;
    im->failed |= im->b.failed;
    im->b.loc = outer.loc;
    im->b.diags = outer.diags;
    im->b.failed = outer.failed;
    for (int i = 0; i < n->n_outputs; i++) {
        const char *name = proto->output[i];
        if (!*name)
            continue;
        if (!n->failed && !n->outputs[i])
            node_error(n, "output %d is not supported", i + 1);
        import_define(im, s, name, n->failed ? failed_value(im, name) : n->outputs[i]);
    }
}

void import_nodes(struct import *im, struct scope *s)
{
    for (size_t i = 0; i < s->graph->n_nodes; i++)
        import_node(im, s, s->graph->nodes[i]);
}

// ---- Operators that there are not ------------------------------------------------------------------------------

static void report_missing(struct import *im)
{
    for (const struct census_row *i = census_take(im->model, &im->arena); i; i = i->next) {
        if (i->supported)
            continue;
        const char *others = i->count == 1 ? ""
                                           : arena_printf(&im->arena, " (and %lld other%s)", (long long)i->count - 1,
                                                          i->count == 2 ? "" : "s");
        const char *op = model_quote(im->model, i->op),
                   *domain = *i->domain ? model_quote(im->model, i->domain) : "ai.onnx";
        diag_error(im->diags, i->first, "operator %s of %s version %lld is not supported%s", op, domain,
                   (long long)i->version, others);
        im->failed = true;
    }
}

// ---- The graph -------------------------------------------------------------------------------------------------

static struct import_value *input_value(struct import *im, const TgOnnx__ValueInfoProto *info)
{
    const char *name = model_quote(im->model, info->name);
    struct loc loc = {.file = im->model->file};
    const TgOnnx__TypeProto *type = info->type;
    if (!type || type->value_case != TG_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        diag_error(im->diags, loc, "input %s is not a tensor; only tensors are supported", name);
        return NULL;
    }
    enum dtype t = onnx_type_dtype(type->tensor_type->elem_type);
    const TgOnnx__TensorShapeProto *shape = type->tensor_type->shape;
    if (!type->tensor_type->elem_type)
        diag_error(im->diags, loc, "input %s has no element type; give it one", name);
    else if (t == DTYPE_NONE)
        diag_error(im->diags, loc, "the element type %s of input %s is not supported",
                   onnx_type_name(&im->arena, type->tensor_type->elem_type), name);
    else if (!shape)
        diag_error(im->diags, loc, "input %s has no shape; give it one, if only of names for sizes", name);
    else if (shape->n_dim > MAX_RANK)
        diag_error(im->diags, loc, "input %s has %zu dimensions; %d is the most", name, shape->n_dim, MAX_RANK);
    if (t == DTYPE_NONE || !shape || shape->n_dim > MAX_RANK)
        return NULL;
    dim dims[MAX_RANK];
    for (size_t d = 0; d < shape->n_dim; d++)
        dims[d] = size_of_input(im, info->name, (int)d, shape->dim[d]);
    if (dims_product(im->module, (int)shape->n_dim, dims) == DIM_UNKNOWN) {
        diag_error(im->diags, loc, "input %s, %s, is too large", name, import_dims_text(im, (int)shape->n_dim, dims));
        return NULL;
    }
    struct import_value *v = ARENA_NEW(&im->arena, struct import_value);
    v->name = info->name;
    v->loc = loc;
    v->type = type_tensor(im->module, t, (int)shape->n_dim, dims);
    return v;
}

static bool parameter_taken(const struct function *f, const char *name)
{
    for (int i = 0; i < f->n_params; i++)
        if (!strcmp(f->params[i]->name, name))
            return true;
    return false;
}

// Whether the options name the input, so that its initialiser is no constant.
static bool is_given(const struct import *im, const char *name)
{
    bool given = false;
    for (int i = 0; im->options && i < im->options->n_inputs; i++)
        given |= !strcmp(im->options->inputs[i], name);
    return given;
}

static void import_inputs(struct import *im)
{
    const TgOnnx__GraphProto *g = im->model->graph->proto;
    struct function *f = im->function;
    f->input_names = ARENA_ARRAY(&im->module->arena, const char *, g->n_input + 1);
    for (size_t i = 0; i < g->n_input; i++) {
        const struct model_name *found = model_lookup(im->model->graph, g->input[i]->name);
        if (found && found->initializer && !is_given(im, found->name))
            continue; // a constant
        struct import_value *v = input_value(im, g->input[i]);
        if (v) {
            const char *base = identifier(im, v->name, "input"), *name = base;
            for (int k = 1; parameter_taken(f, name); k++)
                name = arena_printf(&im->arena, "%s_%d", base, k);
            v->value = function_add_param(f, arena_strdup(&im->module->arena, name), v->type);
            f->input_names[f->n_inputs++] = v->name;
        } else {
            v = failed_value(im, g->input[i]->name);
        }
        import_define(im, im->scope, v->name, v);
    }
}

// The type that a file states, as text.
static const char *stated_type(struct import *im, const TgOnnx__TypeProto__Tensor *said)
{
    struct arena *arena = &im->arena;
    enum dtype dtype = onnx_type_dtype(said->elem_type);
    const char *name = dtype == DTYPE_NONE ? onnx_type_name(arena, said->elem_type) : dtype_info[dtype].name,
               *dims = "";
    if (!said->shape)
        return arena_printf(arena, "a tensor of %s", name);
    for (size_t d = 0; d < said->shape->n_dim; d++) {
        const TgOnnx__TensorShapeProto__Dimension *dimension = said->shape->dim[d];
        if (dimension->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
            dims = arena_printf(arena, "%s%lldx", dims, (long long)dimension->dim_value);
        else if (dimension->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            dims = arena_printf(arena, "%s%sx", dims, model_quote(im->model, dimension->dim_param));
        else
            dims = arena_printf(arena, "%s?x", dims);
    }
    return arena_printf(arena, "tensor<%s%s>", dims, name);
}

// What the file says of an output must not contradict what it is.
static void check_output(struct import *im, const TgOnnx__ValueInfoProto *info, const struct type *t)
{
    const TgOnnx__TypeProto *type = info->type;
    if (!type || type->value_case != TG_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return;
    const char *name = model_quote(im->model, info->name);
    struct loc loc = {.file = im->model->file};
    const TgOnnx__TypeProto__Tensor *said = type->tensor_type;
    bool fits = !said->elem_type || onnx_type_dtype(said->elem_type) == t->dtype;
    fits &= !said->shape || said->shape->n_dim == (size_t)t->rank;
    for (int d = 0; fits && said->shape && d < t->rank; d++) {
        const TgOnnx__TensorShapeProto__Dimension *dimension = said->shape->dim[d];
        if (dimension->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
            dimension->dim_value >= 0)
            fits = dim_is_symbol(t->dims[d]) || t->dims[d] == dimension->dim_value;
    }
    if (fits)
        return;
    diag_error(im->diags, loc, "output %s is %s, and the model declares it as %s; correct the declaration", name,
               type_string(&im->arena, im->module, t), stated_type(im, said));
    im->failed = true;
}

static void import_outputs(struct import *im)
{
    const TgOnnx__GraphProto *g = im->model->graph->proto;
    struct function *f = im->function;
    struct value **values = ARENA_ARRAY(&im->arena, struct value *, g->n_output + 1);
    f->output_names = ARENA_ARRAY(&im->module->arena, const char *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) {
        struct import_value *v = import_lookup(im, im->scope, g->output[i]->name);
        for (int j = 0; j < f->n_outputs; j++)
            if (!strcmp(f->output_names[j], g->output[i]->name)) {
                diag_error(im->diags, f->loc, "the model has two outputs %s; rename one",
                           model_quote(im->model, g->output[i]->name));
                im->failed = true;
                return;
            }
        if (!v->type)
            return;
        values[i] = import_need(im, v);
        check_output(im, g->output[i], v->type);
        f->output_names[f->n_outputs++] = g->output[i]->name;
    }
    if (f->n_outputs > MAX_OPERANDS) {
        diag_error(im->diags, f->loc, "the model has %d outputs; %d is the most", f->n_outputs, MAX_OPERANDS);
        im->failed = true;
    } else {
        build_yield(&im->b, f->n_outputs, values);
    }
}

#define MOST_NAMES 16 // in a message

// The parameters' names as the model has them.
static const char *inputs_text(struct import *im)
{
    const struct function *f = im->function;
    const char *text = f->n_inputs ? "" : "none";
    for (int i = 0; i < f->n_inputs && i < MOST_NAMES; i++)
        text = arena_printf(&im->arena, "%s%s%s", text, i ? ", " : "", model_quote(im->model, f->input_names[i]));
    return f->n_inputs > MOST_NAMES ? arena_printf(&im->arena, "%s, ...", text) : text;
}

static void check_given_inputs(struct import *im)
{
    const TgOnnx__GraphProto *g = im->model->graph->proto;
    for (int i = 0; im->options && i < im->options->n_inputs; i++) {
        const char *name = im->options->inputs[i], *quoted = model_quote(im->model, name);
        bool found = false;
        for (size_t j = 0; j < g->n_input; j++)
            found |= !strcmp(g->input[j]->name, name);
        if (found)
            continue;
        const struct model_name *known = model_lookup(im->model->graph, name);
        if (known && known->initializer)
            diag_error(im->diags, im->function->loc,
                       "%s is a constant of the model; list it among the inputs of its graph, and it can be given",
                       quoted);
        else
            diag_error(im->diags, im->function->loc, "the model has no input %s; it has %s", quoted, inputs_text(im));
        im->failed = true;
    }
}

// The names of the sizes that --dim may give a value.
static const char *open_sizes(struct import *im)
{
    const TgOnnx__GraphProto *g = im->model->graph->proto;
    const char *text = NULL;
    for (size_t i = 0; i < g->n_input; i++) {
        const TgOnnx__TypeProto *type = g->input[i]->type;
        bool tensor = type && type->value_case == TG_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type->shape;
        for (size_t d = 0; tensor && d < type->tensor_type->shape->n_dim; d++) {
            const TgOnnx__TensorShapeProto__Dimension *dimension = type->tensor_type->shape->dim[d];
            if (dimension->value_case != TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM ||
                !*dimension->dim_param)
                continue;
            const char *name = model_quote(im->model, dimension->dim_param);
            if (!text)
                text = name;
            else if (!strstr(text, name))
                text = arena_printf(&im->arena, "%s, %s", text, name);
        }
    }
    return text ? text : "none with a name";
}

static void check_options(struct import *im)
{
    check_given_inputs(im);
    for (int i = 0; im->options && i < im->options->n_dims; i++) {
        const struct import_dim *d = &im->options->dims[i];
        struct loc loc = {.file = im->model->file};
        if (!im->dims_used[i])
            diag_error(im->diags, loc, "no input has an open size called '%s'; there is %s", d->name, open_sizes(im));
        else if (d->value < 0)
            diag_error(im->diags, loc, "%s=%lld is no size", d->name, (long long)d->value);
        im->failed |= !im->dims_used[i] || d->value < 0;
    }
}

static void release(void *import)
{
    struct import *im = import;
    module_destroy(im->module);
    arena_finish(&im->arena);
}

struct module *import_model(struct model *m, const struct import_options *options, struct diags *diags)
{
    struct import im = {.model = m, .options = options, .diags = diags, .module = module_create()};
    struct arena_hold hold;
    arena_init(&im.arena);
    arena_hold(&hold, release, &im);
    im.function = function_create(im.module, "main", (struct loc){.file = m->file});
    im.function->kind = FUNCTION_GRAPH;
    im.dims_used = ARENA_ARRAY(&im.arena, bool, options ? options->n_dims + 1 : 1);
    im.b = (struct builder){.function = im.function, .block = im.function->body, .diags = diags};
    im.b.loc = im.function->loc;
    im.scope = import_scope(&im, NULL, m->graph);
    int before = diags->n_errors;
    report_missing(&im);
    import_inputs(&im);
    check_options(&im);
    import_nodes(&im, im.scope);
    import_outputs(&im);
    arena_let_go(&hold);
    struct module *module = im.module;
    if (im.failed || im.b.failed || diags->n_errors > before) {
        module_destroy(module);
        module = NULL;
    }
    arena_finish(&im.arena);
    return module;
}
