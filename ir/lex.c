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

void lex_next(struct lexer *l)
{
    skip_blank(l);
    struct token *t = &l->token;
    *t = (struct token){.start = l->p, .text = l->p, .line = l->line, .first = l->at_line_start};
    l->at_line_start = false;
    if (l->p == l->end)
        return;
    const char *p = l->p;
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
    } else if (*p == '"' && memchr(p + 1, '"', (size_t)(l->end - p - 1))) {
        t->kind = TOKEN_STRING;
        t->text++;
        p = memchr(p + 1, '"', (size_t)(l->end - p - 1));
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
        n.i = strtoll(buffer, NULL, 10);
        *ok = errno == 0;
    }
    return n;
}
