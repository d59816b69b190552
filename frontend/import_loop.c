// Loop and Scan: a `for` where the number of iterations is known when it begins, else a `while`.
//
//   Loop(M, cond, v) { body(i, c, v) -> c', v', s }        %r, %s = for %t = 0 to M step 1 with (%v = .., %y = %zero) {
//                                                            ..
//                                                    =>      %z = slice_update %y, %element, %t, 0
//                                                            yield %next, %z
//                                                          }
//
// What is carried keeps its type. What an iteration adds to a scan output is written into a tensor of all of them, so
// the number of iterations must be a size; a loop that may end early has no scan outputs.
#include <string.h>

#include "frontend/import_internal.h"

struct loop {
    struct node *n;
    struct import *im;
    struct builder *b;
    struct scope *scope;
    const TgOnnx__GraphProto *body;
    struct block *block, *outer; // of the body; around the loop
    struct value *index;         // in the body
    dim trips;                   // DIM_UNKNOWN: not a size
    int n_states, n_scans;       // outputs
    struct value *initial[MAX_OPERANDS], *next[MAX_OPERANDS];
};

// The body is built in a block of its own, and goes into the loop when that can be made. `inputs` is how
// many the body has, `outputs` how many that are neither states nor scan outputs.
static bool begin(struct loop *c, struct node *n, int n_states, int inputs, int outputs)
{
    *c = (struct loop){.n = n, .im = n->im, .b = &n->im->b, .outer = n->im->b.block, .n_states = n_states};
    c->scope = import_subgraph(n, "body");
    c->body = c->scope ? c->scope->graph->proto : NULL;
    if (!c->body)
        return false;
    if (c->body->n_input != (size_t)inputs) {
        node_error(n, "the body has %zu inputs where %d are wanted", c->body->n_input, inputs);
    } else if (c->body->n_output > MAX_OPERANDS - 4 || (int)c->body->n_output < outputs + n_states) {
        node_error(n, "the body has %zu outputs where %d to %d are wanted", c->body->n_output, outputs + n_states,
                   MAX_OPERANDS - 4);
    } else {
        c->n_scans = (int)c->body->n_output - outputs - n_states;
        if (n->n_outputs > n_states + c->n_scans)
            node_error(n, "has %d outputs; its body gives %d", n->n_outputs, n_states + c->n_scans);
    }
    return !n->failed;
}

static struct value *argument(struct loop *c, struct type *t)
{
    return block_add_arg(c->im->function, c->block, NULL, t);
}

static void define(struct loop *c, int input, struct import_value v)
{
    v.name = c->body->input[input]->name;
    v.loc = c->n->loc;
    v.type = v.value->type;
    import_define(c->im, c->scope, v.name, arena_copy(&c->im->arena, &v, sizeof v));
}

// The states are arguments of the body, inputs from `first` on.
static void define_states(struct loop *c, int first_input, int first)
{
    for (int i = 0; i < c->n_states; i++) {
        c->initial[i] = node_input(c->n, first_input + i);
        define(c, first + i, (struct import_value){.value = argument(c, c->initial[i]->type)});
    }
}

static struct import_value *body_output(struct loop *c, int i)
{
    return import_lookup(c->im, c->scope, c->body->output[i]->name);
}

// The next states, outputs of the body from `first` on, in the types that they begin with.
static bool take_states(struct loop *c, int first)
{
    struct import *im = c->im;
    for (int i = 0; i < c->n_states; i++) {
        struct import_value *v = body_output(c, first + i);
        const struct type *want = c->initial[i]->type;
        if (!v->type) {
            c->n->failed = true;
            return false;
        }
        if (v->type->dtype != want->dtype || v->type->rank != want->rank) {
            node_error(c->n, "state %d begins as %s and goes on as %s; its type must not change", i + 1,
                       type_string(&im->arena, im->module, want), type_string(&im->arena, im->module, v->type));
            return false;
        }
        c->next[i] = import_need(im, v);
        for (int d = 0; d < want->rank && c->next[i]; d++)
            c->next[i] = import_match(c->n, c->next[i], d, want->dims[d]);
        if (!c->next[i])
            return false;
    }
    return true;
}

