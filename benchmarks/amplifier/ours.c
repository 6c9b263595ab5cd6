/* The network by the C library, which has such networks as a kind of their own: samples in, samples out. */
#include <stdio.h>
#include <stdlib.h>

#include "driver.h"
#include "wavenet.h"

struct player {
  wavenet_model *model;
  wavenet_stack *stack;
};

void driver_close(void *driver) {
  struct player *player = driver;
  if (player) wavenet_stack_free(player->stack), wavenet_model_free(player->model);
  free(player);
}

void *driver_open(const char *path, int most) {
  wavenet_error error;
  struct player *player = calloc(1, sizeof *player);
  (void)most;
  if (player) player->model = wavenet_model_open(path, &error);
  if (player && player->model) player->stack = wavenet_stack_create(player->model, &error);
  if (player && player->stack) return player;
  if (player) fprintf(stderr, "%s\n", error.message);
  driver_close(player);
  return NULL;
}

void driver_run(void *driver, const float *input, float *output, size_t count, int buffer) {
  const struct player *player = driver;
  for (size_t at = 0; at < count; at += buffer) {
    const size_t some = count - at < (size_t)buffer ? count - at : (size_t)buffer;
    wavenet_stack_push(player->stack, input + at, some, output + at);
  }
}
