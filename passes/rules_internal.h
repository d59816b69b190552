// What the files of the rule engine share.
#ifndef TEGULA_PASSES_RULES_INTERNAL_H
#define TEGULA_PASSES_RULES_INTERNAL_H

#include "passes/replace.h"
#include "passes/rules.h"

#define MOST_VARIABLES 16  // of a rule
#define MOST_PARTS 5       // operands of a pattern, alternatives
#define MOST_SETTINGS 4    // attributes of a pattern
#define MOST_CONDITIONS 12 // of a rule
#define MOST_MATCHED 40    // operations of a match

// ---- The language (rules_parse.c) --------------------------------------------------------------------------------

enum setting_kind {
    SETTING_OPCODE,
    SETTING_INT,
    SETTING_INTS,
    SETTING_LAST,
    SETTING_IDENTITY,
    SETTING_ZEROS,
    SETTING_ONES,
    SETTING_VARIABLE,
    SETTING_FUNCTION, // of variables; in replacements
    SETTING_LIKE,     // the attributes of a variable's operation; in replacements
    SETTING_TYPE      // a function that gives the type; in replacements
};

// key=value of a pattern or a replacement
struct setting {
    enum setting_kind kind;
    enum attr_key key;
    enum opcode opcode;
    struct ints ints; // of an integer: one
    int function;     // row of attribute_functions or type_functions
    int variables[2];
};

enum pattern_kind { PATTERN_VARIABLE, PATTERN_NUMBER, PATTERN_OP, PATTERN_EITHER };

struct pattern {
    enum pattern_kind kind;
    int variable; // what it is, or what the result is called; -1: nothing
    bool shared;  // `~`
    double number;
    enum opcode code;
    const char *composite; // its name, of OP_COMPOSITE
    int n_parts;           // operands or alternatives
    struct pattern *parts[MOST_PARTS];
    int n_settings;
    struct setting settings[MOST_SETTINGS];
};

struct condition {
    bool negated;
    int function; // row of conditions
    int variables[3];
};

struct rule {
    const char *name;
    enum rule_group group;
    int row;
    int n_variables;
    const char *variables[MOST_VARIABLES];
    struct pattern *pattern, *replacement;
    int n_conditions;
    struct condition conditions[MOST_CONDITIONS];
    bool starts[OP_COUNT]; // the kinds of operation that the pattern may end in
};

// A function of variables that rules call by its name.
struct rule_function {
    const char *name;
    int n_variables;
};
// Rows by number; NULL past the last.
const struct rule_function *condition_function(int row);
const struct rule_function *attribute_function(int row);
const struct rule_function *type_function(int row);

// Parses a rule into the arena. NULL, or what is wrong with it.
const char *rule_parse(struct arena *a, const char *pattern, const char *conditions, const char *replacement,
                       struct rule *r);

// ---- Matching (rules_match.c, rules_condition.c) -----------------------------------------------------------------

struct binding {
    struct value *value;
    const struct attr *attr;
};

struct match {
    struct rewriter *rewriter;
    const struct rule *rule;
    struct op *root;
    struct binding bound[MOST_VARIABLES];
    int n_ops;
    struct op *ops[MOST_MATCHED]; // what the pattern's operations have matched
    bool shared[MOST_MATCHED];
};

// What is known of a value.
struct fact {
    int uses;      // operands of operations that it is
    bool constant; // computed from constants alone
    enum { SPLAT_UNKNOWN, SPLAT_NO, SPLAT_YES } splat;
    union scalar element; // of a splat
};

struct rewriter {
    struct function *function;
    struct arena *arena;
    struct diags *diags;
    struct replace replace;
    struct fact *facts; // by value id
    int n_facts;
    bool progress;
};

struct fact *rewriter_fact(struct rewriter *r, const struct value *v);
// Whether every element of v is the same constant.
bool rewriter_splat(struct rewriter *r, const struct value *v, union scalar *x);

// Fills in the match if the rule's pattern fits op and its conditions hold.
bool rule_match(struct rewriter *r, const struct rule *rule, struct op *op, struct match *m);
bool condition_holds(struct match *m, const struct condition *c);
struct ints attr_axes(const struct attr *a); // of an attribute of integers; n = 0 for others

// ---- Building (rules_build.c) ------------------------------------------------------------------------------------

// Builds the replacement before the root. NULL: the match cannot be wrapped, or, after reporting it, the rule is
// faulty.
struct value *rule_build(struct match *m);

#endif
