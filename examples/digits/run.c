// Reads pictures of digits: compiles digits.onnx in memory and runs it on each.
//
//     run digits.onnx samples/digit_3.pgm ...      prints `samples/digit_3.pgm: 3 (99.9 %)`
//
// A picture is a PGM file (P5) of 28x28 grey levels, bright ink on black. To build it by hand:
//
//     cc run.c -ltegula -lm -o run
#include <math.h>
#include <stdio.h>

#include <tegula/tegula.h>

#define SIDE 28
#define DIGITS 10

// Returns 0, and the grey levels as 0 to 1.
static int read_picture(const char *path, float pixels[SIDE * SIDE])
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    int width = 0, height = 0, most = 0;
    unsigned char bytes[SIDE * SIDE];
    int fine = fscanf(file, "P5 %d %d %d", &width, &height, &most) == 3 && width == SIDE && height == SIDE &&
               most > 0 && most < 256 && fgetc(file) != EOF && fread(bytes, 1, sizeof bytes, file) == sizeof bytes;
    fclose(file);
    if (!fine) {
        fprintf(stderr, "%s: not a PGM file (P5) of %dx%d bytes\n", path, SIDE, SIDE);
        return 1;
    }
    for (int i = 0; i < SIDE * SIDE; i++)
        pixels[i] = (float)bytes[i] / (float)most;
    return 0;
}

// The most likely digit; its probability, by the softmax over the logits, in *probability.
static int classify(const float logits[DIGITS], double *probability)
{
    int best = 0;
    double sum = 0;
    for (int i = 1; i < DIGITS; i++)
        best = logits[i] > logits[best] ? i : best;
    for (int i = 0; i < DIGITS; i++)
        sum += exp((double)logits[i] - (double)logits[best]);
    *probability = 1 / sum;
    return best;
}

static int run(tg_context *ctx, tg_model_handle *model, const char *path)
{
    float pixels[SIDE * SIDE], logits[DIGITS];
    if (read_picture(path, pixels))
        return 1;
    const tg_data_type f32 = {TG_CODE_FLOAT, 32, 1};
    int64_t image_shape[] = {1, 1, SIDE, SIDE}, logits_shape[] = {1, DIGITS};
    tg_tensor image = {.data = pixels, .device = {TG_DEVICE_CPU, 0}, .ndim = 4, .dtype = f32, .shape = image_shape};
    tg_tensor out = {.data = logits, .device = {TG_DEVICE_CPU, 0}, .ndim = 2, .dtype = f32, .shape = logits_shape};
    if (tg_model_run(model, &image, 1, &out, 1)) {
        fprintf(stderr, "%s\n", tg_last_error(ctx));
        return 1;
    }
    double probability;
    int digit = classify(logits, &probability);
    printf("%s: %d (%.1f %%)\n", path, digit, 100 * probability);
    return 0;
}

int main(int argc, char **argv)
{
    tg_context *ctx;
    tg_model_handle *model = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL.onnx PICTURE.pgm...\n", argv[0]);
        return 2;
    }
    if (tg_context_create(1, &ctx)) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    int status = tg_model_load_file(ctx, argv[1], NULL, &model);
    if (status)
        fprintf(stderr, "%s\n", tg_last_error(ctx));
    for (int i = 2; i < argc && !status; i++)
        status = run(ctx, model, argv[i]);
    tg_model_destroy(model);
    tg_context_destroy(ctx);
    return status;
}
