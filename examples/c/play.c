/* A guitar played through a model of an amplifier, from a pipe into a pipe.
 *
 *   arecord -q -t raw -f S16_LE -r 48000 | play model.wavenet | aplay -q -t raw -f S16_LE -r 48000
 *
 * 16-bit PCM, little-endian, mono, at the model's rate, which is printed to the standard error. An audio callback would
 * call wavenet_stack_push in the same way: it neither allocates nor waits. */
#include <math.h>
#include <stdio.h>

#include <wavenet.h>

enum { CHUNK = 64 };

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s model.wavenet < pcm > pcm\n", argv[0]);
    return 2;
  }
  wavenet_error error;
  wavenet_model *model = wavenet_model_open(argv[1], &error);
  wavenet_stack *stack = model ? wavenet_stack_create(model, &error) : NULL;
  if (!stack) {
    fprintf(stderr, "%s\n", error.message);
    wavenet_model_free(model);
    return 1;
  }
  fprintf(stderr, "%g Hz, %s\n", wavenet_model_sample_rate(model), wavenet_instruction_set());
  const int is_amplifier = wavenet_stack_inputs(stack) == 1 && wavenet_stack_outputs(stack) == 1;
  if (!is_amplifier) fprintf(stderr, "the model is a stack with other rows than samples\n");

  unsigned char bytes[2 * CHUNK];
  float samples[CHUNK];
  for (size_t count; is_amplifier && (count = fread(bytes, 2, CHUNK, stdin)) > 0;) {
    for (size_t i = 0; i < count; ++i) {
      const int value = bytes[2 * i] | bytes[2 * i + 1] << 8;
      samples[i] = (float)(value < 32768 ? value : value - 65536) / 32768.0f;
    }
    wavenet_stack_push(stack, samples, count, samples);
    for (size_t i = 0; i < count; ++i) {
      const int value = (int)lrintf(fminf(fmaxf(samples[i], -1.0f), 1.0f) * 32767.0f);
      bytes[2 * i] = (unsigned char)(value & 255), bytes[2 * i + 1] = (unsigned char)(value >> 8 & 255);
    }
    fwrite(bytes, 2, count, stdout);
    fflush(stdout);
  }
  wavenet_stack_free(stack);
  wavenet_model_free(model);
  return !is_amplifier;
}