// Scan output i: what an iteration adds, along an axis, from the end on if it is reversed.
static bool add_scan(struct loop *c, int i, int output, int64_t axis, bool reverse)
{
    struct import *im = c->im;
    struct import_value *v = body_output(c, output);
    int at, carried = c->n_states + i;
    if (!v->type) {
        c->n->failed = true;
        return false;
    }
    if (v->type->rank == MAX_RANK) {
        node_error(c->n, "scan output %d would have %d dimensions; %d is the most", i + 1, MAX_RANK + 1, MAX_RANK);
        return false;
    }
    if (!node_axis(c->n, axis, v->type->rank + 1, &at))
        return false;
    dim all[MAX_RANK], one[MAX_RANK];
    int rank = v->type->rank + 1;
    for (int d = 0, from = 0; d < rank; d++) {
        all[d] = d == at ? c->trips : v->type->dims[from];
        one[d] = d == at ? 1 : v->type->dims[from];
        from += d != at;
    }
    c->initial[carried] = import_constant(im, type_tensor(im->module, v->type->dtype, rank, all), 0);
    struct value *y = argument(c, c->initial[carried]->type), *index = c->index;
    if (reverse)
        index = build_binary(c->b, OP_SUB, dims_build(c->b, dims_sub(im->module, c->trips, 1)), index);
    c->next[carried] = import_slice_update(im, y, import_reshape(im, import_need(im, v), rank, one), index, at);
    return true;
}

// Puts the body into the loop that stands around it.
static void finish(struct loop *c, struct op *op, int block)
{
    op->blocks[block] = c->block;
    c->block->parent = op;
    build_enter(c->b, c->outer);
    build_end(c->b, op);
}

static void make_for(struct loop *c, struct value *end)
{
    int n = c->n_states + c->n_scans;
    struct value *operands[MAX_OPERANDS] = {NULL, end};
    struct type *types[MAX_OPERANDS];
    build_yield(c->b, n, c->next);
    build_enter(c->b, c->outer);
    operands[0] = build_index(c->b, 0);
    operands[2] = build_index(c->b, 1);
    for (int i = 0; i < n; i++) {
        operands[3 + i] = c->initial[i];
        types[i] = c->initial[i]->type;
    }
    struct op *op = build_op(c->b, OP_FOR, 3 + n, operands, 0, NULL, n, types);
    finish(c, op, 0);
    for (int i = 0; i < n; i++)
        node_output(c->n, i, op->results[i]);
}

// ---- Loop ------------------------------------------------------------------------------------------------------

// 1, 0, or -1: it depends.
static int known_truth(const struct import_value *v)
{
    if (v->data && v->data->n == 1)
        return import_element(v->data, 0) != 0;
    if (v->list.v && v->list.n == 1 && !dim_is_symbol(v->list.v[0]))
        return v->list.v[0] != 0;
    return -1;
}

// Carries the counter and the condition as well: the body's first arguments.
static void make_while(struct loop *c, struct value *limit, struct value *go, struct value *next_go)
{
    struct value *operands[MAX_OPERANDS], *next[MAX_OPERANDS];
    struct type *types[MAX_OPERANDS];
    int n = 2 + c->n_states;
    next[0] = build_binary(c->b, OP_ADD, c->index, build_index(c->b, 1));
    next[1] = next_go;
    for (int i = 0; i < c->n_states; i++)
        next[2 + i] = c->next[i];
    build_yield(c->b, n, next);
    build_enter(c->b, c->outer);
    operands[0] = build_index(c->b, 0);
    operands[1] = go;
    for (int i = 0; i < c->n_states; i++)
        operands[2 + i] = c->initial[i];
    for (int i = 0; i < n; i++)
        types[i] = operands[i]->type;
    struct op *op = build_op(c->b, OP_WHILE, n, operands, 0, NULL, n, types);
    for (int i = 0; i < n; i++)
        block_add_arg(c->im->function, op->blocks[0], NULL, types[i]);
    build_enter(c->b, op->blocks[0]);
    struct value **args = op->blocks[0]->args, *goes = args[1];
    if (limit)
        goes = build_binary(c->b, OP_AND, goes, build_binary(c->b, OP_LT, args[0], limit));
    build_op(c->b, OP_CONDITION, 1, &goes, 0, NULL, 0, NULL);
    finish(c, op, 1);
    for (int i = 0; i < c->n_states; i++)
        node_output(c->n, i, op->results[2 + i]);
}

