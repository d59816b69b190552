// RNN, GRU and LSTM: a loop over the steps for each direction.
//
//   %xw = einsum "abi,gi->abg" %x, %w           the products with W of all steps are one; biases are added to it
//   %h, %c, %y = for %t = 0 to S step 1 with (%h = %h0, %c = %c0, %y = %zero) {
//     %xt = dynamic_slice %xw, %t, 0
//     %z = add einsum("bk,gk->bg", %h, %r), %xt   the gates are slices of it
//     ..
//     %y = slice_update %y, %h, %t, 0
//   }
//
// A reversed direction counts the steps down. A sequence that is shorter than the others keeps its state where it has
// ended, so that a reversed direction begins at its last element; what Y holds behind its end is 0.
#include <ctype.h>
#include <string.h>

#include "frontend/import_internal.h"

#define MOST_STATES 2
#define MOST_ACTIVATIONS 3 // of a direction

// ---- Activations -----------------------------------------------------------------------------------------------

static const struct function_row {
    const char *name; // in small letters
    int parameters;   // 1: alpha, 2: beta too
    double alpha, beta;
    enum opcode code; // or else:
    enum activation activation;
} functions[] = {
    {"affine", 2, 1, 0, OP_NONE, ACTIVATION_AFFINE},
    {"elu", 1, 1, 0, OP_NONE, ACTIVATION_ELU},
    {"hardsigmoid", 2, (double)0.2f, 0.5, OP_NONE, ACTIVATION_HARD_SIGMOID},
    {"leakyrelu", 1, (double)0.01f, 0, OP_NONE, ACTIVATION_LEAKY_RELU},
    {"relu", 0, 0, 0, OP_RELU, 0},
    {"scaledtanh", 2, 1, 1, OP_NONE, ACTIVATION_SCALED_TANH},
    {"sigmoid", 0, 0, 0, OP_SIGMOID, 0},
    {"softplus", 0, 0, 0, OP_SOFTPLUS, 0},
    {"softsign", 0, 0, 0, OP_NONE, ACTIVATION_SOFTSIGN},
    {"tanh", 0, 0, 0, OP_TANH, 0},
    {"thresholdedrelu", 1, 1, 0, OP_NONE, ACTIVATION_THRESHOLDED_RELU},
};

struct use {
    const struct function_row *row;
    double alpha, beta;
};

static const struct function_row *find_function(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        size_t c = 0;
        while (name[c] && tolower((unsigned char)name[c]) == functions[i].name[c])
            c++;
        if (!name[c] && !functions[i].name[c])
            return &functions[i];
    }
    return NULL;
}

// The next number of a list; what it lacks is the default.
static double next_number(const TgOnnx__AttributeProto *list, size_t *at, double otherwise)
{
    return list && *at < list->n_floats ? (double)list->floats[(*at)++] : otherwise;
}

// Lists of alphas and betas have entries for those functions alone that take one.
static bool read_functions(struct node *n, int count, int each, const char *const *usual, struct use *out)
{
    struct import *im = n->im;
    const TgOnnx__AttributeProto *names = node_attribute(n, "activations");
    const TgOnnx__AttributeProto *alphas = node_attribute(n, "activation_alpha");
    const TgOnnx__AttributeProto *betas = node_attribute(n, "activation_beta");
    size_t alpha = 0, beta = 0;
    if (names && names->n_strings && names->n_strings != (size_t)count) {
        node_error(n, "'activations' has %zu entries; %d are wanted", names->n_strings, count);
        return false;
    }
    for (int i = 0; i < count; i++) {
        const char *name = usual[i % each];
        if (names && names->n_strings)
            name = arena_strndup(&im->arena, (const char *)names->strings[i].data, names->strings[i].len);
        const struct function_row *row = find_function(name);
        if (!row) {
            node_error(n, "there is no activation %s", model_quote(im->model, name));
            return false;
        }
        out[i] = (struct use){row, row->alpha, row->beta};
        if (row->parameters > 0)
            out[i].alpha = next_number(alphas, &alpha, row->alpha);
        if (row->parameters > 1)
            out[i].beta = next_number(betas, &beta, row->beta);
    }
    return true;
}

// ---- The node --------------------------------------------------------------------------------------------------

