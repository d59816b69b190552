#include "ir/dims.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_FACTORS 8
#define MOST_TERMS 32
#define LARGEST ((int64_t)1 << 62)
// Of an expression; it can then be printed, read back and walked. Chains of operations make ever deeper ones.
#define MOST_NESTING 90 // of functions
#define MOST_TEXT 4096

// coefficient * product of atoms, by ascending id. An atom is a free symbol or a function of polynomials.
struct term {
    int64_t coefficient;
    int n_factors;
    int factors[MOST_FACTORS];
};

// A sum of terms in order; no two have the same factors, none is 0.
struct polynomial {
    bool unknown;
    int n;
    struct term terms[MOST_TERMS];
};

enum size_function { FUNCTION_NONE, FUNCTION_FLOORDIV, FUNCTION_MOD, FUNCTION_MIN, FUNCTION_MAX, FUNCTION_BROADCAST };

// What a symbol of the module stands for; a free symbol has none.
struct symbol_expression {
    enum size_function function; // NONE: the polynomial
    struct polynomial polynomial;
    dim a, b;
    int nesting; // of functions
};

static const char *const function_names[] = {"", "floordiv", "mod", "min", "max", "broadcast"};

static const struct symbol_expression *expression(const struct module *m, int id)
{
    return id < m->n_expressions ? m->expressions[id] : NULL;
}

static void set_expression(struct module *m, int id, const struct symbol_expression *e)
{
    if (id >= m->n_expressions) {
        int n = id * 2 + 8;
        const struct symbol_expression **grown = ARENA_ARRAY(&m->arena, const struct symbol_expression *, n);
        if (m->n_expressions)
            memcpy(grown, m->expressions, sizeof *grown * (size_t)m->n_expressions);
        m->expressions = grown;
        m->n_expressions = n;
    }
    m->expressions[id] = arena_copy(&m->arena, e, sizeof *e);
}

static int compare_terms(const struct term *a, const struct term *b)
{
    if (a->n_factors != b->n_factors) // higher degrees first
        return b->n_factors - a->n_factors;
    for (int i = 0; i < a->n_factors; i++)
        if (a->factors[i] != b->factors[i])
            return a->factors[i] - b->factors[i];
    return 0;
}

static void add_term(struct polynomial *p, const struct term *t)
{
    if (p->unknown || !t->coefficient)
        return;
    int i = 0;
    while (i < p->n && compare_terms(&p->terms[i], t) < 0)
        i++;
    if (i < p->n && !compare_terms(&p->terms[i], t)) {
        int64_t sum;
        if (__builtin_add_overflow(p->terms[i].coefficient, t->coefficient, &sum) || sum > LARGEST || sum < -LARGEST) {
            p->unknown = true;
        } else if (sum) {
            p->terms[i].coefficient = sum;
        } else {
            memmove(&p->terms[i], &p->terms[i + 1], sizeof *t * (size_t)(p->n - i - 1));
            p->n--;
        }
        return;
    }
    if (p->n == MOST_TERMS || t->coefficient > LARGEST || t->coefficient < -LARGEST) {
        p->unknown = true;
        return;
    }
    memmove(&p->terms[i + 1], &p->terms[i], sizeof *t * (size_t)(p->n - i));
    p->terms[i] = *t;
    p->n++;
}

static void to_polynomial(const struct module *m, dim d, struct polynomial *p)
{
    *p = (struct polynomial){.unknown = d == DIM_UNKNOWN};
    if (p->unknown)
        return;
    struct term t = {.coefficient = d};
    if (dim_is_symbol(d)) {
        const struct symbol_expression *e = expression(m, dim_symbol_id(d));
        if (e && e->function == FUNCTION_NONE) {
            *p = e->polynomial;
            return;
        }
        t = (struct term){1, 1, {dim_symbol_id(d)}};
    }
    add_term(p, &t);
}

// The text of an expression depends on names alone, not on the order in which the module met them, so that what is
// printed reads back as itself.
static int compare_names(const struct module *m, const struct term *a, const struct term *b)
{
    if (a->n_factors != b->n_factors)
        return b->n_factors - a->n_factors;
    int order = 0;
    for (int i = 0; i < a->n_factors && !order; i++)
        order = strcmp(m->symbols[a->factors[i]], m->symbols[b->factors[i]]);
    return order;
}

