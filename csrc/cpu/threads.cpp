#include "cpu/threads.h"

#include <pthread.h>

namespace wavenet::cpu {

namespace {

bool in_child = false;
const int registered = pthread_atfork(nullptr, nullptr, [] { in_child = true; });

}  // namespace

bool in_forked_child() { return registered == 0 && in_child; }

}  // namespace wavenet::cpu
