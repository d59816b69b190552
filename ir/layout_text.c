// The textual form of layouts; layout.h describes it.
#include "ir/layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const dim_name[LAYOUT_DIMS] = {"reg", "lane", "warp", "block", "offset", "d0",
                                                  "d1",  "d2",   "d3",   "d4",    "d5"};

// The dimensions of a side that the text mentions, in order: all tile dimensions, of the others those with bits.
static unsigned listed_dims(const struct layout_space *s, enum layout_dim dims[LAYOUT_DIMS])
{
    unsigned n = 0;
    for (int d = 0; d < LAYOUT_DIMS; d++)
        if (d < LAYOUT_DIM0 ? s->bits[d] > 0 : d - LAYOUT_DIM0 < s->rank)
            dims[n++] = (enum layout_dim)d;
    return n;
}

// ---- Printing --------------------------------------------------------------------------------------------------

struct text {
    char *buffer;
    size_t size, length;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    size_t room = t->length < t->size ? t->size - t->length : 0;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(room ? t->buffer + t->length : NULL, room, format, args);
    va_end(args);
    t->length += n > 0 ? (size_t)n : 0;
}

// Whether a reader can tell the output space from the basis vectors alone.
static bool out_is_implied(const struct layout *l)
{
    if (layout_in_bits(l) == 0)
        return l->out.rank == 0 && layout_out_bits(l) == 0;
    uint32_t used = 0, high[LAYOUT_DIMS];
    for (unsigned i = 0; i < layout_in_bits(l); i++)
        used |= l->basis[i];
    layout_unpack(&l->out, used, high);
    for (int d = 0; d < LAYOUT_DIMS; d++) {
        if (l->out.bits[d] == 0)
            continue;
        if (d < LAYOUT_DIM0 || !(high[d] >> (l->out.bits[d] - 1)))
            return false;
    }
    return true;
}

size_t layout_print(const struct layout *l, char *buffer, size_t size)
{
    struct text t = {buffer, size, 0};
    if (!layout_valid(l)) {
        put(&t, "#linear<invalid>");
        return t.length;
    }
    enum layout_dim in[LAYOUT_DIMS], out[LAYOUT_DIMS];
    unsigned n_in = listed_dims(&l->in, in), n_out = listed_dims(&l->out, out);
    put(&t, "#linear<");
    for (unsigned i = 0; i < n_in; i++) {
        put(&t, "%s%s=[", i ? ", " : "", dim_name[in[i]]);
        for (unsigned bit = 0; bit < l->in.bits[in[i]]; bit++) {
            put(&t, bit ? ",[" : "[");
            for (unsigned o = 0; o < n_out; o++)
                put(&t, "%s%u", o ? "," : "", (unsigned)layout_basis(l, in[i], bit, out[o]));
            put(&t, "]");
        }
        put(&t, "]");
    }
    if (!out_is_implied(l)) {
        bool tile = n_out == l->out.rank;
        put(&t, "%sout=[", n_in ? ", " : "");
        for (unsigned o = 0; o < n_out; o++) {
            put(&t, o ? (tile ? "," : ", ") : "");
            if (!tile)
                put(&t, "%s:", dim_name[out[o]]);
            put(&t, "%llu", (unsigned long long)layout_out_size(l, out[o]));
        }
        put(&t, "]");
    }
    put(&t, ">");
    return t.length;
}

// ---- Parsing ---------------------------------------------------------------------------------------------------

struct parser {
    const char *at;
    struct layout_space in, out;
    uint32_t seen; // input dimensions
    // The basis vectors in the order of the text.
    unsigned n_vectors;
    enum layout_dim vector_dim[LAYOUT_MAX_BITS];
    uint32_t vector[LAYOUT_MAX_BITS][LAYOUT_DIMS];
    int n_coordinates; // of every vector; -1: none seen yet
    // `out=[...]`
    bool has_out;
    unsigned n_out;
    enum layout_dim out_dim[LAYOUT_DIMS];
};

