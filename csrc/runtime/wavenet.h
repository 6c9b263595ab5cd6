/* A trained classifier where there is no Python: C, no dependencies, nothing allocated while it listens.
 *
 *   wavenet_model       a file that `wavenet export --format runtime` wrote, checked when it is opened. Immutable: any
 *                       number of classifiers, on any threads, may use one. It must outlive them.
 *   wavenet_classifier  listens to one signal, on one thread at a time. After it was created nothing is allocated and
 *                       nothing is locked, so an audio callback may call it.
 *
 *     wavenet_error error;
 *     wavenet_model *model = wavenet_model_open("model.wavenet", &error);
 *     wavenet_classifier *classifier = wavenet_classifier_create(model, 1.0, 0.1, &error);
 *     while ((count = more_samples(samples)) > 0) {
 *       for (const float *from = samples; count > 0;) {
 *         ptrdiff_t taken = wavenet_classifier_push(classifier, from, count);
 *         if (taken < 0) ...                                       samples that are not finite
 *         from += taken, count -= taken;
 *         if (wavenet_classifier_read(classifier, &decision)) ...  what was heard up to decision.end
 *       }
 *     }
 *
 * Functions that can fail take a wavenet_error, or NULL, and return NULL. No C++ exception leaves this library.
 */
#ifndef WAVENET_H
#define WAVENET_H

#include <stddef.h>

#if defined(_WIN32)
#define WAVENET_API
#else
#define WAVENET_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wavenet_model wavenet_model;
typedef struct wavenet_classifier wavenet_classifier;

typedef enum {
  WAVENET_OK = 0,
  WAVENET_NO_FILE = 1,        /* it can't be opened or read */
  WAVENET_BAD_FILE = 2,       /* it is no model, damaged, or contradicts itself */
  WAVENET_NEWER_FILE = 3,     /* its format is newer than this library */
  WAVENET_BAD_ARGUMENT = 4,
  WAVENET_NO_MEMORY = 5
} wavenet_status;

typedef struct {
  wavenet_status status;
  char message[248]; /* a sentence that names the file or the argument */
} wavenet_error;

/* What a classifier makes of the time from `start` to `end`, in seconds of the signal. The arrays hold a number for
 * each class and stay as they are until the classifier is used again. */
typedef struct {
  double start, end;
  const float *logits;
  const float *probabilities;
  size_t best; /* the likeliest class */
} wavenet_decision;

WAVENET_API const char *wavenet_version(void);

/* The instruction set that this processor gets, "avx2" say. */
WAVENET_API const char *wavenet_instruction_set(void);

/* The file is mapped into memory where the system can do that, and must not be changed while the model is open. */
WAVENET_API wavenet_model *wavenet_model_open(const char *path, wavenet_error *error);

/* The bytes are used where they are: they must be aligned to 64 bytes, stay there and stay unchanged. */
WAVENET_API wavenet_model *wavenet_model_from_memory(const void *bytes, size_t size, wavenet_error *error);

WAVENET_API void wavenet_model_free(wavenet_model *model); /* NULL is accepted */

WAVENET_API double wavenet_model_sample_rate(const wavenet_model *model); /* Hz */
WAVENET_API size_t wavenet_model_classes(const wavenet_model *model);

/* UTF-8; NULL for a class that doesn't exist. */
WAVENET_API const char *wavenet_model_label(const wavenet_model *model, size_t which);

/* A classifier that decides every `hop_seconds` about the last `window_seconds`, each rounded to the model's frames of
 * 10 ms or so; a window of 0 seconds begins at the start of the signal. Both at most a day. */
WAVENET_API wavenet_classifier *wavenet_classifier_create(const wavenet_model *model, double window_seconds,
                                                          double hop_seconds, wavenet_error *error);

WAVENET_API void wavenet_classifier_free(wavenet_classifier *classifier); /* NULL is accepted */

/* Hears mono samples in [-1, 1] at the model's rate. Returns how many it took: fewer than `count` if a decision is
 * waiting to be read, or -1 if one of them is NaN or infinite; of those nothing was heard. */
WAVENET_API ptrdiff_t wavenet_classifier_push(wavenet_classifier *classifier, const float *samples, size_t count);

/* The signal has ended: until `reset`, `read` gives what is left to decide, and no more samples are taken. */
WAVENET_API void wavenet_classifier_finish(wavenet_classifier *classifier);

/* 1 and the decision that waits, or 0. */
WAVENET_API int wavenet_classifier_read(wavenet_classifier *classifier, wavenet_decision *decision);

/* Forgets everything: a new signal starts. */
WAVENET_API void wavenet_classifier_reset(wavenet_classifier *classifier);

/* How much audio beyond the end of its window a decision waits for, in seconds. */
WAVENET_API double wavenet_classifier_delay(const wavenet_classifier *classifier);

#ifdef __cplusplus
}
#endif

#endif
