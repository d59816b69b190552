// Views and memory of the interpreter: every access is held to the sizes of the view's root, and to the bytes of the
// buffer behind it.
#include <stdlib.h>
#include <string.h>

#include "ir/interp_state.h"
#include "ir/wrap.h"

// ---- Views -----------------------------------------------------------------------------------------------------

static int64_t dim_value(dim d, const int64_t *symbols)
{
    return dim_is_symbol(d) ? symbols[dim_symbol_id(d)] : d;
}

int interp_view_fill(struct interp_view *view, const struct type *type, const int64_t *symbols)
{
    int64_t stride = 1;
    bool empty = false, overflow = false;
    for (int d = type->rank - 1; d >= 0; d--) {
        if (type->dims[d] != DIM_UNKNOWN)
            view->sizes[d] = dim_value(type->dims[d], symbols);
        if (view->sizes[d] < 0)
            return 1;
        empty |= view->sizes[d] == 0;
        if (!type->strided)
            view->strides[d] = stride;
        else if (type->strides[d] != DIM_UNKNOWN)
            view->strides[d] = dim_value(type->strides[d], symbols);
        overflow |= __builtin_mul_overflow(stride, view->sizes[d] ? view->sizes[d] : 1, &stride);
    }
    return overflow && !empty && !type->strided;
}

static struct reference *make_reference(struct interp *in, const struct op *op, const struct value *v)
{
    struct content *c = &in->contents[v->id];
    if (!c->reference)
        c->reference = calloc(1, sizeof *c->reference);
    if (!c->reference)
        interp_fail(in, op, "out of memory");
    return c->reference;
}

static void set_root(struct reference *r, int rank, const struct interp_view *view)
{
    r->root = *view;
    r->map = (struct affine_map){.n_in = rank, .n_out = rank};
    for (int d = 0; d < rank; d++) {
        r->offset[d] = 0;
        r->map.coefficient[d][d] = 1;
    }
}

bool interp_param(struct interp *in, struct value *param, const struct interp_view *view, const int64_t *symbols)
{
    const struct type *t = param->type;
    struct interp_view want = *view;
    if (interp_view_fill(&want, t, symbols))
        return interp_fail(in, NULL, "parameter %%%s has a negative size or is too large", param->name);
    for (int d = 0; d < t->rank; d++)
        if (view->sizes[d] != want.sizes[d] || view->strides[d] != want.strides[d])
            return interp_fail(in, NULL,
                               "parameter %%%s has size %lld and stride %lld in dimension %d where its type "
                               "says %lld and %lld",
                               param->name, (long long)view->sizes[d], (long long)view->strides[d], d,
                               (long long)want.sizes[d], (long long)want.strides[d]);
    struct reference *r = make_reference(in, NULL, param);
    if (r)
        set_root(r, t->rank, view);
    return r != NULL;
}

// The map of the window composed with that of its view: both lead to the root.
bool interp_window(struct interp *in, const struct op *op)
{
    const struct reference *view = in->contents[op->operands[0]->id].reference;
    const struct affine_map *map = op_attr(op, ATTR_MAP)->map;
    struct reference *window = make_reference(in, op, op->results[0]);
    if (!window)
        return false;
    window->root = view->root;
    window->map = (struct affine_map){.n_in = map->n_in, .n_out = view->map.n_out};
    for (int r = 0; r < view->map.n_out; r++) {
        window->offset[r] = view->offset[r];
        for (int j = 0; j < view->map.n_in; j++) {
            int64_t k = view->map.coefficient[r][j];
            window->offset[r] = wrap_add(window->offset[r], wrap_mul(k, interp_index(in, op->operands[1 + j])));
            for (int d = 0; d < map->n_in; d++) {
                int64_t *c = &window->map.coefficient[r][d];
                *c = wrap_add(*c, wrap_mul(k, map->coefficient[j][d]));
            }
        }
    }
    return true;
}

static void free_scratch(struct interp *in, struct reference *r)
{
    if (!r->owned)
        return;
    in->room += r->root.bytes / (int64_t)sizeof(union scalar) + 1;
    free(r->owned);
    r->owned = NULL;
}

bool interp_scratch(struct interp *in, const struct op *op)
{
    const struct type *t = op->results[0]->type;
    struct reference *r = make_reference(in, op, op->results[0]);
    if (!r)
        return false;
    free_scratch(in, r);
    struct interp_view view = {0};
    int64_t elements = 1;
    for (int d = 0, operand = 0; d < t->rank; d++) {
        view.sizes[d] = t->dims[d] == DIM_UNKNOWN ? interp_index(in, op->operands[operand++]) : t->dims[d];
        if (view.sizes[d] < 0)
            return interp_fail(in, op, "size %d is %lld", d, (long long)view.sizes[d]);
    }
    if (interp_view_fill(&view, t, NULL))
        return interp_fail(in, op, "the buffer is too large");
    for (int d = 0; d < t->rank; d++)
        if (__builtin_mul_overflow(elements, view.sizes[d], &elements))
            elements = INT64_MAX; // or none, if a later size is 0: then there is nothing to access
    if (elements > in->room)
        return interp_fail(in, op, "a buffer of %lld elements is more than the interpreter takes", (long long)elements);
    view.bytes = elements * dtype_bytes(t->dtype);
    if (!interp_charge(in, op, elements))
        return false;
    // What no store has written shows: NaN in floats, a large number in integers.
    view.data = r->owned = malloc((size_t)view.bytes + 1);
    if (!view.data)
        return interp_fail(in, op, "out of memory");
    memset(view.data, dtype_is_float(t->dtype) ? 0xff : 0x7f, (size_t)view.bytes);
    in->room -= view.bytes / (int64_t)sizeof(union scalar) + 1;
    set_root(r, t->rank, &view);
    return true;
}