struct recurrence {
    struct node *n;
    struct import *im;
    enum dtype t;
    int gates, states, directions;
    bool reverse;     // the first direction
    bool batch_first; // of x, y and the states: 'layout' 1
    dim steps, batch, inputs, hidden;
    double clip; // 0: none
    struct value *x, *w, *r;
    struct value *bias, *lengths, *initial[MOST_STATES], *peepholes; // NULL: not given
    int n_functions;                                                 // of a direction
    struct use functions[2 * MOST_ACTIVATIONS];
};

static dim times(const struct recurrence *c, int64_t k)
{
    return dims_mul(c->im->module, c->hidden, k);
}

static bool read_attributes(struct recurrence *c, const char *const *usual)
{
    struct node *n = c->n;
    const char *direction = node_string(n, "direction", "forward");
    bool both = !strcmp(direction, "bidirectional");
    c->reverse = !strcmp(direction, "reverse");
    c->directions = both ? 2 : 1;
    c->batch_first = node_int(n, "layout", 0) != 0;
    c->clip = node_float(n, "clip", 0);
    if (!both && !c->reverse && strcmp(direction, "forward"))
        node_error(n, "'direction' must be forward, reverse or bidirectional, not %s",
                   model_quote(c->im->model, direction));
    if (c->clip < 0)
        node_error(n, "'clip' must not be negative");
    return !n->failed && read_functions(n, c->directions * c->n_functions, c->n_functions, usual, c->functions);
}

// Input i with these sizes, in the type of x; NULL after node_error.
static struct value *input(const struct recurrence *c, int i, enum dtype t, int rank, const dim *dims)
{
    struct node *n = c->n;
    const struct type *have = node_type(n, i);
    if (have->rank != rank || have->dtype != t) {
        node_error(n, "input %s must be %s of %d dimensions, not %s", model_quote(n->im->model, n->inputs[i]->name),
                   dtype_info[t].name, rank, type_string(&n->im->arena, n->im->module, have));
        return NULL;
    }
    struct value *v = node_input(n, i);
    for (int d = 0; d < rank && v; d++)
        v = import_match(n, v, d, dims[d]);
    return v;
}

// The sizes come from x and R, and from attributes where they are there.
static bool find_sizes(struct recurrence *c)
{
    struct node *n = c->n;
    for (int i = 0; i < 3; i++)
        if (node_type(n, i)->rank != 3) {
            node_error(n, "input %s must have 3 dimensions, not %s", model_quote(n->im->model, n->inputs[i]->name),
                       type_string(&n->im->arena, n->im->module, node_type(n, i)));
            return false;
        }
    const struct type *x = node_type(n, 0);
    int64_t hidden = node_int(n, "hidden_size", 0);
    c->t = x->dtype;
    if (!dtype_is_float(c->t)) {
        node_error(n, "is defined for floats; input %s is %s", model_quote(n->im->model, n->inputs[0]->name),
                   dtype_info[c->t].name);
        return false;
    }
    c->steps = x->dims[c->batch_first];
    c->batch = x->dims[!c->batch_first];
    c->inputs = import_agree(n, x->dims[2], node_type(n, 1)->dims[2]);
    c->hidden = node_type(n, 2)->dims[2];
    if (hidden > 0)
        c->hidden = import_agree(n, c->hidden, dims_from_int(c->im->module, hidden));
    return c->inputs != DIM_UNKNOWN && c->hidden != DIM_UNKNOWN;
}

// Index 7 is LSTM's alone.
static bool read_inputs(struct recurrence *c)
{
    struct node *n = c->n;
    int d = c->directions;
    dim rows = times(c, c->gates), state[3] = {d, c->batch, c->hidden}, x[3] = {c->steps, c->batch, c->inputs};
    if (c->batch_first) {
        state[0] = c->batch;
        state[1] = d;
        x[0] = c->batch;
        x[1] = c->steps;
    }
    c->x = input(c, 0, c->t, 3, x);
    c->w = c->x ? input(c, 1, c->t, 3, (dim[]){d, rows, c->inputs}) : NULL;
    c->r = c->w ? input(c, 2, c->t, 3, (dim[]){d, rows, c->hidden}) : NULL;
    if (node_has_input(n, 3) && !n->failed)
        c->bias = input(c, 3, c->t, 2, (dim[]){d, times(c, 2 * c->gates)});
    if (node_has_input(n, 4) && !n->failed)
        c->lengths = input(c, 4, DTYPE_I32, 1, &c->batch);
    for (int i = 0; i < c->states && !n->failed; i++)
        if (node_has_input(n, 5 + i))
            c->initial[i] = input(c, 5 + i, c->t, 3, state);
    if (node_has_input(n, 7) && !n->failed)
        c->peepholes = input(c, 7, c->t, 2, (dim[]){d, times(c, 3)});
    return !n->failed;
}

