// A program with a model inside: digits.h and digits.o are made from digits.onnx while it is built (meson.build,
// CMakeLists.txt). It needs neither tegula nor the file when it runs.
//
//     main samples/digit_3.pgm     prints 3
#include <stdio.h>

#include "digits.h"

int main(int argc, char **argv)
{
    unsigned char bytes[28 * 28];
    float image[28 * 28], logits[10];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file || fseek(file, -(long)sizeof bytes, SEEK_END) || fread(bytes, 1, sizeof bytes, file) != sizeof bytes) {
        fprintf(stderr, "usage: %s PICTURE.pgm\n", argv[0]);
        return 2;
    }
    fclose(file);
    for (int i = 0; i < 28 * 28; i++)
        image[i] = (float)bytes[i] / 255;
    if (digits(image, logits, 1)) // a batch of one
        return 1;
    int best = 0;
    for (int i = 1; i < 10; i++)
        best = logits[i] > logits[best] ? i : best;
    printf("%d\n", best);
    return 0;
}