static char peek(struct parser *p)
{
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
        p->at++;
    return *p->at;
}

static bool accept(struct parser *p, char c)
{
    if (peek(p) != c)
        return false;
    p->at++;
    return true;
}

static bool parse_number(struct parser *p, uint64_t limit, uint64_t *number)
{
    peek(p);
    const char *s = p->at;
    uint64_t n = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        n = n * 10 + (uint64_t)(*s - '0');
        if (n > limit)
            return false;
    }
    if (s == p->at)
        return false;
    p->at = s;
    *number = n;
    return true;
}

static bool word_is(struct parser *p, const char *word)
{
    peek(p);
    size_t n = strlen(word);
    if (strncmp(p->at, word, n) != 0)
        return false;
    char next = p->at[n];
    if ((next >= 'a' && next <= 'z') || (next >= '0' && next <= '9'))
        return false;
    p->at += n;
    return true;
}

static bool parse_dim(struct parser *p, enum layout_dim *dim)
{
    for (int d = 0; d < LAYOUT_DIMS; d++)
        if (word_is(p, dim_name[d])) {
            *dim = (enum layout_dim)d;
            return true;
        }
    return false;
}

static void space_add(struct layout_space *s, enum layout_dim d, unsigned bits)
{
    s->bits[d] = (uint8_t)bits;
    if (d >= LAYOUT_DIM0 && d - LAYOUT_DIM0 >= s->rank)
        s->rank = (uint8_t)(d - LAYOUT_DIM0 + 1);
}

// [1,0]
static const char *parse_vector(struct parser *p, uint32_t *vector)
{
    if (!accept(p, '['))
        return "expected '[' of a basis vector";
    int n = 0;
    const char *start = p->at;
    if (!accept(p, ']'))
        do {
            uint64_t number;
            if (n == LAYOUT_DIMS)
                return "too many coordinates";
            if (!parse_number(p, UINT32_MAX, &number))
                return "expected a coordinate below 2^32";
            vector[n++] = (uint32_t)number;
        } while (accept(p, ','));
    if (n && !accept(p, ']'))
        return "expected ',' or ']' in a basis vector";
    if (p->n_coordinates >= 0 && p->n_coordinates != n) {
        p->at = start;
        return "basis vectors have different numbers of coordinates";
    }
    p->n_coordinates = n;
    return NULL;
}

// [[1,0],[2,0]]
static const char *parse_vectors(struct parser *p, enum layout_dim dim)
{
    unsigned first = p->n_vectors;
    if (!accept(p, '['))
        return "expected '[' of a list of basis vectors";
    if (!accept(p, ']')) {
        do {
            if (p->n_vectors == LAYOUT_MAX_BITS)
                return "more than 32 basis vectors";
            const char *error = parse_vector(p, p->vector[p->n_vectors]);
            if (error)
                return error;
            p->vector_dim[p->n_vectors++] = dim;
        } while (accept(p, ','));
        if (!accept(p, ']'))
            return "expected ',' or ']' after a basis vector";
    }
    space_add(&p->in, dim, p->n_vectors - first);
    return NULL;
}

// [32,16] or [reg:4, lane:32, d0:16]
static const char *parse_out(struct parser *p)
{
    if (!accept(p, '['))
        return "expected '[' of the output sizes";
    p->has_out = true;
    if (accept(p, ']'))
        return NULL;
    uint32_t seen = 0;
    bool labelled = false;
    do {
        enum layout_dim dim = LAYOUT_DIM0 + p->n_out;
        peek(p);
        const char *start = p->at;
        bool label = parse_dim(p, &dim);
        if (p->n_out == 0)
            labelled = label;
        p->at = label == labelled ? p->at : start;
        if (label != labelled)
            return "either all output sizes have a name or none";
        if (!label && p->n_out == LAYOUT_MAX_RANK)
            return "the rank is above 6";
        if (seen >> dim & 1) {
            p->at = start;
            return "the dimension is named twice";
        }
        seen |= UINT32_C(1) << dim;
        if (label && !accept(p, ':'))
            return "expected ':' and a size";
        peek(p);
        start = p->at;
        uint64_t size;
        if (!parse_number(p, UINT64_C(1) << 32, &size) || size == 0 || (size & (size - 1))) {
            p->at = start;
            return "expected a size: a power of two up to 2^32";
        }
        unsigned bits = 0;
        while (size >> (bits + 1))
            bits++;
        space_add(&p->out, dim, bits);
        p->out_dim[p->n_out++] = dim;
    } while (accept(p, ','));
    return accept(p, ']') ? NULL : "expected ',' or ']' in the output sizes";
}