// What a direction has of an input, without the dimension of directions.
static struct value *of_direction(const struct recurrence *c, struct value *v, int axis, int direction)
{
    dim dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < v->type->rank; d++)
        if (d != axis)
            dims[rank++] = v->type->dims[d];
    return import_reshape(c->im, import_slice_axis(c->im, v, axis, direction, 1, 1), rank, dims);
}

// Block `first` of the size of the hidden state, and those up to `end`, along the last axis.
static struct value *blocks(const struct recurrence *c, struct value *v, int first, int end)
{
    return import_slice_axis(c->im, v, v->type->rank - 1, times(c, first), 1, times(c, end - first));
}

static struct value *block(const struct recurrence *c, struct value *v, int i)
{
    return blocks(c, v, i, i + 1);
}

// ---- Cells -----------------------------------------------------------------------------------------------------

// One direction.
struct cell {
    const struct recurrence *c;
    struct node *n;
    struct value *r;      // [gates * hidden, hidden]
    struct value *r_bias; // to be added to products with r; NULL: has been added to x
    struct value *p;      // peepholes; NULL: none
    const struct use *functions;
};

static struct value *add(const struct cell *s, struct value *x, struct value *y)
{
    return x && y ? import_binary(s->n, OP_ADD, x, y) : NULL;
}

static struct value *mul(const struct cell *s, struct value *x, struct value *y)
{
    return x && y ? import_binary(s->n, OP_MUL, x, y) : NULL;
}

static struct value *one_less(const struct cell *s, struct value *x)
{
    return import_binary(s->n, OP_SUB, import_number(s->n, x->type->dtype, 1), x);
}

static struct value *apply(const struct cell *s, int i, struct value *x)
{
    const struct use *f = &s->functions[i];
    if (f->row->code != OP_NONE)
        return import_unary(s->n, f->row->code, x);
    return import_activation(s->n, f->row->activation, x, f->alpha, f->beta);
}

// Function i of a gate, which is clipped.
static struct value *activate(const struct cell *s, int i, struct value *x)
{
    double clip = s->c->clip;
    if (clip > 0) {
        x = import_binary(s->n, OP_MIN, x, import_number(s->n, x->type->dtype, clip));
        x = import_binary(s->n, OP_MAX, x, import_number(s->n, x->type->dtype, -clip));
    }
    return apply(s, i, x);
}

// The state times gates `first` up to `end` of R.
static struct value *recur(const struct cell *s, struct value *h, int first, int end)
{
    const struct recurrence *c = s->c;
    struct value *r = import_slice_axis(c->im, s->r, 0, times(c, first), 1, times(c, end - first));
    return import_einsum(c->im, "bk,gk->bg", h, r);
}

static void rnn_step(const struct cell *s, struct value *x, struct value *const *state, struct value **next)
{
    next[0] = activate(s, 0, add(s, recur(s, state[0], 0, 1), x));
}

// Gates z, r, h. If the reset is linear, R is applied before it, to all gates at once.
static void gru_step(const struct cell *s, struct value *x, struct value *const *state, struct value **next)
{
    const struct recurrence *c = s->c;
    bool linear = node_int(s->n, "linear_before_reset", 0) != 0;
    struct value *h = state[0], *product = recur(s, h, 0, linear ? 3 : 2), *new;
    if (!linear)
        product = add(s, product, blocks(c, x, 0, 2));
    else if (s->r_bias)
        product = add(s, product, s->r_bias);
    struct value *gate[2];
    for (int i = 0; i < 2; i++) {
        gate[i] = block(c, product, i);
        gate[i] = activate(s, 0, linear ? add(s, gate[i], block(c, x, i)) : gate[i]);
    }
    if (linear)
        new = mul(s, gate[1], block(c, product, 2));
    else
        new = recur(s, mul(s, gate[1], h), 2, 3);
    new = activate(s, 1, add(s, new, block(c, x, 2)));
    next[0] = add(s, mul(s, one_less(s, gate[0]), new), mul(s, gate[0], h));
}

