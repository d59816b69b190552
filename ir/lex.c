#include "ir/lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return is_name_start(c) || is_digit(c);
}

void lex_init(struct lexer *l, const char *text, size_t length)
{
    *l = (struct lexer){.p = text, .end = text + length, .line = 1, .at_line_start = true};
    lex_next(l);
}

static void skip_blank(struct lexer *l)
{
    while (l->p < l->end) {
        char c = *l->p;
        if (c == '\n') {
            l->line++;
            l->at_line_start = true;
        } else if (c == '/' && l->end - l->p > 1 && l->p[1] == '/') {
            while (l->p < l->end && *l->p != '\n')
                l->p++;
            continue;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return;
        }
        l->p++;
    }
}

static const char *scan_number(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    if (p < end && *p == '.')
        for (p++; p < end && is_digit(*p);)
            p++;
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *q = p + 1;
        if (q < end && (*q == '+' || *q == '-'))
            q++;
        if (q < end && is_digit(*q))
            for (p = q; p < end && is_digit(*p);)
                p++;
    }
    return p;
}

// The quote that ends a string, or NULL. A backslash takes the character after it along.
static const char *string_end(const char *p, const char *end)
{
    for (; p < end && *p != '"'; p++)
        if (*p == '\\' && ++p == end)
            return NULL;
    return p < end ? p : NULL;
}

void lex_next(struct lexer *l)
{
    l->last_line = l->line;
    skip_blank(l);
    struct token *t = &l->token;
    *t = (struct token){.start = l->p, .text = l->p, .line = l->line, .first = l->at_line_start};
    l->at_line_start = false;
    if (l->p == l->end)
        return;
    const char *p = l->p, *closing = *p == '"' ? string_end(p + 1, l->end) : NULL;
    if ((*p == '%' || *p == '@') && l->end - p > 1 && is_name(p[1])) {
        t->kind = *p == '%' ? TOKEN_VALUE : TOKEN_SYMBOL;
        for (p++; p < l->end && is_name(*p);)
            p++;
        t->text++;
    } else if (is_name_start(*p)) {
        t->kind = TOKEN_NAME;
        while (p < l->end && is_name(*p))
            p++;
    } else if (is_digit(*p)) {
        t->kind = TOKEN_NUMBER;
        p = scan_number(p, l->end);
    } else if (closing) {
        t->kind = TOKEN_STRING;
        t->text++;
        p = closing;
        t->length = (size_t)(p - t->text);
        for (const char *c = t->text; c < p; c++)
            l->line += *c == '\n';
        l->p = p + 1;
        return;
    } else {
        t->kind = TOKEN_PUNCTUATION;
        p += *p == '-' && l->end - p > 1 && p[1] == '>' ? 2 : 1;
    }
    t->length = (size_t)(p - t->text);
    l->p = p;
}

void lex_jump(struct lexer *l, const char *p)
{
    l->p = p;
    l->at_line_start = false;
    lex_next(l);
}

bool lex_is(const struct lexer *l, const char *word)
{
    const struct token *t = &l->token;
    return (t->kind == TOKEN_NAME || t->kind == TOKEN_PUNCTUATION) && strlen(word) == t->length &&
           !memcmp(word, t->text, t->length);
}

static int hex_digit(char c)
{
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char *lex_string(const struct token *t, struct arena *a, const char **fault)
{
    static const char escapes[] = "\\\"nrt", meanings[] = "\\\"\n\r\t";
    char *s = arena_alloc(a, t->length + 1), *out = s;
    *fault = NULL;
    for (const char *p = t->text, *end = p + t->length; p < end; p++) {
        char c = *p;
        if (c == '\\') {
            const char *known = memchr(escapes, p[1], sizeof escapes - 1);
            if (known) {
                c = meanings[known - escapes];
                p++;
            } else if (p[1] == 'x' && end - p > 3 && hex_digit(p[2]) >= 0 && hex_digit(p[3]) >= 0) {
                c = (char)(hex_digit(p[2]) * 16 + hex_digit(p[3]));
                p += 3;
            } else {
                *fault = "unknown escape in a string; known are \\\\ \\\" \\n \\r \\t and \\x with two digits";
                return s;
            }
        }
        if (!c) {
            *fault = "a string cannot hold a byte of 0";
            return s;
        }
        *out++ = c;
    }
    return s;
}

int64_t lex_hex(const char *text, size_t length, unsigned char *bytes)
{
    if (length < 2 || length % 2 || memcmp(text, "0x", 2))
        return -1;
    for (size_t i = 2; i < length; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return -1;
        bytes[i / 2 - 1] = (unsigned char)(high * 16 + low);
    }
    return (int64_t)(length / 2 - 1);
}

struct number lex_number(const struct token *t, bool *ok)
{
    char buffer[128];
    struct number n = {0};
    *ok = t->length < sizeof buffer;
    if (!*ok)
        return n;
    memcpy(buffer, t->text, t->length);
    buffer[t->length] = 0;
    n.is_float = strpbrk(buffer, ".eE") != NULL;
    errno = 0;
    n.f = strtod(buffer, NULL);
    if (!n.is_float) {
        n.i = (int64_t)strtoull(buffer, NULL, 10);
        *ok = errno == 0;
    }
    return n;
}

bool lex_is_identifier(const char *s)
{
    for (const char *c = s; *c; c++)
        if (c == s ? !is_name_start(*c) : !is_name(*c))
            return false;
    return *s != 0;
}

void lex_make_identifier(char *s)
{
    for (; *s; s++)
        if (!is_name(*s))
            *s = '_';
}