// The number of iterations at most, as an index of the outer block; NULL: no limit.
static struct value *limit_of(struct loop *c)
{
    struct node *n = c->n;
    struct import_value *m = node_has_input(n, 0) ? n->inputs[0] : NULL;
    if (!m)
        return NULL;
    if (m->list.v && m->list.n == 1) {
        c->trips = dims_max(c->im->module, m->list.v[0], 0);
        if (c->trips != DIM_UNKNOWN)
            return dims_build(c->b, c->trips);
    }
    struct value *v = import_scalar(n, m, DTYPE_I64, "the number of iterations");
    return v ? build_cast(c->b, DTYPE_INDEX, v) : NULL;
}

// The body without the argument for a condition that always holds.
static void drop_condition(struct loop *c, struct value *condition, struct op *use)
{
    struct builder at = *c->b;
    at.block = c->block;
    at.before = use;
    use->operands[0] = build_int(&at, condition->type, 1);
    c->block->n_args--;
    memmove(&c->block->args[1], &c->block->args[2], sizeof(struct value *) * (size_t)(c->block->n_args - 1));
}

// Whether scan outputs and the end are possible.
static bool check_end(struct loop *c, const struct value *limit, bool always)
{
    if (c->n_scans && (!always || c->trips == DIM_UNKNOWN))
        node_error(c->n, "has scan outputs, and the number of its iterations is not known before it runs; give M as a "
                         "size or a constant, and no condition");
    else if (always && !limit)
        node_error(c->n, "does not end: it has no number of iterations, and its condition always holds");
    return !c->n->failed;
}

// `first`: what is known of the condition go.
static void make_loop(struct loop *c, struct value *limit, struct value *go, int first)
{
    struct import *im = c->im;
    c->index = argument(c, type_scalar(im->module, DTYPE_INDEX));
    struct value *condition = argument(c, type_scalar(im->module, DTYPE_I1));
    struct value *counter = import_broadcast_to(im, build_cast(c->b, DTYPE_I64, c->index), 0, NULL);
    struct value *holds = import_broadcast_to(im, condition, 0, NULL);
    define(c, 0, (struct import_value){.value = counter, .counter = c->index, .end = c->trips});
    define(c, 1, (struct import_value){.value = holds});
    define_states(c, 2, 2);
    import_nodes(im, c->scope);
    struct import_value *again = body_output(c, 0);
    c->n->failed |= !again->type;
    if (c->n->failed || !take_states(c, 1))
        return;
    bool always = first == 1 && (again->value == holds || known_truth(again) == 1);
    if (!check_end(c, limit, always))
        return;
    for (int i = 0; i < c->n_scans; i++)
        if (!add_scan(c, i, 1 + c->n_states + i, 0, false))
            return;
    if (always) {
        drop_condition(c, condition, holds->def);
        make_for(c, limit);
    } else {
        struct value *next_go = import_scalar(c->n, again, DTYPE_I1, "the condition");
        if (next_go)
            make_while(c, limit, go, next_go);
    }
}

