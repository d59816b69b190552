// What an operator's function asks its node for: attributes, inputs, outputs.
#include <stdarg.h>
#include <string.h>

#include "frontend/import_internal.h"

void node_error(struct node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&n->im->arena, format, args);
    va_end(args);
    if (!n->im->b.failed)
        diag_error(n->im->diags, n->loc, "%s: %s", n->row ? n->row->name : "call", text);
    n->im->b.diags = NULL;
    n->failed = n->im->failed = true;
}

// ---- Attributes ------------------------------------------------------------------------------------------------

static const TgOnnx__AttributeProto *find(size_t count, TgOnnx__AttributeProto *const *list, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (list[i]->name && !strcmp(list[i]->name, name))
            return list[i];
    return NULL;
}

// The attribute of a call, or its default: what a node in the function's body means by ref_attr_name.
static const TgOnnx__AttributeProto *parameter(const struct scope *s, const char *name)
{
    while (s && !s->call)
        s = s->outer;
    if (!s)
        return NULL;
    const TgOnnx__AttributeProto *a = node_attribute(s->call, name);
    const TgOnnx__FunctionProto *f = s->graph->function->proto;
    return a ? a : find(f->n_attribute_proto, f->attribute_proto, name);
}

static const TgOnnx__AttributeProto *resolve(const struct scope *s, const TgOnnx__AttributeProto *a)
{
    return a && a->ref_attr_name && *a->ref_attr_name ? parameter(s, a->ref_attr_name) : a;
}

const TgOnnx__AttributeProto *node_attribute(const struct node *n, const char *name)
{
    return resolve(n->scope, find(n->proto->n_attribute, n->proto->attribute, name));
}

bool node_has(const struct node *n, const char *attribute)
{
    return node_attribute(n, attribute) != NULL;
}

int64_t node_int(const struct node *n, const char *attribute, int64_t otherwise)
{
    const TgOnnx__AttributeProto *a = node_attribute(n, attribute);
    return a ? a->i : otherwise;
}

double node_float(const struct node *n, const char *attribute, double otherwise)
{
    const TgOnnx__AttributeProto *a = node_attribute(n, attribute);
    return a ? (double)a->f : otherwise;
}

struct ints node_ints(const struct node *n, const char *attribute)
{
    const TgOnnx__AttributeProto *a = node_attribute(n, attribute);
    return a ? (struct ints){(int)a->n_ints, a->ints} : (struct ints){0};
}

const char *node_string(const struct node *n, const char *attribute, const char *otherwise)
{
    const TgOnnx__AttributeProto *a = node_attribute(n, attribute);
    if (!a)
        return otherwise;
    return a->s.len ? arena_strndup(&n->im->arena, (const char *)a->s.data, a->s.len) : "";
}

struct attribute_letter {
    char letter;
    int type;
    const char *words;
};

static const struct attribute_letter letters[] = {
    {'f', 1, "a float"},          {'i', 2, "an int"},
    {'s', 3, "a string"},         {'t', 4, "a tensor"},
    {'g', 5, "a graph"},          {'F', 6, "a list of floats"},
    {'I', 7, "a list of ints"},   {'S', 8, "a list of strings"},
    {'x', 11, "a sparse tensor"},
};

static const struct attribute_letter *letter_of(char c)
{
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
        if (letters[i].letter == c)
            return &letters[i];
    return NULL;
}

// The letter behind a name in the row's list; 0: it is not there.
static char listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ')
        if (length && strcspn(p, ":") == length && !memcmp(p, name, length))
            return p[length + 1];
    return 0;
}

void node_check_attributes(struct node *n)
{
    const char *list = n->row->attributes;
    for (size_t i = 0; i < n->proto->n_attribute; i++) {
        const TgOnnx__AttributeProto *a = n->proto->attribute[i], *value = resolve(n->scope, a);
        const char *name = a->name ? a->name : "";
        char letter = listed(list, name);
        if (!letter) {
            node_error(n, "attribute %s is not known in version %lld; remove it", model_quote(n->im->model, name),
                       (long long)n->version);
            continue;
        }
        const struct attribute_letter *want = letter_of(letter);
        if (value && attribute_type(value) && attribute_type(value) != want->type)
            node_error(n, "attribute '%s' must be %s", name, want->words);
        else if (value && want->type >= 6 && want->type <= 8 &&
                 (value->n_ints > INT32_MAX || value->n_floats > INT32_MAX))
            node_error(n, "attribute '%s' is too long", name);
    }
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ') {
        size_t length = strcspn(p, ":");
        if (p[length + 2] == '!' && !node_has(n, arena_strndup(&n->im->arena, p, length)))
            node_error(n, "attribute '%.*s' is missing", (int)length, p);
    }
}

// ---- Inputs ----------------------------------------------------------------------------------------------------

bool node_has_input(const struct node *n, int i)
{
    return i < n->n_inputs && n->inputs[i];
}

bool node_wants(const struct node *n, int i)
{
    return (size_t)i < n->proto->n_output && *n->proto->output[i];
}

