// The functions of a model: their table, and who calls whom. Steps of reading a model, in this order.
#ifndef TEGULA_FRONTEND_FUNCTION_H
#define TEGULA_FRONTEND_FUNCTION_H

#include "frontend/model.h"

struct function_call {
    const struct model_function *callee;
    const TgOnnx__NodeProto *node;
    int depth; // subgraphs around the node
};

// Writes what identifies a function into `key` (NULL: only measures); returns its length.
size_t function_key(const char *domain, const char *name, const char *overload, char *key);

// Reads the versions that a model (function NULL) or a function imports, and checks ai.onnx's.
bool function_read_opsets(struct model *m, TgOnnx__OperatorSetIdProto **list, size_t n, const struct model_function *f,
                          struct model_opsets *out, struct diags *diags);
// Fills m->functions, and one entry after them that stands for the main graph as a caller.
void function_read_all(struct model *m, struct diags *diags);
// Notes that the body of `caller` calls `callee`.
void function_add_call(struct model *m, struct model_function *caller, struct function_call call);
// Reports recursion, and calls that nest too deep or inline to too many nodes.
void function_check_calls(struct model *m, struct diags *diags);

#endif
