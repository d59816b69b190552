// What the verifier asks of a function as a whole: its names, parameters, grid or arena, and outputs.
#include <string.h>

#include "ir/dims.h"
#include "ir/lex.h"
#include "ir/verify_internal.h"

static void check_grid(struct verifier *v)
{
    struct function *k = v->k;
    const struct op *end = block_terminator(k->grid);
    if (k->grid->n_args || k->body->n_args)
        ERROR(v, k->loc, "the grid and the body of kernel @%s take no block arguments", k->name);
    if (!end || end->code != OP_YIELD) {
        ERROR(v, k->loc, "kernel @%s has no grid: end its grid block with a yield of 1 to 3 sizes", k->name);
        return;
    }
    if (end->n_operands < 1 || end->n_operands > 3) {
        ERROR(v, end->loc, "the grid of kernel @%s has %d sizes; give 1 to 3", k->name, end->n_operands);
        return;
    }
    v->n_grid = end->n_operands;
    for (int i = 0; i < end->n_operands; i++) {
        const struct type *t = end->operands[i]->type;
        if (t->kind != TYPE_SCALAR || t->dtype != DTYPE_INDEX)
            ERROR(v, end->loc, "size %d of the grid, %s, is %s; it must be index", i, verify_name(v, end->operands[i]),
                  verify_type_text(v, t));
    }
}

// A host's arena, if it has one yet, is a number of bytes.
static void check_arena(struct verifier *v)
{
    const struct function *h = v->k;
    const struct op *end = block_terminator(h->grid);
    if (h->grid->n_args || h->body->n_args)
        ERROR(v, h->loc, "the arena and the body of host @%s take no block arguments", h->name);
    if (!h->grid->first)
        return;
    const struct type *t = end && end->code == OP_YIELD && end->n_operands == 1 ? end->operands[0]->type : NULL;
    if (!t || t->kind != TYPE_SCALAR || t->dtype != DTYPE_INDEX)
        ERROR(v, end ? end->loc : h->loc, "the arena of host @%s must end in a yield of its bytes, one index", h->name);
}

// ---- Parameters and results --------------------------------------------------------------------------------------

static void declare_size(void *data, int id)
{
    ((struct verifier *)data)->sizes[id] = true;
}

static void check_parameter(struct verifier *v, int i)
{
    struct function *k = v->k;
    struct value *x = k->params[i];
    bool kernel = k->kind == FUNCTION_KERNEL; // a C function has its names
    if (!x->name && kernel)
        ERROR(v, k->loc, "parameter %d of kernel @%s has no name", i + 1, k->name);
    else if (kernel && !lex_is_identifier(x->name))
        ERROR(v, k->loc, "the parameter name '%s' of kernel @%s is not a C identifier", x->name, k->name);
    for (int j = 0; kernel && j < i; j++)
        if (x->name && k->params[j]->name && !strcmp(x->name, k->params[j]->name))
            ERROR(v, k->loc, "kernel @%s has two parameters %s; rename one", k->name, verify_name(v, x));
    if (!(verify_rules[k->kind].parameters >> x->type->kind & 1))
        ERROR(v, k->loc, "parameter %s of %s @%s is %s%s", verify_name(v, x), verify_word(k), k->name,
              verify_type_words[x->type->kind],
              x->type->kind == TYPE_TILE  ? "; pass a view and load from it"
              : k->kind == FUNCTION_GRAPH ? "; the parameters of a graph are tensors"
              : k->kind == FUNCTION_HOST  ? "; the parameters of a host function are views"
                                          : "; the parameters of a kernel are views and scalars");
    if (x->def || x->block || x->symbol >= 0)
        ERROR(v, k->loc, "parameter %s of %s @%s names another definition", verify_name(v, x), verify_word(k), k->name);
    for (int d = 0; d < 2 * x->type->rank; d++) {
        bool stride = d >= x->type->rank;
        dim size = stride ? x->type->strides[d - x->type->rank] : x->type->dims[d];
        if (stride && !x->type->strided)
            break;
        dims_symbols(v->m, size, declare_size, v);
        if (kernel && dims_is_expression(v->m, size))
            ERROR(v, k->loc,
                  "%s in %s of kernel @%s is an expression; give the kernel a size of its own and pass the value",
                  dim_string(&v->m->arena, v->m, size), verify_name(v, x), k->name);
    }
}

