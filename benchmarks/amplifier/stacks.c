/* The gated network by the C library's plain stacks: two, and the sums between them (network.py says which). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "wavenet.h"

struct array {
  wavenet_model *model;
  wavenet_stack *stack;
  size_t inputs, outputs;
  float *rows, *skip; /* of a buffer */
  float *first;       /* what a sample adds to each input, the last of which is the sample itself */
};

struct player {
  struct array arrays[2];
  float offset;
};

static int open_array(struct array *array, const char *folder, int which, int most, FILE *glue) {
  char path[4096];
  wavenet_error error;
  snprintf(path, sizeof path, "%s/%d.wavenet", folder, which);
  array->model = wavenet_model_open(path, &error);
  array->stack = array->model ? wavenet_stack_create(array->model, &error) : NULL;
  if (!array->stack) {
    fprintf(stderr, "%s\n", error.message);
    return 0;
  }
  array->inputs = wavenet_stack_inputs(array->stack), array->outputs = wavenet_stack_outputs(array->stack);
  array->rows = malloc(array->inputs * most * sizeof(float));
  array->skip = malloc(array->outputs * most * sizeof(float));
  array->first = malloc(array->inputs * sizeof(float));
  return array->rows && array->skip && array->first &&
         fread(array->first, sizeof(float), array->inputs, glue) == array->inputs;
}

void driver_close(void *driver) {
  struct player *player = driver;
  for (int i = 0; player && i < 2; ++i) {
    struct array *array = &player->arrays[i];
    if (array->stack) wavenet_stack_free(array->stack);
    if (array->model) wavenet_model_free(array->model);
    free(array->rows), free(array->skip), free(array->first);
  }
  free(player);
}

void *driver_open(const char *path, int most) {
  char name[4096];
  snprintf(name, sizeof name, "%s/glue", path);
  FILE *glue = fopen(name, "rb");
  struct player *player = calloc(1, sizeof *player);
  const int opened = glue && player && open_array(&player->arrays[0], path, 0, most, glue) &&
                     open_array(&player->arrays[1], path, 1, most, glue) &&
                     fread(&player->offset, sizeof(float), 1, glue) == 1;
  if (glue) fclose(glue);
  if (opened) return player;
  driver_close(player);
  return NULL;
}

/* The first stack's skip sum is one number of the output, and what the second stack hears. */
static void run(struct player *player, const float *input, float *output, size_t count) {
  struct array *first = &player->arrays[0], *second = &player->arrays[1];
  for (size_t t = 0; t < count; ++t) {
    float *row = first->rows + t * first->inputs;
    for (size_t c = 0; c < first->inputs; ++c) row[c] = first->first[c] * input[t];
  }
  wavenet_stack_push(first->stack, first->rows, count, first->skip);
  for (size_t t = 0; t < count; ++t) {
    float *row = second->rows + t * second->inputs;
    const float *skip = first->skip + t * first->outputs;
    for (size_t c = 0; c + 1 < second->inputs; ++c) row[c] = second->first[c] * input[t] + skip[1 + c];
    row[second->inputs - 1] = input[t];
  }
  wavenet_stack_push(second->stack, second->rows, count, second->skip);
  for (size_t t = 0; t < count; ++t) {
    output[t] = player->offset + first->skip[t * first->outputs] + second->skip[t * second->outputs];
  }
}

void driver_run(void *driver, const float *input, float *output, size_t count, int buffer) {
  for (size_t at = 0; at < count; at += buffer) {
    run(driver, input + at, output + at, count - at < (size_t)buffer ? count - at : (size_t)buffer);
  }
}
