// From an ONNX model to a graph function.
//
//     struct module *g = import_model(m, &options, &diags);   // NULL: diags say why
//
// The module holds one graph, @main or what is left of the model's name for a graph. Its parameters are the model's
// inputs; weights are `data` operations that point into the model, which must outlive the module. Sizes that the model
// leaves open are symbols of the module. An input with an initialiser (IR version 4: a default that callers may
// override) is a constant of that value and no parameter, unless the options name it.
//
// What is computed from sizes and small constants (the Shape-Gather-Concat-Reshape chains of exporters) is computed
// here and becomes the result types of operations. Where two sizes must be equal and only the caller can see to it, an
// `assert` stands in the graph; sizes that broadcast may turn out to be 1.
//
// Operators: one row each in operators.def.
#ifndef TEGULA_FRONTEND_IMPORT_H
#define TEGULA_FRONTEND_IMPORT_H

#include "frontend/model.h"
#include "ir/ir.h"

// The value of an open size, by the name that the model has for it or the one that its symbol has.
struct import_dim {
    const char *name;
    int64_t value;
};

struct import_options {
    int n_dims;
    const struct import_dim *dims;
    int n_inputs;
    const char *const *inputs; // that are parameters even if they have an initialiser
};

// Everything that is wrong is reported, unsupported operators all at once. `options` may be NULL.
struct module *import_model(struct model *m, const struct import_options *options, struct diags *diags);

#endif