// A gate, and what it sees of the cell's state through peephole i.
static struct value *peep(const struct cell *s, struct value *gate, int i, struct value *state)
{
    return s->p ? add(s, gate, mul(s, block(s->c, s->p, i), state)) : gate;
}

// Gates i, o, f, c; peepholes i, o, f. Without peepholes gate o does not wait for the new state, and is computed early:
// the kernel of what follows takes in what only it reads.
static void lstm_step(const struct cell *s, struct value *x, struct value *const *state, struct value **next)
{
    const struct recurrence *c = s->c;
    struct value *z = add(s, recur(s, state[0], 0, 4), x);
    struct value *o = s->p ? NULL : activate(s, 0, block(c, z, 1));
    struct value *i = activate(s, 0, peep(s, block(c, z, 0), 0, state[1])), *f;
    if (node_int(s->n, "input_forget", 0))
        f = one_less(s, i);
    else
        f = activate(s, 0, peep(s, block(c, z, 2), 2, state[1]));
    next[1] = add(s, mul(s, f, state[1]), mul(s, i, activate(s, 1, block(c, z, 3))));
    if (s->p)
        o = activate(s, 0, peep(s, block(c, z, 1), 1, next[1]));
    next[0] = mul(s, o, apply(s, 2, next[1]));
}

typedef void step_function(const struct cell *s, struct value *x, struct value *const *state, struct value **next);

// ---- Loops -----------------------------------------------------------------------------------------------------

// The products of all steps with W, and the biases that can be added to them.
static struct value *all_products(struct cell *s, int direction)
{
    const struct recurrence *c = s->c;
    struct value *v = import_einsum(c->im, "abi,gi->abg", c->x, of_direction(c, c->w, 0, direction));
    if (!c->bias)
        return v;
    struct value *bias = of_direction(c, c->bias, 0, direction);
    struct value *w_bias = blocks(c, bias, 0, c->gates), *r_bias = blocks(c, bias, c->gates, 2 * c->gates);
    if (node_has(s->n, "linear_before_reset") && node_int(s->n, "linear_before_reset", 0))
        s->r_bias = r_bias;
    else
        w_bias = add(s, w_bias, r_bias);
    return add(s, v, w_bias);
}

// Where a direction starts, and zeros for Y to begin with.
static void initial_values(const struct recurrence *c, int direction, struct value **v)
{
    dim y[4] = {c->steps, 1, c->batch, c->hidden}, state[2] = {c->batch, c->hidden};
    if (c->batch_first)
        memcpy(y, (dim[]){c->batch, c->steps, 1, c->hidden}, sizeof y);
    for (int i = 0; i < c->states; i++)
        v[i] = c->initial[i] ? of_direction(c, c->initial[i], c->batch_first, direction)
                             : import_constant(c->im, type_tensor(c->im->module, c->t, 2, state), 0);
    v[c->states] = import_constant(c->im, type_tensor(c->im->module, c->t, 4, y), 0);
}

// Whether each sequence has an element at the index: [batch, hidden].
static struct value *within(const struct recurrence *c, struct value *index)
{
    struct value *length = import_reshape(c->im, c->lengths, 2, (dim[]){c->batch, 1});
    length = import_broadcast_to(c->im, length, 2, (dim[]){c->batch, c->hidden});
    return build_binary(&c->im->b, OP_LT, build_cast(&c->im->b, DTYPE_I32, index), length);
}