const struct type *node_type(const struct node *n, int i)
{
    return n->inputs[i]->type;
}

struct value *node_input(struct node *n, int i)
{
    return import_need(n->im, n->inputs[i]);
}

static bool by_if(const struct import_value *v)
{
    return v->value && v->value->def && v->value->def->code == OP_IF;
}

bool node_list(struct node *n, int i, const char *what, struct list *list)
{
    const struct import_value *v = n->inputs[i];
    *list = v->list;
    if (v->data && !v->list.v) // a long one
        *list = import_list_of_data(n->im, v->data);
    if (!dtype_is_int(v->type->dtype))
        node_error(n, "%s %s must be integers, not %s", what, model_quote(n->im->model, v->name),
                   dtype_info[v->type->dtype].name);
    else if (v->type->rank > 1)
        node_error(n, "%s %s must be a list, not %s", what, model_quote(n->im->model, v->name),
                   type_string(&n->im->arena, n->im->module, v->type));
    else if (v->data && !list->v)
        node_error(n, "%s %s is of type %s; store it as i64", what, model_quote(n->im->model, v->name),
                   dtype_info[v->type->dtype].name);
    else if (!list->v)
        node_error(n,
                   "%s %s depends on the data of tensors%s; it must be made of sizes and of constants, at most %d of "
                   "them%s",
                   what, model_quote(n->im->model, v->name), by_if(v) ? ", by the condition of an If" : "", MOST_LISTED,
                   by_if(v) ? ": put the node into both branches" : ": make it an initializer of the model");
    return !n->failed;
}

bool node_constants(struct node *n, int i, const char *what, struct ints *ints)
{
    struct list list;
    if (!node_list(n, i, what, &list))
        return false;
    int64_t *v = ARENA_ARRAY(&n->im->arena, int64_t, list.n + 1);
    for (int j = 0; j < list.n; j++)
        if (!dims_to_int(n->im->module, list.v[j], &v[j])) {
            node_error(n, "%s %s must be constant; it holds the size %s", what,
                       model_quote(n->im->model, n->inputs[i]->name),
                       dim_string(&n->im->arena, n->im->module, list.v[j]));
            return false;
        }
    *ints = (struct ints){list.n, v};
    return true;
}

bool node_number(const struct node *n, int i, int64_t element, double *x)
{
    const struct import_value *v = n->inputs[i];
    int64_t k;
    if (v->data && element < v->data->n && v->data->data) {
        *x = import_element(v->data, element);
        return true;
    }
    if (v->list.v && element < v->list.n && dims_to_int(n->im->module, v->list.v[element], &k)) {
        *x = (double)k;
        return true;
    }
    return false;
}

bool node_axis(struct node *n, int64_t axis, int rank, int *out)
{
    if (axis < -rank || axis >= rank) {
        node_error(n, "axis %lld is out of range; rank %d has axes %d to %d", (long long)axis, rank, -rank, rank - 1);
        return false;
    }
    *out = (int)(axis < 0 ? axis + rank : axis);
    return true;
}

bool node_axes(struct node *n, struct ints axes, int rank, bool *chosen)
{
    memset(chosen, 0, sizeof *chosen * MAX_RANK);
    for (int i = 0; i < axes.n; i++) {
        int axis;
        if (!node_axis(n, axes.v[i], rank, &axis))
            return false;
        if (chosen[axis]) {
            node_error(n, "axis %d stands twice", axis);
            return false;
        }
        chosen[axis] = true;
    }
    return true;
}

// ---- Outputs ---------------------------------------------------------------------------------------------------

void node_output_value(struct node *n, int i, const struct import_value *v)
{
    if (i >= n->n_outputs || n->failed)
        return;
    const struct type *t = v->type;
    if (dims_product(n->im->module, t->rank, t->dims) == DIM_UNKNOWN) {
        node_error(n, "the sizes of the result, %s, are too large or too complicated",
                   type_string(&n->im->arena, n->im->module, t));
        return;
    }
    n->outputs[i] = arena_copy(&n->im->arena, v, sizeof *v);
    n->outputs[i]->name = n->proto->output[i];
}

void node_output(struct node *n, int i, struct value *v)
{
    if (v)
        node_output_value(n, i, &(struct import_value){.loc = n->loc, .type = v->type, .value = v});
}

void node_output_list(struct node *n, int i, enum dtype t, int rank, struct list list)
{
    struct import *im = n->im;
    dim size = list.n, *copy = ARENA_ARRAY(&im->arena, dim, list.n + 1);
    for (int j = 0; j < list.n; j++) {
        copy[j] = list.v[j];
        if (copy[j] == DIM_UNKNOWN) {
            node_error(n, "a size of the result is too large or too complicated");
            return;
        }
    }
    struct type *type = type_tensor(im->module, t, rank, &size);
    node_output_value(n, i, &(struct import_value){.loc = n->loc, .type = type, .list = {list.n, copy}});
}
