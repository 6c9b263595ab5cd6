/* Decisions about PCM from a pipe, a line each: start and end in seconds, label, probability.
 *
 *   arecord -q -t raw -f S16_LE -r 16000 | listen model.wavenet [WINDOW HOP]
 *
 * The samples are 16-bit, little-endian, mono, at the model's rate, which is printed to the standard error. WINDOW and
 * HOP are in seconds, 1 and 0.1 unless they are given. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <wavenet.h>

enum { CHUNK = 256 };

static void print_decisions(wavenet_classifier *classifier, const wavenet_model *model) {
  wavenet_decision decision;
  while (wavenet_classifier_read(classifier, &decision)) {
    printf("%.4f\t%.4f\t%s\t%.6f\n", decision.start, decision.end, wavenet_model_label(model, decision.best),
           decision.probabilities[decision.best]);
    fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (argc != 2 && argc != 4) {
    fprintf(stderr, "usage: %s model.wavenet [window-seconds hop-seconds] < pcm\n", argv[0]);
    return 2;
  }
  const double window = argc == 4 ? atof(argv[2]) : 1.0, hop = argc == 4 ? atof(argv[3]) : 0.1;
  wavenet_error error;
  wavenet_model *model = wavenet_model_open(argv[1], &error);
  wavenet_classifier *classifier = model ? wavenet_classifier_create(model, window, hop, &error) : NULL;
  if (!classifier) {
    fprintf(stderr, "%s\n", error.message);
    wavenet_model_free(model);
    return 1;
  }
  fprintf(stderr, "%g Hz, %s\n", wavenet_model_sample_rate(model), wavenet_instruction_set());

  unsigned char bytes[2 * CHUNK];
  float samples[CHUNK];
  size_t count;
  while ((count = fread(bytes, 2, CHUNK, stdin)) > 0) {
    for (size_t i = 0; i < count; ++i) samples[i] = (int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8) / 32768.0f;
    for (const float *from = samples; count > 0;) {
      const ptrdiff_t taken = wavenet_classifier_push(classifier, from, count);
      from += taken, count -= (size_t)taken;
      print_decisions(classifier, model);
    }
  }
  wavenet_classifier_finish(classifier);
  print_decisions(classifier, model);
  wavenet_classifier_free(classifier);
  wavenet_model_free(model);
  return 0;
}
