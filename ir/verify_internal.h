// What the files of the verifier share.
#ifndef TEGULA_IR_VERIFY_INTERNAL_H
#define TEGULA_IR_VERIFY_INTERNAL_H

#include "ir/ir.h"

struct verifier {
    struct module *m;
    struct function *k;
    struct diags *diags;
    struct value **owned;                  // by id: the function's values
    struct value **visible;                // by id: the values that dominate the place the walk has reached
    int n_grid;                            // dimensions of the grid, 0 if unknown
    const struct value *shaped, *unshaped; // the first tile of either kind
    bool shaping_reported;
    bool *sizes;    // by symbol: the types of the parameters name it
    bool *reported; // by symbol: that they do not
};

// What is different in each kind of function.
struct function_rules {
    const char *word;
    unsigned types;      // a bit for each enum type_kind of values
    unsigned parameters; // likewise
    const char *views;   // where views come from
};
extern const struct function_rules verify_rules[];
extern const char *const verify_type_words[]; // by enum type_kind: "a tensor"

#define ERROR(v, loc, ...) diag_error((v)->diags, loc, __VA_ARGS__)

// The kind of function in a word, a value's name, a type's text; for messages.
const char *verify_word(const struct function *k);
const char *verify_name(struct verifier *v, const struct value *x);
const char *verify_type_text(struct verifier *v, const struct type *t);

// ---- verify_structure.c: links, counts, ranges. False after reporting; nothing else can then be relied on.
bool verify_structure(struct verifier *v);

// ---- verify_function.c: names, parameters, what the grid and the body hand over. Makes the parameters visible.
void verify_signature(struct verifier *v);

// ---- verify.c
// Every free symbol in these is a size of a parameter.
void verify_sizes(struct verifier *v, int n, const dim *dims, struct loc loc);
// The value is visible from here on.
void verify_define(struct verifier *v, struct value *x, struct loc loc);

#endif
