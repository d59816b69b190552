#include "tools/json.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

int utf8_length(const unsigned char *c)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    int more = *c < 0x80 ? 0 : (*c & 0xe0) == 0xc0 ? 1 : (*c & 0xf0) == 0xe0 ? 2 : (*c & 0xf8) == 0xf0 ? 3 : -1;
    uint32_t code = more > 0 ? *c & (0x3fu >> more) : *c;
    for (int i = 1; i <= more; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (c[i] & 0x3f);
    }
    bool good = more >= 0 && code >= least[more] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return good ? more + 1 : 0;
}

void json_string(FILE *out, const char *text)
{
    putc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int n = utf8_length(c);
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < ' ' || !n)
            fprintf(out, "\\u%04x", n ? *c : 0xfffd); // the character that stands for what is none
        else
            fprintf(out, "%.*s", n, (const char *)c);
        c += n ? n : 1;
    }
    putc('"', out);
}

void json_number(FILE *out, double x)
{
    fprintf(out, isfinite(x) ? "%.9g" : "null", x);
}