// The body of the loop. False after node_error.
static bool step(const struct cell *s, struct value *products, step_function *function, struct value *index,
                 struct value *const *state, bool wants_y)
{
    const struct recurrence *c = s->c;
    struct value *next[MOST_STATES + 1] = {NULL};
    int time = c->batch_first, n = c->states;
    struct value *x = import_dynamic_slice(c->im, products, index, time, 1);
    x = import_reshape(c->im, x, 2, (dim[]){c->batch, times(c, c->gates)});
    function(s, x, state, next);
    struct value *y = next[0];
    struct value *valid = c->lengths ? within(c, index) : NULL;
    for (int i = 0; i < c->states && valid && next[i]; i++) {
        if (i == 0)
            y = import_select(c->n, valid, y, import_number(c->n, c->t, 0));
        next[i] = import_select(c->n, valid, next[i], state[i]);
    }
    if (c->n->failed || !y)
        return false;
    if (wants_y) {
        dim part[4] = {1, 1, c->batch, c->hidden};
        if (c->batch_first)
            memcpy(part, (dim[]){c->batch, 1, 1, c->hidden}, sizeof part);
        next[n] = import_slice_update(c->im, state[n], import_reshape(c->im, y, 4, part), index, time);
    }
    build_yield(&c->im->b, n + wants_y, next);
    return true;
}

// The last states, and Y if it is wanted, of a direction. NULL after node_error.
static struct op *run(const struct recurrence *c, int direction, step_function *function)
{
    struct builder *b = &c->im->b;
    struct cell s = {.c = c, .n = c->n, .functions = &c->functions[direction * c->n_functions]};
    bool reverse = direction || c->reverse, wants_y = node_wants(c->n, 0);
    struct value *initial[MOST_STATES + 1], *products = all_products(&s, direction);
    s.r = of_direction(c, c->r, 0, direction);
    s.p = c->peepholes ? of_direction(c, c->peepholes, 0, direction) : NULL;
    initial_values(c, direction, initial);
    struct value *last = reverse ? dims_build(b, dims_sub(c->im->module, c->steps, 1)) : NULL;
    struct value *zero = build_index(b, 0), *steps = dims_build(b, c->steps), *one = build_index(b, 1);
    struct op *loop = build_for(b, zero, steps, one, c->states + wants_y, initial);
    struct value **args = loop->blocks[0]->args, *index = args[0];
    if (reverse)
        index = build_binary(b, OP_SUB, last, index);
    if (!products || !step(&s, products, function, index, args + 1, wants_y))
        return NULL;
    build_end(b, loop);
    return loop;
}

// Result i of the directions, side by side along an axis that they are given for it, if they have none.
static struct value *join(const struct recurrence *c, struct op *const *loops, int i, int axis)
{
    struct value *parts[2];
    for (int d = 0; d < c->directions; d++) {
        parts[d] = loops[d]->results[i];
        dim with_axis[MAX_RANK];
        int rank = parts[d]->type->rank;
        for (int j = 0, at = 0; j <= rank; j++)
            with_axis[j] = j == axis ? 1 : parts[d]->type->dims[at++];
        if (rank == 2)
            parts[d] = import_reshape(c->im, parts[d], rank + 1, with_axis);
    }
    return import_concat(c->im, axis, c->directions, parts);
}

static void import_recurrence(struct node *n, int gates, int states, int n_functions, const char *const *usual,
                              step_function *function)
{
    struct recurrence *c =
        &(struct recurrence){.n = n, .im = n->im, .gates = gates, .states = states, .n_functions = n_functions};
    struct op *loops[2];
    if (!read_attributes(c, usual) || !find_sizes(c) || !read_inputs(c))
        return;
    for (int d = 0; d < c->directions; d++)
        if (!(loops[d] = run(c, d, function)))
            return;
    if (node_wants(n, 0))
        node_output(n, 0, join(c, loops, states, c->batch_first ? 2 : 1));
    for (int i = 0; i < states; i++)
        if (node_wants(n, 1 + i))
            node_output(n, 1 + i, join(c, loops, i, c->batch_first));
}

void import_op_rnn(struct node *n)
{
    import_recurrence(n, 1, 1, 1, (const char *const[]){"tanh"}, rnn_step);
}

void import_op_gru(struct node *n)
{
    import_recurrence(n, 3, 1, 2, (const char *const[]){"sigmoid", "tanh"}, gru_step);
}

void import_op_lstm(struct node *n)
{
    import_recurrence(n, 4, 2, 3, (const char *const[]){"sigmoid", "tanh", "tanh"}, lstm_step);
}
