/* What a generative model says, as PCM to a pipe.
 *
 *   speak model.wavenet 3.0 1 | aplay -q -t raw -f S16_LE -r 8000
 *   speak model.wavenet 3.0 1 mel.f32 | ...
 *
 * At most so many seconds, drawn with that seed: 16-bit, little-endian, mono, at the model's rate, which is printed to
 * the standard error. A model that is told frames gets them of a file: 32-bit floats, frame after frame. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <wavenet.h>

enum { CHUNK = 256 };

/* The file's numbers, which it counts. */
static float *read_numbers(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  float *numbers = NULL;
  if (file && fseek(file, 0, SEEK_END) == 0) {
    *count = (size_t)ftell(file) / sizeof(float);
    rewind(file);
    numbers = malloc(*count * sizeof(float) + 1);
    if (numbers && fread(numbers, sizeof(float), *count, file) != *count) free(numbers), numbers = NULL;
  }
  if (file) fclose(file);
  return numbers;
}

static void write_samples(const float *samples, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < count; ++i) {
    const int value = (int)lrintf(samples[i] * 32767.0f);
    const unsigned char bytes[2] = {(unsigned char)(value & 255), (unsigned char)(value >> 8 & 255)};
    fwrite(bytes, 1, 2, stdout);
  }
}

int main(int argc, char **argv) {
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: %s model.wavenet seconds seed [frames] > pcm\n", argv[0]);
    return 2;
  }
  wavenet_error error;
  wavenet_model *model = wavenet_model_open(argv[1], &error);
  const unsigned long long seed = strtoull(argv[3], NULL, 10);
  wavenet_generator *generator = model ? wavenet_generator_create(model, seed, 1.0, &error) : NULL;
  if (!generator) {
    fprintf(stderr, "%s\n", error.message);
    wavenet_model_free(model);
    return 1;
  }
  const double rate = wavenet_model_sample_rate(model);
  fprintf(stderr, "%g Hz, %s\n", rate, wavenet_instruction_set());

  const size_t channels = wavenet_model_frame_channels(model);
  size_t numbers = 0, told = 0;
  float *frames = argc == 5 ? read_numbers(argv[4], &numbers) : NULL;
  const size_t count = frames && channels ? numbers / channels : 0;
  int failed = 0;
  if (channels && count == 0) {
    fprintf(stderr, "the model wants frames of %zu numbers, and there is none\n", channels);
    failed = 1;
  }

  float samples[CHUNK];
  for (double left = failed ? 0 : floor(atof(argv[2]) * rate); left > 0;) {
    const ptrdiff_t taken = wavenet_generator_push(generator, frames + told * channels, count - told);
    if (taken < 0) failed = 1, fprintf(stderr, "a frame is not finite\n");
    if (taken < 0) break;
    told += (size_t)taken;
    if (told == count) wavenet_generator_finish(generator);
    const ptrdiff_t made = wavenet_generator_run(generator, samples, left < CHUNK ? (size_t)left : CHUNK);
    if (made < 0) failed = 1, fprintf(stderr, "the network gave what is not finite\n");
    if (made <= 0) break; /* or all frames were said */
    write_samples(samples, made);
    left -= (double)made;
  }
  free(frames);
  wavenet_generator_free(generator);
  wavenet_model_free(model);
  return failed;
}
