// Checks tensors against the types of a kernel's parameters, and learns the sizes from them.
#include <inttypes.h>

#include "api/api.h"
#include "codegen/data_type.h"

struct launch {
    tg_kernel_handle *k;
    const tg_tensor *tensors[API_MOST_ARGS]; // by parameter; NULL: a scalar
    tg_arg args[API_MOST_ARGS];
    bool known[API_MOST_ARGS]; // of args that are sizes
    int first[API_MOST_ARGS];  // the parameter that a size was learnt from
};

#define FAIL(l, i, format, ...)                                                                                        \
    api_fail((l)->k->ctx, "@%s: %%%s: " format, (l)->k->code->name, (l)->k->params[i].name __VA_OPT__(, ) __VA_ARGS__)

// A size or stride the tensor has, against the one the type states. what: "size" or "stride".
static int learn(struct launch *l, int i, const char *what, int d, dim want, int64_t have)
{
    if (want == DIM_UNKNOWN || want == have)
        return 0;
    if (!dim_is_symbol(want))
        return FAIL(l, i, "%s %d is %" PRId64 " and must be %" PRId64, what, d, have, (int64_t)want);
    int symbol = dim_symbol_id(want), slot = l->k->slots[symbol];
    if (!l->known[slot]) {
        l->known[slot] = true;
        l->first[slot] = i;
        l->args[slot].integer = have;
        return 0;
    }
    if (l->args[slot].integer == have)
        return 0;
    return FAIL(l, i, "%s %d is %" PRId64 " where %%%s makes %s %" PRId64, what, d, have,
                l->k->params[l->first[slot]].name, l->k->symbols[symbol], l->args[slot].integer);
}

static uintptr_t first_byte(const tg_tensor *x)
{
    return (uintptr_t)x->data + (uintptr_t)x->byte_offset;
}

static int64_t stride_of(const tg_tensor *x, int d)
{
    if (x->strides)
        return x->strides[d];
    int64_t stride = 1;
    for (int i = d + 1; i < x->ndim; i++)
        stride *= x->shape[i];
    return stride;
}

// The bytes from the first element to the last, in *bytes. Fails where a size or stride is negative or all of it is too
// large to be addressed.
static int measure(struct launch *l, int i, const tg_tensor *x, int64_t *bytes)
{
    int64_t width = dtype_bytes(l->k->params[i].type.dtype), elements = 1, last = 0, step;
    bool empty = false;
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] < 0)
            return FAIL(l, i, "size %d is %" PRId64, d, x->shape[d]);
        empty |= x->shape[d] == 0;
        if (__builtin_mul_overflow(elements, x->shape[d] ? x->shape[d] : 1, &elements))
            return FAIL(l, i, "is too large to be addressed");
    }
    for (int d = 0; d < x->ndim && !empty; d++) {
        if (stride_of(x, d) < 0)
            return FAIL(l, i, "stride %d is %" PRId64, d, stride_of(x, d));
        if (__builtin_mul_overflow(x->shape[d] - 1, stride_of(x, d), &step) ||
            __builtin_add_overflow(last, step, &last))
            return FAIL(l, i, "is too large to be addressed");
    }
    if (__builtin_add_overflow(last, !empty, &last) || __builtin_mul_overflow(last, width, bytes))
        return FAIL(l, i, "is too large to be addressed");
    return 0;
}

static int check_strides(struct launch *l, int i, const tg_tensor *x)
{
    const struct type *t = &l->k->params[i].type;
    bool empty = false;
    for (int d = 0; d < t->rank; d++)
        empty |= x->shape[d] == 0;
    int64_t packed = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        int64_t have = stride_of(x, d);
        bool matters = !empty && x->shape[d] > 1;
        if (t->strided) {
            // The stride of a dimension of one element is free, but a size of that name must get a value.
            bool symbol = dim_is_symbol(t->strides[d]);
            if (symbol && !matters && l->known[l->k->slots[dim_symbol_id(t->strides[d])]])
                continue;
            if ((matters || symbol) && learn(l, i, "stride", d, t->strides[d], have))
                return 1;
        } else if (matters && have != packed) {
            return FAIL(l, i, "stride %d is %" PRId64 " and must be %" PRId64 "; the kernel takes it without gaps", d,
                        have, packed);
        }
        packed *= x->shape[d];
    }
    return 0;
}

