/* A plugin for QEMU's user emulation: how many of the program's instructions were executed, on stderr when it ends.
 *
 *   qemu-aarch64 -plugin count_instructions.so PROGRAM
 *
 * What it needs of QEMU's qemu-plugin.h (interface 1, of QEMU 4.2 to 8.1), which distributions don't install. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define API __attribute__((visibility("default")))

typedef uint64_t id_t_of_plugin;
struct qemu_plugin_tb; /* a block of instructions, as it is translated */

void qemu_plugin_register_vcpu_tb_trans_cb(id_t_of_plugin, void (*)(id_t_of_plugin, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_atexit_cb(id_t_of_plugin, void (*)(id_t_of_plugin, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

API int qemu_plugin_version = 1;

static uint64_t executed; /* by the one thread that there is */

static void add(unsigned processor, void *instructions) {
  (void)processor;
  executed += (uintptr_t)instructions;
}

static void translated(id_t_of_plugin id, struct qemu_plugin_tb *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_cb(block, add, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void say(id_t_of_plugin id, void *unused) {
  (void)id, (void)unused;
  fprintf(stderr, "instructions: %llu\n", (unsigned long long)executed);
}

API int qemu_plugin_install(id_t_of_plugin id, const void *about, int count, char **arguments) {
  (void)about, (void)count, (void)arguments;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, say, NULL);
  return 0;
}
