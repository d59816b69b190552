// The words of the tile language.
#ifndef TEGULA_IR_LEX_H
#define TEGULA_IR_LEX_H

#include <stdbool.h>
#include <stddef.h>

#include "ir/ir.h"

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,       // matmul, BM, f32
    TOKEN_VALUE,      // %x; text without the sign
    TOKEN_SYMBOL,     // @x; text without the sign
    TOKEN_NUMBER,     // 12, 1.5e3; without a sign
    TOKEN_STRING,     // "..."; text without the quotes, escapes as they stand
    TOKEN_PUNCTUATION // one character, or ->
};

struct token {
    enum token_kind kind;
    const char *text;
    size_t length;
    const char *start; // of the token with its sign or quote
    int line;
    bool first; // on its line
};

struct lexer {
    const char *p, *end;
    int line, last_line; // the latter: where the token before the current one ends
    bool at_line_start;
    struct token token; // the current one
};

void lex_init(struct lexer *l, const char *text, size_t length);
void lex_next(struct lexer *l); // to the next token
// Continues at p, which lies behind the current token.
void lex_jump(struct lexer *l, const char *p);

bool lex_is(const struct lexer *l, const char *word);      // a name or punctuation
struct number lex_number(const struct token *t, bool *ok); // at most 2^64 - 1, if whole
// What a string token means, in the arena; *fault is NULL or what is wrong with it.
const char *lex_string(const struct token *t, struct arena *a, const char **fault);
bool lex_is_identifier(const char *s); // of C
void lex_make_identifier(char *s);     // what no identifier has becomes _; it may still begin with a digit, or be empty
// Bytes written as 0x and two digits each: their number, or -1. bytes has room for length / 2.
int64_t lex_hex(const char *text, size_t length, unsigned char *bytes);

#endif
