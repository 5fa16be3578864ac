/* Counts the instructions of a program that qemu runs: a plugin for `qemu-TARGET -plugin`.
 * Every translated block adds its length when it is executed. Debian's package holds no header of
 * the plugin interface; the few calls it takes are declared here, as its documentation names them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t id_t_;
struct block;
extern size_t qemu_plugin_tb_n_insns(const struct block *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(id_t_, void (*)(id_t_, struct block *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(id_t_, void (*)(id_t_, void *), void *);

#ifndef INTERFACE
#define INTERFACE 1 /* qemu before 9; 2 after */
#endif
__attribute__((visibility("default"))) int qemu_plugin_version = INTERFACE;

static uint64_t total;

static void executed(unsigned cpu, void *length)
{
    (void)cpu;
    __atomic_fetch_add(&total, (uintptr_t)length, __ATOMIC_RELAXED);
}

static void translated(id_t_ id, struct block *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void finished(id_t_ id, void *path)
{
    (void)id;
    FILE *file = fopen(path, "w");
    if (file) {
        fprintf(file, "%" PRIu64 "\n", total);
        fclose(file);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1)
        return 1;
    for (char *path = argv[0]; *path; path++) {
        if (*path == '=') { /* out=FILE */
            static char copy[4096];
            snprintf(copy, sizeof copy, "%s", path + 1);
            qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
            qemu_plugin_register_atexit_cb(id, finished, copy);
            return 0;
        }
    }
    return 1;
}