static int check_tensor(struct launch *l, int i)
{
    const struct type *t = &l->k->params[i].type;
    const tg_tensor *x = l->tensors[i];
    if (!x)
        return FAIL(l, i, "no tensor is given");
    if (x->ndim != t->rank)
        return FAIL(l, i, "has %d dimensions and must have %d", x->ndim, t->rank);
    tg_data_type want = data_type_of(t->dtype);
    if (x->dtype.code != want.code || x->dtype.bits != want.bits || x->dtype.lanes != 1)
        return FAIL(l, i, "the element type has code %d, %d bits and %d lanes and must be %s (code %d, %d bits)",
                    x->dtype.code, x->dtype.bits, x->dtype.lanes, dtype_info[t->dtype].name, want.code, want.bits);
    if ((int)x->device.device_type != TG_DEVICE_CPU && (int)x->device.device_type != TG_DEVICE_CUDA_HOST)
        return FAIL(l, i, "is on a device of type %d; the kernel was compiled for the CPU", (int)x->device.device_type);
    if (t->rank && !x->shape)
        return FAIL(l, i, "has no sizes");
    int64_t bytes;
    if (measure(l, i, x, &bytes))
        return 1;
    for (int d = 0; d < t->rank; d++)
        if (learn(l, i, "size", d, t->dims[d], x->shape[d]))
            return 1;
    if (bytes && !x->data)
        return FAIL(l, i, "has no memory");
    if (first_byte(x) % (uintptr_t)dtype_bytes(t->dtype))
        return FAIL(l, i, "is not aligned to its elements of %d bytes", (int)dtype_bytes(t->dtype));
    l->args[i].pointer = (void *)first_byte(x);
    return 0;
}

// Of two parameters one of which is written to.
static int check_overlap(struct launch *l, int i, int j)
{
    int64_t n, m;
    if (measure(l, i, l->tensors[i], &n) || measure(l, j, l->tensors[j], &m))
        return 1;
    uintptr_t x = first_byte(l->tensors[i]), y = first_byte(l->tensors[j]);
    if (n && m && x < y + (uintptr_t)m && y < x + (uintptr_t)n)
        return FAIL(l, i, "is written to and overlaps %%%s", l->k->params[j].name);
    return 0;
}

int tg_kernel_launch(tg_kernel_handle *k, const tg_tensor *const *tensors, int n_tensors, const tg_arg *scalars,
                     int n_scalars)
{
    struct launch l = {.k = k};
    int tensor = 0, scalar = 0;
    for (int i = 0; i < k->n_params; i++) {
        if (k->params[i].type.kind != TYPE_VIEW)
            scalar++;
        else
            tensor++;
    }
    if (tensor != n_tensors || scalar != n_scalars)
        return api_fail(k->ctx, "@%s takes %d tensors and %d scalars, not %d and %d", k->code->name, tensor, scalar,
                        n_tensors, n_scalars);
    tensor = scalar = 0;
    for (int i = 0; i < k->n_params; i++) {
        if (k->params[i].type.kind != TYPE_VIEW) {
            l.args[i] = scalars[scalar++];
            continue;
        }
        l.tensors[i] = tensors[tensor++];
        if (check_tensor(&l, i))
            return 1;
    }
    for (int i = 0; i < k->n_params; i++)
        if (l.tensors[i] && check_strides(&l, i, l.tensors[i]))
            return 1;
    for (int i = 0; i < k->n_params; i++)
        for (int j = 0; j < k->n_params && k->params[i].written; j++)
            if (j != i && l.tensors[j] && check_overlap(&l, i, j))
                return 1;
    return tg_kernel_run(k, l.args, (int)k->code->n_args);
}