void interp_release(struct interp *in, struct content *c)
{
    if (c->reference)
        free_scratch(in, c->reference);
    free(c->reference);
    free(c->elements);
    free(c->owned_type);
    *c = (struct content){0};
}

// ---- Access ----------------------------------------------------------------------------------------------------

// Finds the element at the indices of a view: *p, or NULL if it is outside of the root.
static bool locate(struct interp *in, const struct op *op, const struct value *v, const int64_t *index, char **p)
{
    const struct reference *r = in->contents[v->id].reference;
    struct ints inbounds = op_ints(op, ATTR_INBOUNDS);
    int64_t at = 0, byte;
    bool overflow = false, outside = false;
    *p = NULL;
    for (int d = 0; d < r->map.n_out; d++) {
        int64_t i = r->offset[d], size = r->root.sizes[d], part;
        for (int j = 0; j < r->map.n_in; j++)
            i = wrap_add(i, wrap_mul(r->map.coefficient[d][j], index[j]));
        if (i < 0 || i >= size) {
            outside = true;
            for (int n = 0; n < inbounds.n; n++)
                if (inbounds.v[n] == d)
                    return interp_fail(in, op,
                                       "index %lld of root dimension %d is outside of the size %lld, though "
                                       "marked as in bounds",
                                       (long long)i, d, (long long)size);
        }
        overflow |= __builtin_mul_overflow(i, r->root.strides[d], &part);
        overflow |= __builtin_add_overflow(at, part, &at);
    }
    if (outside)
        return true;
    int64_t bytes = dtype_bytes(v->type->dtype);
    overflow |= __builtin_mul_overflow(at, bytes, &byte);
    if (overflow || byte < 0 || byte > r->root.bytes - bytes)
        return interp_fail(in, op, "element %lld of %%%s is not in its buffer of %lld bytes", (long long)at,
                           view_root((struct value *)v)->name ? view_root((struct value *)v)->name : "scratch",
                           (long long)r->root.bytes);
    *p = (char *)r->root.data + byte;
    return true;
}

// The shape that the index tiles and the value broadcast to.
static struct walk access_shape(const struct op *op)
{
    struct walk w = {0};
    for (int i = 0; i < op->n_operands; i++)
        if (op->operands[i]->type->kind == TYPE_TILE && op->operands[i]->type->rank > w.rank)
            w.rank = op->operands[i]->type->rank;
    for (int d = 0; d < w.rank; d++)
        w.dims[d] = 1;
    for (int i = 0; i < op->n_operands; i++) {
        const struct type *t = op->operands[i]->type;
        for (int d = 0; t->kind == TYPE_TILE && d < t->rank; d++)
            if (t->dims[d] != 1)
                w.dims[w.rank - t->rank + d] = t->dims[d];
    }
    return w;
}

// load and store: the tile lies at the indices, element e at indices + e. gather, scatter and atomic: every element
// has its own indices.
bool interp_access(struct interp *in, const struct op *op)
{
    int view_at = op_view_operand(op), n_indices = op->n_operands - view_at - 1;
    const struct value *view = op->operands[view_at], *source = view_at ? op->operands[0] : NULL;
    struct value *const *indices = op->operands + view_at + 1;
    const struct type *t = source ? source->type : op->results[0]->type;
    bool contiguous = op->code == OP_LOAD || op->code == OP_STORE;
    union scalar *result = NULL, pad = {.i = 0};
    if (!source) {
        result = interp_result(in, op, op->results[0]);
        if (!result)
            return false;
        const struct attr *stated = op_attr(op, ATTR_PAD);
        pad = scalar_from_number(t->dtype, stated ? stated->number : (struct number){0});
    }
    struct walk w = contiguous ? walk_create(t->rank, t->dims) : access_shape(op);
    if (source)
        walk_broadcast(&w, 0, source->type);
    for (int i = 0; i < n_indices; i++)
        walk_broadcast(&w, 1 + i, indices[i]->type);
    do {
        if (!interp_charge(in, op, 1))
            return false;
        int64_t index[MAX_RANK];
        for (int i = 0; i < n_indices; i++) {
            index[i] = interp_elements(in, indices[i])[w.at[1 + i]].i;
            if (contiguous && t->kind == TYPE_TILE)
                index[i] = wrap_add(index[i], w.index[i]);
        }
        char *p;
        if (!locate(in, op, view, index, &p))
            return false;
        if (result) {
            *result++ = p ? dtype_load(t->dtype, p) : pad;
        } else if (p) {
            union scalar x = interp_elements(in, source)[w.at[0]];
            if (op->code == OP_ATOMIC)
                x = scalar_eval(op_attr(op, ATTR_COMBINE)->opcode, t->dtype, dtype_load(t->dtype, p), x,
                                (union scalar){0});
            dtype_store(t->dtype, p, x);
        }
    } while (walk_next(&w));
    return true;
}
