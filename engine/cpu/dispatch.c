/* dispatch.c - which instruction set to use: chosen once, at the first op. */

#include "cpu/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"

typedef struct choice {
    const char *name;
    const sppo__kernel *table;
} choice;

static const choice choices[] = {
    {"avx512vnni", sppo__cpu_table_avx512vnni},
    {"avx512", sppo__cpu_table_avx512},
    {"avx2", sppo__cpu_table_avx2},
    {"plain", sppo__cpu_table_plain},
};
enum { CHOICES = sizeof choices / sizeof choices[0] };

static const choice *chosen;

#if defined(__x86_64__)
/* clang 14 has no name for it in __builtin_cpu_supports. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif

static bool has(const char *name) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(name, "avx512vnni")) return has("avx512") && __builtin_cpu_supports("avx512vnni");
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#endif
    return !strcmp(name, "plain");
}

sppo_status sppo_cpu_use(const char *name) {
    if (!strcmp(name, "generic")) name = "plain";  // as other programs call it
    for (int i = 0; i < CHOICES; i++) {
        if (strcmp(name, choices[i].name)) continue;
        if (!has(name)) return sppo__fail(SPPO_ERR_DEVICE, TEXT_CPU_LACKS, name);
        chosen = &choices[i];
        return SPPO_OK;
    }
    return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_CPU_NAME, name);
}

/* SPPO_CPU is checked by the host at start (sppo_cpu_use), so that a wrong value is an error. */
static void choose(void) {
    for (int i = 0; i < CHOICES && !chosen; i++)
        if (has(choices[i].name)) chosen = &choices[i];
}

const char *sppo_cpu_name(void) {
    if (!chosen) choose();
    return chosen->name;
}

const sppo__kernel *sppo__cpu_table(void) {
    if (!chosen) choose();
    return chosen->table;
}