static void sort_by_name(const struct module *m, struct polynomial *p)
{
    for (int i = 0; i < p->n; i++) {
        struct term t = p->terms[i];
        for (int j = 1; j < t.n_factors; j++)
            for (int k = j; k > 0 && strcmp(m->symbols[t.factors[k - 1]], m->symbols[t.factors[k]]) > 0; k--) {
                int swapped = t.factors[k];
                t.factors[k] = t.factors[k - 1];
                t.factors[k - 1] = swapped;
            }
        int at = i;
        for (; at > 0 && compare_names(m, &p->terms[at - 1], &t) > 0; at--)
            p->terms[at] = p->terms[at - 1];
        p->terms[at] = t;
    }
}

static const char *term_string(struct module *m, const struct term *t)
{
    struct arena *a = &m->arena;
    char *s = t->coefficient != 1 || !t->n_factors ? arena_printf(a, "%lld", (long long)t->coefficient) : "";
    for (int i = 0; i < t->n_factors; i++)
        s = arena_printf(a, "%s%s%s", s, *s ? " * " : "", m->symbols[t->factors[i]]);
    return s;
}

static int nesting(const struct module *m, dim d)
{
    const struct symbol_expression *e = dim_is_symbol(d) ? expression(m, dim_symbol_id(d)) : NULL;
    return e ? e->nesting : 0;
}

// The symbol of an expression by its text; unknown if that is beyond all use.
static dim intern_expression(struct module *m, const char *text, const struct symbol_expression *e)
{
    size_t n = strlen(text);
    if (n > MOST_TEXT || e->nesting > MOST_NESTING)
        return DIM_UNKNOWN;
    int id = module_symbol(m, text, n);
    if (!expression(m, id))
        set_expression(m, id, e);
    return dim_symbol(id);
}

static dim from_polynomial(struct module *m, const struct polynomial *p)
{
    if (p->unknown)
        return DIM_UNKNOWN;
    if (!p->n)
        return 0;
    const struct term *t = &p->terms[0];
    if (p->n == 1 && !t->n_factors && t->coefficient >= 0)
        return t->coefficient;
    if (p->n == 1 && t->n_factors == 1 && t->coefficient == 1)
        return dim_symbol(t->factors[0]);
    struct polynomial named = *p;
    sort_by_name(m, &named);
    char *text = arena_printf(&m->arena, "(%s", term_string(m, &named.terms[0]));
    for (int i = 1; i < named.n; i++)
        text = arena_printf(&m->arena, "%s + %s", text, term_string(m, &named.terms[i]));
    text = arena_printf(&m->arena, "%s)", text);
    struct symbol_expression e = {.polynomial = *p};
    for (int i = 0; i < p->n; i++)
        for (int j = 0; j < p->terms[i].n_factors; j++) {
            int inner = nesting(m, dim_symbol(p->terms[i].factors[j]));
            e.nesting = inner > e.nesting ? inner : e.nesting;
        }
    return intern_expression(m, text, &e);
}

static dim apply_function(struct module *m, enum size_function f, dim a, dim b)
{
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    const char *names[2];
    dim both[2] = {a, b};
    for (int i = 0; i < 2; i++)
        names[i] = dim_is_symbol(both[i]) ? m->symbols[dim_symbol_id(both[i])]
                                          : arena_printf(&m->arena, "%lld", (long long)both[i]);
    char *text = arena_printf(&m->arena, "%s(%s, %s)", function_names[f], names[0], names[1]);
    int inner = nesting(m, a) > nesting(m, b) ? nesting(m, a) : nesting(m, b);
    return intern_expression(m, text, &(struct symbol_expression){.function = f, .a = a, .b = b, .nesting = inner + 1});
}

static dim combine(struct module *m, dim a, dim b, int64_t sign)
{
    struct polynomial p, q;
    to_polynomial(m, a, &p);
    to_polynomial(m, b, &q);
    p.unknown |= q.unknown;
    for (int i = 0; i < q.n; i++) {
        struct term t = q.terms[i];
        t.coefficient *= sign;
        add_term(&p, &t);
    }
    return from_polynomial(m, &p);
}

dim dims_from_int(struct module *m, int64_t x)
{
    struct polynomial p = {0};
    add_term(&p, &(struct term){.coefficient = x});
    p.unknown |= x > LARGEST || x < -LARGEST;
    return from_polynomial(m, &p);
}

bool dims_is_expression(const struct module *m, dim d)
{
    return dim_is_symbol(d) && expression(m, dim_symbol_id(d));
}