// Users find inputs and outputs by their names.
static void check_names(struct verifier *v, const char *what, int n, const char *const *names)
{
    for (int i = 0; names && i < n; i++)
        for (int j = 0; j < i; j++)
            if (names[i] && names[j] && !strcmp(names[i], names[j]))
                ERROR(v, v->k->loc, "%s @%s has two %ss named \"%s\"; rename one", verify_word(v->k), v->k->name, what,
                      names[i]);
}

static void check_symbols(struct verifier *v)
{
    struct function *k = v->k;
    for (int i = 0; i < v->m->n_symbols; i++) {
        bool used = v->sizes[i] || (i < k->n_symbols && k->symbols[i]);
        if (used && !dims_is_expression(v->m, dim_symbol(i)) && !lex_is_identifier(v->m->symbols[i]))
            ERROR(v, k->loc, "the size '%s' of %s @%s is not a C identifier", v->m->symbols[i], verify_word(k),
                  k->name);
    }
    for (int i = 0; i < k->n_symbols; i++) {
        if (!k->symbols[i])
            continue;
        if (dims_is_expression(v->m, dim_symbol(i)))
            ERROR(v, k->loc, "the size %s of %s @%s is an expression; %s", v->m->symbols[i], verify_word(k), k->name,
                  k->kind == FUNCTION_KERNEL ? "give the kernel a size of its own and pass the value"
                                             : "compute it from the sizes in it");
        verify_define(v, k->symbols[i], k->loc);
        verify_sizes(v, 1, &(dim){dim_symbol(i)}, k->loc);
    }
}

static void check_params(struct verifier *v)
{
    struct function *k = v->k;
    if (module_function(v->m, k->name) != k)
        ERROR(v, k->loc, "there are two functions @%s; rename one", k->name);
    if (!lex_is_identifier(k->name))
        ERROR(v, k->loc, "the %s name '%s' is not a C identifier; use letters, digits and _", verify_word(k), k->name);
    for (int i = 0; i < k->n_params; i++) {
        check_parameter(v, i);
        v->visible[k->params[i]->id] = k->params[i];
    }
    check_symbols(v);
    if (k->kind == FUNCTION_KERNEL)
        return;
    check_names(v, "input", k->n_inputs, k->input_names);
    check_names(v, "output", k->n_outputs, k->output_names);
    int wanted = k->kind == FUNCTION_HOST ? k->n_inputs + k->n_outputs : k->n_inputs;
    if (wanted != k->n_params)
        ERROR(v, k->loc, "%s @%s has %d parameters for %d inputs and %d outputs", verify_word(k), k->name, k->n_params,
              k->n_inputs, k->n_outputs);
}

// A graph's body ends in a yield of its outputs.
static void check_outputs(struct verifier *v)
{
    const struct function *g = v->k;
    const struct op *end = block_terminator(g->body);
    if (g->grid->first || g->grid->n_args || g->body->n_args)
        ERROR(v, g->loc, "graph @%s has a grid or block arguments; graphs have neither", g->name);
    if (!end || end->code != OP_YIELD) {
        ERROR(v, g->loc, "graph @%s does not end in a yield of its outputs", g->name);
        return;
    }
    if (end->n_operands != g->n_outputs)
        ERROR(v, end->loc, "graph @%s yields %d values and has %d outputs", g->name, end->n_operands, g->n_outputs);
    for (int i = 0; i < end->n_operands; i++)
        if (end->operands[i]->type->kind != TYPE_TENSOR)
            ERROR(v, end->loc,
                  "output %d of graph @%s is %s; an output is a tensor, as broadcast makes one of a scalar", i + 1,
                  g->name, verify_type_text(v, end->operands[i]->type));
}

void verify_signature(struct verifier *v)
{
    check_params(v);
    if (v->k->kind == FUNCTION_KERNEL)
        check_grid(v);
    else if (v->k->kind == FUNCTION_GRAPH)
        check_outputs(v);
    else
        check_arena(v);
}
