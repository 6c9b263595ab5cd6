/* What network.py asks of both contenders: a signal in buffers, as an audio callback gets it. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRIVER __attribute__((visibility("default")))

/* NULL and a sentence on stderr if there is no such network. `most`: samples of a buffer. */
DRIVER void *driver_open(const char *path, int most);
DRIVER void driver_close(void *driver);

/* The next `count` samples, `buffer` of them at a time. */
DRIVER void driver_run(void *driver, const float *input, float *output, size_t count, int buffer);

#ifdef __cplusplus
}
#endif