bool dims_to_int(const struct module *m, dim d, int64_t *x)
{
    struct polynomial p;
    to_polynomial(m, d, &p);
    if (p.unknown || p.n > 1 || (p.n == 1 && p.terms[0].n_factors))
        return false;
    *x = p.n ? p.terms[0].coefficient : 0;
    return true;
}

dim dims_add(struct module *m, dim a, dim b)
{
    return combine(m, a, b, 1);
}

dim dims_sub(struct module *m, dim a, dim b)
{
    return combine(m, a, b, -1);
}

static bool multiply_terms(const struct term *a, const struct term *b, struct term *t)
{
    if (a->n_factors + b->n_factors > MOST_FACTORS ||
        __builtin_mul_overflow(a->coefficient, b->coefficient, &t->coefficient))
        return false;
    int i = 0, j = 0;
    t->n_factors = 0;
    while (i < a->n_factors || j < b->n_factors) {
        bool left = j == b->n_factors || (i < a->n_factors && a->factors[i] <= b->factors[j]);
        t->factors[t->n_factors++] = left ? a->factors[i++] : b->factors[j++];
    }
    return true;
}

dim dims_mul(struct module *m, dim a, dim b)
{
    struct polynomial p, q, r = {0};
    to_polynomial(m, a, &p);
    to_polynomial(m, b, &q);
    r.unknown = p.unknown || q.unknown;
    for (int i = 0; i < p.n && !r.unknown; i++)
        for (int j = 0; j < q.n && !r.unknown; j++) {
            struct term t;
            if (multiply_terms(&p.terms[i], &q.terms[j], &t))
                add_term(&r, &t);
            else
                r.unknown = true;
        }
    return from_polynomial(m, &r);
}

dim dims_product(struct module *m, int n, const dim *dims)
{
    dim all = 1;
    for (int i = 0; i < n; i++)
        all = dims_mul(m, all, dims[i]);
    return all;
}

// a / b term by term, for a single term b that divides every term.
static bool divide_exactly(const struct polynomial *p, const struct term *by, struct polynomial *out)
{
    *out = (struct polynomial){0};
    for (int i = 0; i < p->n; i++) {
        struct term t = {0};
        const struct term *a = &p->terms[i];
        if (!by->coefficient || a->coefficient % by->coefficient)
            return false;
        t.coefficient = a->coefficient / by->coefficient;
        int k = 0;
        for (int j = 0; j < a->n_factors; j++) {
            if (k < by->n_factors && a->factors[j] == by->factors[k])
                k++;
            else
                t.factors[t.n_factors++] = a->factors[j];
        }
        if (k < by->n_factors)
            return false;
        add_term(out, &t);
    }
    return !out->unknown;
}

dim dims_exact(struct module *m, dim a, dim b)
{
    struct polynomial p, q, r;
    to_polynomial(m, a, &p);
    to_polynomial(m, b, &q);
    if (a == b && a != DIM_UNKNOWN && a != 0)
        return 1;
    if (p.unknown || q.unknown || q.n != 1 || !divide_exactly(&p, &q.terms[0], &r))
        return DIM_UNKNOWN;
    return from_polynomial(m, &r);
}

dim dims_content(struct module *m, dim d, int64_t *content)
{
    struct polynomial p;
    to_polynomial(m, d, &p);
    *content = 1;
    if (p.unknown || !p.n)
        return d;
    int64_t g = 0;
    for (int i = 0; i < p.n; i++)
        for (int64_t x = llabs(p.terms[i].coefficient); x;) {
            int64_t rest = g % x;
            g = x;
            x = rest;
        }
    for (int i = 0; i < p.n; i++)
        p.terms[i].coefficient /= g;
    *content = g;
    return from_polynomial(m, &p);
}

static int64_t floor_quotient(int64_t a, int64_t b)
{
    return a / b - (a % b && (a < 0) != (b < 0));
}