void import_op_loop(struct node *n)
{
    struct loop loop, *c = &loop;
    struct import *im = n->im;
    int states = n->n_inputs > 2 ? n->n_inputs - 2 : 0, agreed = im->n_agreed;
    if (!begin(c, n, states, 2 + states, 1))
        return;
    c->trips = DIM_UNKNOWN;
    int first = node_has_input(n, 1) ? known_truth(n->inputs[1]) : 1;
    struct value *limit = limit_of(c);
    struct value *go = first < 0 ? import_scalar(n, n->inputs[1], DTYPE_I1, "the condition")
                                 : build_int(c->b, type_scalar(im->module, DTYPE_I1), first);
    if (n->failed || !go)
        return;
    c->block = block_create(im->function, NULL);
    build_enter(c->b, c->block);
    make_loop(c, limit, go, first);
    im->n_agreed = agreed; // what the body asserts holds in it only
    build_enter(c->b, c->outer);
}

// ---- Scan ------------------------------------------------------------------------------------------------------

// Entry i of a list that may be absent.
static int64_t entry(struct ints list, int i)
{
    return i < list.n ? list.v[i] : 0;
}

// The axes of the inputs, and the number of iterations, which is the size of all.
static bool find_trips(struct loop *c, int n_inputs, int *axes)
{
    struct node *n = c->n;
    struct ints list = node_ints(n, "scan_input_axes");
    for (int i = 0; i < n_inputs; i++) {
        const struct type *t = node_type(n, c->n_states + i);
        if (!node_axis(n, entry(list, i), t->rank, &axes[i]))
            return false;
        c->trips = i ? import_agree(n, c->trips, t->dims[axes[i]]) : t->dims[axes[i]];
        if (c->trips == DIM_UNKNOWN)
            return false;
    }
    return true;
}

static void define_element(struct loop *c, int i, struct value *x, int axis, bool reverse)
{
    struct import *im = c->im;
    struct value *index = c->index;
    dim dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < x->type->rank; d++)
        if (d != axis)
            dims[rank++] = x->type->dims[d];
    if (reverse)
        index = build_binary(c->b, OP_SUB, dims_build(c->b, dims_sub(im->module, c->trips, 1)), index);
    struct value *part = import_reshape(im, import_dynamic_slice(im, x, index, axis, 1), rank, dims);
    define(c, c->n_states + i, (struct import_value){.value = part});
}

void import_op_scan_body(struct node *n)
{
    struct loop loop, *c = &loop;
    struct import *im = n->im;
    struct value *x[MAX_OPERANDS];
    int64_t inputs = node_int(n, "num_scan_inputs", 0);
    int axes[MAX_OPERANDS], agreed;
    if (inputs < 1 || inputs > n->n_inputs || inputs > MAX_OPERANDS) {
        node_error(n, "'num_scan_inputs' is %lld of %d inputs", (long long)inputs, n->n_inputs);
        return;
    }
    if (!begin(c, n, n->n_inputs - (int)inputs, n->n_inputs, 0) || !find_trips(c, (int)inputs, axes))
        return;
    for (int i = 0; i < inputs; i++)
        if (!(x[i] = import_match(n, node_input(n, c->n_states + i), axes[i], c->trips)))
            return;
    agreed = im->n_agreed;
    struct value *end = dims_build(c->b, c->trips);
    c->block = block_create(im->function, NULL);
    build_enter(c->b, c->block);
    c->index = argument(c, type_scalar(im->module, DTYPE_INDEX));
    define_states(c, 0, 0);
    for (int i = 0; i < inputs; i++)
        define_element(c, i, x[i], axes[i], entry(node_ints(n, "scan_input_directions"), i) != 0);
    import_nodes(im, c->scope);
    bool good = take_states(c, 0);
    for (int i = 0; i < c->n_scans && good; i++)
        good = add_scan(c, i, c->n_states + i, entry(node_ints(n, "scan_output_axes"), i),
                        entry(node_ints(n, "scan_output_directions"), i) != 0);
    if (good && !n->failed)
        make_for(c, end);
    im->n_agreed = agreed; // what the body asserts holds in it only
    build_enter(c->b, c->outer);
}

void import_op_scan_batches(struct node *n)
{
    node_error(n, "version 8, over batches, is not supported; convert the model to version 9 or later");
}
