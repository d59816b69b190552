// Control flow. (Functions of the model are inlined; see import.c.)
#include <string.h>

#include "frontend/import_internal.h"

struct scope *import_subgraph(struct node *n, const char *attribute)
{
    struct import *im = n->im;
    const struct model_graph *graph = model_subgraph(im->model, node_attribute(n, attribute)->g);
    struct scope *outer = graph ? n->scope : NULL;
    while (outer && outer->graph != graph->outer) // the attribute of a call stands outside of the function
        outer = outer->outer ? outer->outer : outer->call ? outer->call->scope : NULL;
    if (!outer)
        node_error(n, "'%s' is not a graph of this model", attribute);
    return outer ? import_scope(im, outer, graph) : NULL;
}

// Imports a branch at the current place. NULL if it failed; its values otherwise.
static struct import_value **import_branch(struct node *n, int i)
{
    struct import *im = n->im;
    struct scope *s = import_subgraph(n, i ? "else_branch" : "then_branch");
    const TgOnnx__GraphProto *g = s ? s->graph->proto : NULL;
    if (!g)
        return NULL;
    if (g->n_input) {
        node_error(n, "a branch has inputs");
        return NULL;
    }
    if (g->n_output != (size_t)n->n_outputs) {
        node_error(n, "the branches have %zu and the node %d outputs", g->n_output, n->n_outputs);
        return NULL;
    }
    import_nodes(im, s);
    struct import_value **out = ARENA_ARRAY(&im->arena, struct import_value *, g->n_output + 1);
    bool good = true;
    for (size_t j = 0; j < g->n_output; j++) {
        out[j] = import_lookup(im, s, g->output[j]->name);
        good &= out[j]->type != NULL;
    }
    n->failed |= !good;
    return good ? out : NULL;
}

// ---- If --------------------------------------------------------------------------------------------------------

#define MOST_DEPTH 12 // of the arithmetic that is looked through for sizes

struct open_sizes {
    const struct import *im;
    bool *seen; // by symbol
};

static void see_size(void *sizes, int id)
{
    ((struct open_sizes *)sizes)->seen[id] = true;
}

// Whether the value is computed from sizes and constants alone; notes the open ones.
static bool made_of_sizes(const struct value *v, int depth, struct open_sizes *sizes)
{
    const struct op *op = v->def;
    if (!op || !depth || op->n_blocks)
        return false;
    if (op->code == OP_SIZES) {
        struct dims dims = op_attr(op, ATTR_DIMS)->dims;
        for (int i = 0; i < dims.n; i++)
            dims_symbols(sizes->im->module, dims.v[i], see_size, sizes);
    }
    for (int i = 0; i < op->n_operands; i++)
        if (!made_of_sizes(op->operands[i], depth - 1, sizes))
            return false;
    return op->n_operands || op->code == OP_SIZES || op->code == OP_CONSTANT || op->code == OP_DATA;
}

// What would leave one branch, for a message.
static const char *remedy(struct node *n)
{
    struct import *im = n->im;
    struct open_sizes sizes = {im, ARENA_ARRAY(&im->arena, bool, im->module->n_symbols + 1)};
    const char *names = "";
    if (made_of_sizes(node_input(n, 0), MOST_DEPTH, &sizes))
        for (const struct symbol_name *s = im->symbols; s; s = s->next)
            if (sizes.seen[s->id])
                names = arena_printf(&im->arena, " --dim %s=SIZE%s", s->name, names);
    return *names
               ? arena_printf(
                     &im->arena,
                     "give the sizes that the condition is about when compiling, by%s, which leaves one branch", names)
               : "make them so, or the condition a constant";
}

// Whether the sizes are equal, or sizes of different things that an assert can see to.
static bool same_sizes(struct import *im, dim a, dim b)
{
    int64_t difference;
    bool constant = dims_to_int(im->module, dims_sub(im->module, a, b), &difference);
    return constant ? !difference : !import_sizes_differ(im, a, b);
}