static const char *parse_entry(struct parser *p)
{
    enum layout_dim dim = LAYOUT_REG;
    peek(p);
    const char *start = p->at;
    bool out = word_is(p, "out");
    if (!out && !parse_dim(p, &dim))
        return "expected reg, lane, warp, block, offset, d0..d5 or out";
    if (out ? p->has_out : p->seen >> dim & 1) {
        p->at = start;
        return "the dimension is named twice";
    }
    if (!accept(p, '='))
        return "expected '='";
    if (out)
        return parse_out(p);
    p->seen |= UINT32_C(1) << dim;
    return parse_vectors(p, dim);
}

// The output space, given or implied, and the vectors in it.
static const char *build(struct parser *p, struct layout *l)
{
    unsigned n = p->n_coordinates > 0 ? (unsigned)p->n_coordinates : 0;
    if (!p->has_out) {
        if (n > LAYOUT_MAX_RANK)
            return "the rank is above 6";
        for (unsigned k = 0; k < n; k++) {
            unsigned bits = 0;
            for (unsigned i = 0; i < p->n_vectors; i++)
                while (bits < 32 && p->vector[i][k] >> bits)
                    bits++;
            p->out_dim[p->n_out++] = LAYOUT_DIM0 + k;
            space_add(&p->out, LAYOUT_DIM0 + k, bits);
        }
    }
    if (p->n_vectors && p->n_out != n)
        return "the number of coordinates is not that of the output sizes";
    struct layout r = {.in = p->in, .out = p->out};
    if (layout_out_bits(&r) > LAYOUT_MAX_BITS)
        return "the output has more than 2^32 elements";
    unsigned next[LAYOUT_DIMS] = {0}; // bit of each input dimension
    for (unsigned i = 0; i < p->n_vectors; i++) {
        uint32_t in[LAYOUT_DIMS] = {0}, out[LAYOUT_DIMS] = {0};
        for (unsigned k = 0; k < n; k++) {
            if ((uint64_t)p->vector[i][k] >= layout_out_size(&r, p->out_dim[k]))
                return "a coordinate is beyond its output size";
            out[p->out_dim[k]] = p->vector[i][k];
        }
        enum layout_dim d = p->vector_dim[i];
        in[d] = UINT32_C(1) << next[d]++;
        uint32_t bit = layout_pack(&r.in, in);
        unsigned position = 0;
        while (bit >> position != 1)
            position++;
        r.basis[position] = layout_pack(&r.out, out);
    }
    *l = r;
    return NULL;
}

static const char *parse(struct parser *p, struct layout *l)
{
    static const char head[] = "#linear";
    peek(p);
    if (strncmp(p->at, head, sizeof head - 1) != 0)
        return "expected #linear<...>";
    p->at += sizeof head - 1;
    if (!accept(p, '<'))
        return "expected '<'";
    if (!accept(p, '>')) {
        do {
            const char *error = parse_entry(p);
            if (error)
                return error;
        } while (accept(p, ','));
        if (!accept(p, '>'))
            return "expected ',' or '>'";
    }
    return build(p, l);
}

const char *layout_parse(const char **cursor, struct layout *l)
{
    struct parser p = {.at = *cursor, .n_coordinates = -1};
    const char *error = parse(&p, l);
    *cursor = p.at;
    return error;
}
