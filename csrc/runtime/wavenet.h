/* A trained model where there is no Python: C, no dependencies, nothing allocated while it runs.
 *
 *   wavenet_model       a file that `wavenet export --format runtime` wrote, checked when it is opened. Immutable: any
 *                       number of classifiers or generators, on any threads, may use one. It must outlive them.
 *   wavenet_classifier  listens to one signal, on one thread at a time. After it was created nothing is allocated and
 *                       nothing is locked, so an audio callback may call it.
 *   wavenet_generator   makes one signal, of a generative model, by the same rules; told frames, if the model is.
 *   wavenet_stack       residual layers alone, of a model whose input and head are the caller's; or a model that a signal
 *                       is played through, of an amplifier, say: samples in, samples out.
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
#include <stdint.h>

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
typedef struct wavenet_generator wavenet_generator;
typedef struct wavenet_stack wavenet_stack;

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

WAVENET_API double wavenet_model_sample_rate(const wavenet_model *model); /* Hz; 0 of a plain stack */
WAVENET_API size_t wavenet_model_classes(const wavenet_model *model);      /* 0: it is no classifier */

/* UTF-8; NULL for a class that doesn't exist. */
WAVENET_API const char *wavenet_model_label(const wavenet_model *model, size_t which);

/* What a generative model is told beside the samples: numbers of a frame, of a mel-spectrogram or of notes, and samples
 * that it stands for. 0: nothing. */
WAVENET_API size_t wavenet_model_frame_channels(const wavenet_model *model);
WAVENET_API size_t wavenet_model_frame_samples(const wavenet_model *model);

/* A classifier that decides every `hop_seconds` about the last `window_seconds`, each rounded to the model's frames of
 * 10 ms or so; a window of 0 seconds begins at the start of the signal. Both at most a day, and a window at most as long
 * as a gigabyte holds. */
WAVENET_API wavenet_classifier *wavenet_classifier_create(const wavenet_model *model, double window_seconds,
                                                          double hop_seconds, wavenet_error *error);

WAVENET_API void wavenet_classifier_free(wavenet_classifier *classifier); /* NULL is accepted */

/* Hears mono samples in [-1, 1] at the model's rate. Returns how many it took: fewer than `count` if a decision is
 * waiting to be read, or -1 if one of them is NaN or infinite; of those nothing was heard. Samples far beyond the next
 * decision are not looked at. */
WAVENET_API ptrdiff_t wavenet_classifier_push(wavenet_classifier *classifier, const float *samples, size_t count);

/* The signal has ended: until `reset`, `read` gives what is left to decide, and no more samples are taken. */
WAVENET_API void wavenet_classifier_finish(wavenet_classifier *classifier);

/* 1 and the decision that waits, or 0. */
WAVENET_API int wavenet_classifier_read(wavenet_classifier *classifier, wavenet_decision *decision);

/* Forgets everything: a new signal starts. */
WAVENET_API void wavenet_classifier_reset(wavenet_classifier *classifier);

/* How much audio beyond the end of its window a decision waits for, in seconds. */
WAVENET_API double wavenet_classifier_delay(const wavenet_classifier *classifier);

/* A signal of a generative model: the one that WaveNet.generate makes with that seed. On the same instruction set it is
 * the same bit by bit, but to rounding where the model is told frames or its samples are companded. A temperature above
 * 0 divides logits and multiplies scales; 1 is the model itself. */
WAVENET_API wavenet_generator *wavenet_generator_create(const wavenet_model *model, uint64_t seed, double temperature,
                                                        wavenet_error *error);

WAVENET_API void wavenet_generator_free(wavenet_generator *generator); /* NULL is accepted */

/* Takes frames, each of wavenet_model_frame_channels numbers, one after the other. Returns how many it took: fewer than
 * `count` where samples are to be made first (there is room for 16 at least), or -1 if a number is NaN or infinite, of
 * which none was taken; frames far beyond the room are not looked at. */
WAVENET_API ptrdiff_t wavenet_generator_push(wavenet_generator *generator, const float *frames, size_t count);

/* There are no more frames: until `reset`, `run` makes what is left of their samples. */
WAVENET_API void wavenet_generator_finish(wavenet_generator *generator);

/* Makes the next `count` samples, in [-1, 1] at the model's rate. Returns how many it made: fewer than `count` where
 * frames are missing, for some models also those that follow, or -1 if the network gave what is not finite: then the
 * samples are not to be used, and the generator is to be reset. */
WAVENET_API ptrdiff_t wavenet_generator_run(wavenet_generator *generator, float *samples, size_t count);

/* Starts the signal anew. */
WAVENET_API void wavenet_generator_reset(wavenet_generator *generator);

/* A stack of residual layers from zeros on: rows of floats in, a row for each step, rows of its skip sum out. Or an
 * amplifier that has heard nothing but silence so far: its rows are samples at the model's rate. */
WAVENET_API wavenet_stack *wavenet_stack_create(const wavenet_model *model, wavenet_error *error);

WAVENET_API void wavenet_stack_free(wavenet_stack *stack); /* NULL is accepted */

WAVENET_API size_t wavenet_stack_inputs(const wavenet_stack *stack);  /* floats of a row in */
WAVENET_API size_t wavenet_stack_outputs(const wavenet_stack *stack); /* and of a row out */

/* The next `count` rows, which are finite, and what becomes of them, in the same place if the rows are as long. */
WAVENET_API void wavenet_stack_push(wavenet_stack *stack, const float *rows, size_t count, float *skip);

/* A new signal starts. */
WAVENET_API void wavenet_stack_reset(wavenet_stack *stack);

#ifdef __cplusplus
}
#endif

#endif