// Makes the results of the second branch be of the types of the first.
static bool match_types(struct node *n, struct value **then, struct value **otherwise)
{
    struct import *im = n->im;
    for (int i = 0; i < n->n_outputs; i++) {
        const struct type *t = then[i]->type, *u = otherwise[i]->type;
        bool same = t->dtype == u->dtype && t->rank == u->rank;
        for (int d = 0; d < t->rank && same; d++)
            same = same_sizes(im, t->dims[d], u->dims[d]);
        if (!same) {
            node_error(n, "output %d is %s in one branch and %s in the other; both must be of one type: %s", i + 1,
                       type_string(&im->arena, im->module, t), type_string(&im->arena, im->module, u), remedy(n));
            return false;
        }
        for (int d = 0; d < t->rank; d++) {
            otherwise[i] = import_match(n, otherwise[i], d, t->dims[d]);
            if (!otherwise[i])
                return false;
        }
    }
    return true;
}

// Whether both branches give the same list of sizes, which then is known.
static bool same_list(const struct import_value *a, const struct import_value *b)
{
    return a->list.v && b->list.v && a->list.n == b->list.n && a->type->dtype == b->type->dtype &&
           a->type->rank == b->type->rank && !memcmp(a->list.v, b->list.v, sizeof(dim) * (size_t)a->list.n);
}

struct value *import_scalar(struct node *n, struct import_value *v, enum dtype want, const char *what)
{
    struct import *im = n->im;
    const struct type *t = v->type;
    if (t->dtype != want || dims_product(im->module, t->rank, t->dims) != 1) {
        node_error(n, "%s %s must be one %s, not %s", what, model_quote(im->model, v->name), dtype_info[want].name,
                   type_string(&im->arena, im->module, t));
        return NULL;
    }
    struct value *operands[MAX_RANK + 1] = {import_need(im, v)};
    for (int d = 0; d < t->rank; d++)
        operands[1 + d] = build_index(&im->b, 0);
    return build_value(&im->b, OP_EXTRACT, t->rank + 1, operands, 0, NULL, NULL);
}

void import_op_if(struct node *n)
{
    struct import *im = n->im;
    struct list known = n->inputs[0]->list;
    double truth;
    if (n->n_outputs > MAX_OPERANDS) {
        node_error(n, "has %d outputs; %d is the most", n->n_outputs, MAX_OPERANDS);
        return;
    }
    if ((known.v && known.n == 1) || n->inputs[0]->data) { // one branch only
        if (node_type(n, 0)->dtype == DTYPE_I1 && node_number(n, 0, 0, &truth)) {
            struct import_value **out = import_branch(n, truth ? 0 : 1);
            for (int i = 0; out && i < n->n_outputs; i++)
                node_output_value(n, i, out[i]);
            return;
        }
    }
    struct value *c = import_scalar(n, n->inputs[0], DTYPE_I1, "the condition");
    if (!c)
        return;
    // The results' types come from the branches, so the operation is checked at its end.
    struct op *op = build_op(&im->b, OP_IF, 1, &c, 0, NULL, n->n_outputs, NULL);
    struct value **results[2] = {NULL};
    struct import_value **values[2];
    bool good = true;
    for (int i = 0; i < 2; i++) {
        int agreed = im->n_agreed; // what a branch asserts holds in it only
        build_enter(&im->b, op->blocks[i]);
        struct import_value **out = values[i] = import_branch(n, i);
        results[i] = ARENA_ARRAY(&im->arena, struct value *, n->n_outputs + 1);
        for (int j = 0; out && j < n->n_outputs; j++)
            results[i][j] = import_need(im, out[j]);
        good &= out && (!i || (good && match_types(n, results[0], results[1])));
        if (good)
            build_yield(&im->b, n->n_outputs, results[i]);
        im->n_agreed = agreed;
    }
    build_enter(&im->b, op->block);
    for (int i = 0; i < n->n_outputs && good; i++)
        op->results[i]->type = results[0][i]->type;
    if (!good)
        return; // reported; the module is not kept
    build_end(&im->b, op);
    for (int i = 0; i < n->n_outputs; i++) {
        const struct import_value *v = values[0][i];
        if (same_list(v, values[1][i]))
            node_output_list(n, i, v->type->dtype, v->type->rank, v->list);
        else
            node_output(n, i, op->results[i]);
    }
}
