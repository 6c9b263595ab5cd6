#include "cpu/threads.h"

#include <pthread.h>

namespace wavenet::cpu {

namespace {

bool in_child = false;

}  // namespace

bool forked_from_threads() {
  // Asked before the first run with several threads, so a child that was forked earlier is not concerned.
  static const int registered = pthread_atfork(nullptr, nullptr, [] { in_child = true; });
  return registered == 0 && in_child;
}

}  // namespace wavenet::cpu