dim dims_floordiv(struct module *m, dim a, dim b)
{
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN || b == 0)
        return DIM_UNKNOWN;
    struct polynomial p, rest, r;
    to_polynomial(m, a, &p);
    if (!dim_is_symbol(b)) {
        if (!dim_is_symbol(a))
            return floor_quotient(a, b);
        // Terms that b divides come out: floordiv(4 * N + 3, 2) = 2 * N + 1.
        struct polynomial whole = {0};
        rest = (struct polynomial){0};
        for (int i = 0; i < p.n; i++) {
            struct term t = p.terms[i];
            int64_t k = t.coefficient;
            bool constant = !t.n_factors;
            t.coefficient = constant ? floor_quotient(k, b) : k % b ? 0 : k / b;
            add_term(&whole, &t);
            t.coefficient = constant ? k - floor_quotient(k, b) * b : k % b ? k : 0;
            add_term(&rest, &t);
        }
        // A constant rest below b alone adds nothing.
        if (rest.n == 0 || (rest.n == 1 && !rest.terms[0].n_factors))
            return from_polynomial(m, &whole);
        dim left = apply_function(m, FUNCTION_FLOORDIV, from_polynomial(m, &rest), b);
        return dims_add(m, from_polynomial(m, &whole), left);
    }
    struct polynomial q;
    to_polynomial(m, b, &q);
    if (q.n == 1 && divide_exactly(&p, &q.terms[0], &r))
        return from_polynomial(m, &r); // N / N is 1 for N > 0; for N = 0 the size is not used
    return apply_function(m, FUNCTION_FLOORDIV, a, b);
}

dim dims_ceildiv(struct module *m, dim a, dim b)
{
    return dims_floordiv(m, dims_add(m, a, dims_sub(m, b, 1)), b);
}

dim dims_mod(struct module *m, dim a, dim b)
{
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN || b == 0)
        return DIM_UNKNOWN;
    if (!dim_is_symbol(a) && !dim_is_symbol(b))
        return a - floor_quotient(a, b) * b;
    dim exact = dims_exact(m, a, b);
    if (exact != DIM_UNKNOWN)
        return 0;
    return apply_function(m, FUNCTION_MOD, a, b);
}

static dim extreme(struct module *m, enum size_function f, dim a, dim b)
{
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    int64_t alo, ahi, blo, bhi;
    dims_range(m, a, &alo, &ahi);
    dims_range(m, b, &blo, &bhi);
    dim smaller = DIM_UNKNOWN;
    if (a == b || (ahi != INT64_MAX && ahi <= blo))
        smaller = a;
    else if (bhi != INT64_MAX && bhi <= alo)
        smaller = b;
    // N + 1 against N: their difference decides.
    dim difference = dims_sub(m, a, b);
    if (smaller == DIM_UNKNOWN && !dim_is_symbol(difference) && difference != DIM_UNKNOWN)
        smaller = b; // a - b is a constant >= 0
    if (smaller != DIM_UNKNOWN)
        return f == FUNCTION_MIN ? smaller : smaller == a ? b : a;
    // Either order is the same size: by name, and a constant last.
    bool both = dim_is_symbol(a) && dim_is_symbol(b);
    bool ordered = both ? strcmp(m->symbols[dim_symbol_id(a)], m->symbols[dim_symbol_id(b)]) < 0 : a < b;
    return ordered ? apply_function(m, f, a, b) : apply_function(m, f, b, a);
}

dim dims_min(struct module *m, dim a, dim b)
{
    return extreme(m, FUNCTION_MIN, a, b);
}

dim dims_max(struct module *m, dim a, dim b)
{
    return extreme(m, FUNCTION_MAX, a, b);
}

// ---- Broadcasting ----------------------------------------------------------------------------------------------

bool dims_may_be_one(struct module *m, dim d)
{
    int64_t lo, hi, content;
    if (d == DIM_UNKNOWN || !dim_is_symbol(d))
        return d != DIM_UNKNOWN && d == 1;
    dims_range(m, d, &lo, &hi);
    dims_content(m, d, &content);
    return lo <= 1 && hi >= 1 && content == 1;
}

static const struct symbol_expression *as_broadcast(const struct module *m, dim d)
{
    const struct symbol_expression *e = dim_is_symbol(d) ? expression(m, dim_symbol_id(d)) : NULL;
    return e && e->function == FUNCTION_BROADCAST ? e : NULL;
}

// The sizes of nested broadcasts are a set, sorted by name: broadcast(broadcast(K, M), N).
static dim add_to_set(struct module *m, dim set, dim d)
{
    const struct symbol_expression *e = as_broadcast(m, set);
    dim last = e ? e->b : set;
    if (set == DIM_UNKNOWN || d == last)
        return set;
    if (strcmp(m->symbols[dim_symbol_id(d)], m->symbols[dim_symbol_id(last)]) > 0)
        return apply_function(m, FUNCTION_BROADCAST, set, d);
    return apply_function(m, FUNCTION_BROADCAST, e ? add_to_set(m, e->a, d) : d, last);
}

dim dims_broadcast(struct module *m, dim a, dim b)
{
    if (a == DIM_UNKNOWN || b == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (a == b || b == 1)
        return a;
    if (a == 1 || !dim_is_symbol(b)) // which is not 1
        return b;
    bool stays[2] = {!dims_may_be_one(m, a), !dims_may_be_one(m, b)};
    if (!dim_is_symbol(a) || (stays[0] && !stays[1]))
        return a;
    if (stays[1] && !stays[0])
        return b;
    const struct symbol_expression *e = as_broadcast(m, b);
    return e ? dims_broadcast(m, dims_broadcast(m, a, e->a), e->b) : add_to_set(m, a, b);
}

bool dims_stretches(struct module *m, dim from, dim to)
{
    return from != DIM_UNKNOWN && (from == to || (dims_may_be_one(m, from) && dims_broadcast(m, from, to) == to));
}

dim dims_unless_one(struct module *m, dim d)
{
    return dims_may_be_one(m, d) ? dims_min(m, dims_floordiv(m, d, 2), 1) : 1;
}

// ---- Values ----------------------------------------------------------------------------------------------------

static void range_of_atom(const struct module *m, int id, int64_t *lo, int64_t *hi)
{
    const struct symbol_expression *e = expression(m, id);
    *lo = 0;
    *hi = INT64_MAX;
    if (!e)
        return;
    int64_t alo, ahi, blo, bhi;
    dims_range(m, e->a, &alo, &ahi);
    dims_range(m, e->b, &blo, &bhi);
    switch (e->function) {
    case FUNCTION_FLOORDIV:
        if (alo >= 0 && blo > 0) {
            *lo = bhi == INT64_MAX ? 0 : alo / bhi;
            *hi = ahi == INT64_MAX ? INT64_MAX : ahi / blo;
        } else {
            *lo = INT64_MIN;
        }
        break;
    case FUNCTION_MOD:
        *hi = bhi == INT64_MAX ? INT64_MAX : bhi - 1;
        break;
    case FUNCTION_MIN:
        *lo = alo < blo ? alo : blo;
        *hi = ahi < bhi ? ahi : bhi;
        break;
    case FUNCTION_MAX:
        *lo = alo > blo ? alo : blo;
        *hi = ahi > bhi ? ahi : bhi;
        break;
    case FUNCTION_BROADCAST:
        *lo = alo < blo ? alo : blo;
        *hi = ahi > bhi ? ahi : bhi;
        break;
    case FUNCTION_NONE:
        break;
    }
}

void dims_range(const struct module *m, dim d, int64_t *lo, int64_t *hi)
{
    struct polynomial p;
    to_polynomial(m, d, &p);
    *lo = p.unknown ? INT64_MIN : 0;
    *hi = p.unknown ? INT64_MAX : 0;
    for (int i = 0; i < p.n; i++) {
        // Of the term: atoms are multiplied while they are known to be non-negative.
        const struct term *t = &p.terms[i];
        int64_t k = t->coefficient, tlo = 1, thi = 1;
        for (int j = 0; j < t->n_factors; j++) {
            int64_t alo, ahi;
            range_of_atom(m, t->factors[j], &alo, &ahi);
            if (alo < 0 || tlo < 0 || __builtin_mul_overflow(tlo, alo, &tlo))
                tlo = INT64_MIN;
            if (thi == INT64_MAX || ahi == INT64_MAX || __builtin_mul_overflow(thi, ahi, &thi))
                thi = INT64_MAX;
        }
        int64_t from = k > 0 ? tlo : thi, to = k > 0 ? thi : tlo;
        bool no_from = from == INT64_MIN || from == INT64_MAX, no_to = to == INT64_MIN || to == INT64_MAX;
        if (*lo == INT64_MIN || no_from || __builtin_mul_overflow(from, k, &from) ||
            __builtin_add_overflow(*lo, from, lo))
            *lo = INT64_MIN;
        if (*hi == INT64_MAX || no_to || __builtin_mul_overflow(to, k, &to) || __builtin_add_overflow(*hi, to, hi))
            *hi = INT64_MAX;
    }
}

bool dims_eval(const struct module *m, dim d, const int64_t *symbols, int64_t *value)
{
    if (d == DIM_UNKNOWN)
        return false;
    if (!dim_is_symbol(d)) {
        *value = d;
        return true;
    }
    const struct symbol_expression *e = expression(m, dim_symbol_id(d));
    if (!e) {
        *value = symbols[dim_symbol_id(d)];
        return true;
    }
    if (e->function != FUNCTION_NONE) {
        int64_t a, b;
        if (!dims_eval(m, e->a, symbols, &a) || !dims_eval(m, e->b, symbols, &b))
            return false;
        bool divides = e->function == FUNCTION_FLOORDIV || e->function == FUNCTION_MOD;
        if (divides && (b == 0 || (a == INT64_MIN && b == -1)))
            return false;
        *value = e->function == FUNCTION_FLOORDIV ? floor_quotient(a, b)
                 : e->function == FUNCTION_MOD    ? a - floor_quotient(a, b) * b
                 : e->function == FUNCTION_MIN    ? (a < b ? a : b)
                 : e->function == FUNCTION_MAX    ? (a > b ? a : b)
                                                  : (a == 1 ? b : a);
        return true;
    }
    *value = 0;
    for (int i = 0; i < e->polynomial.n; i++) {
        const struct term *t = &e->polynomial.terms[i];
        int64_t product = t->coefficient;
        for (int j = 0; j < t->n_factors; j++) {
            int64_t x;
            if (!dims_eval(m, dim_symbol(t->factors[j]), symbols, &x) || __builtin_mul_overflow(product, x, &product))
                return false;
        }
        if (__builtin_add_overflow(*value, product, value))
            return false;
    }
    return true;
}

// Whether one of the functions, a set of bits, occurs in it.
static bool has_function(const struct module *m, dim d, unsigned functions)
{
    const struct symbol_expression *e = dim_is_symbol(d) ? expression(m, dim_symbol_id(d)) : NULL;
    if (!e)
        return false;
    if (e->function != FUNCTION_NONE)
        return functions >> e->function & 1 || has_function(m, e->a, functions) || has_function(m, e->b, functions);
    for (int i = 0; i < e->polynomial.n; i++)
        for (int j = 0; j < e->polynomial.terms[i].n_factors; j++)
            if (has_function(m, dim_symbol(e->polynomial.terms[i].factors[j]), functions))
                return true;
    return false;
}

bool dims_is_polynomial(const struct module *m, dim d)
{
    return !has_function(m, d, ~0u);
}

bool dims_is_clamped(const struct module *m, dim d)
{
    return has_function(m, d, 1u << FUNCTION_MIN | 1u << FUNCTION_MAX);
}

void dims_symbols(const struct module *m, dim d, void (*use)(void *data, int id), void *data)
{
    if (!dim_is_symbol(d))
        return;
    const struct symbol_expression *e = expression(m, dim_symbol_id(d));
    if (!e) {
        use(data, dim_symbol_id(d));
        return;
    }
    if (e->function != FUNCTION_NONE) {
        dims_symbols(m, e->a, use, data);
        dims_symbols(m, e->b, use, data);
        return;
    }
    for (int i = 0; i < e->polynomial.n; i++)
        for (int j = 0; j < e->polynomial.terms[i].n_factors; j++)
            dims_symbols(m, dim_symbol(e->polynomial.terms[i].factors[j]), use, data);
}

static struct value *build_atom(struct builder *b, int id)
{
    static const enum opcode codes[] = {OP_NONE, OP_FLOORDIV, OP_MOD, OP_MIN, OP_MAX};
    const struct symbol_expression *e = expression(b->function->module, id);
    if (!e)
        return function_symbol(b->function, id);
    struct value *x = dims_build(b, e->a), *y = dims_build(b, e->b);
    if (e->function == FUNCTION_BROADCAST)
        return build_select(b, build_binary(b, OP_EQ, x, build_index(b, 1)), y, x);
    return build_binary(b, codes[e->function], x, y);
}

struct value *dims_build(struct builder *b, dim d)
{
    struct polynomial p;
    to_polynomial(b->function->module, d, &p);
    struct value *sum = NULL;
    for (int i = 0; i < p.n; i++) {
        const struct term *t = &p.terms[i];
        struct value *product = NULL;
        for (int j = 0; j < t->n_factors; j++) {
            struct value *x = build_atom(b, t->factors[j]);
            product = product ? build_binary(b, OP_MUL, product, x) : x;
        }
        if (!product)
            product = build_index(b, t->coefficient);
        else if (t->coefficient != 1)
            product = build_binary(b, OP_MUL, product, build_index(b, t->coefficient));
        sum = sum ? build_binary(b, OP_ADD, sum, product) : product;
    }
    return sum ? sum : build_index(b, 0);
}
