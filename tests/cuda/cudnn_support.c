/* cudnn_support.c - what cuDNN says to the attention of four models on five GPUs, asked without
 * one. tools/cudnn-support builds and runs it, and makes tests/cuda/cudnn_support.tsv of what it
 * prints.
 *
 * Devices are described by numbers of their data sheets and of the programming guide's table of
 * compute capabilities; none was read from a GPU. What is asked is what attention asks
 * (engine/cuda/attention_cudnn.c), texts padded to one length; and the same packed one after the
 * other. */

#include <stdio.h>

#include "cuda/cudnn_sdpa.h"

typedef struct gpu {
    const char *name, *full_name;
    int capability, processors, blocks, threads;  // blocks and threads of a multiprocessor
    int shared;                                   // bytes that a block may ask for
    long long memory, l2;                         // bytes
    int clock, memory_clock;                      // kHz
} gpu;

static const gpu gpus[] = {
    {"A100", "NVIDIA A100-SXM4-80GB", 800, 108, 32, 2048, 166912, 85174583296, 41943040, 1410000,
     1593000},
    {"H100", "NVIDIA H100 80GB HBM3", 900, 132, 32, 2048, 232448, 85045542912, 52428800, 1980000,
     2619000},
    {"H200", "NVIDIA H200", 900, 132, 32, 2048, 232448, 150754820096, 62914560, 1980000, 3201000},
    {"B200", "NVIDIA B200", 1000, 148, 32, 2048, 232448, 191514607616, 132644864, 1965000, 3996000},
    {"RTX 4090", "NVIDIA GeForce RTX 4090", 890, 128, 24, 1536, 101376, 25386352640, 75497472,
     2520000, 10501000},
};

/* config.json of meta-llama/Meta-Llama-3-8B-Instruct, mistralai/Mistral-7B-Instruct-v0.2,
 * google/gemma-2-9b-it and HuggingFaceTB/SmolLM2-135M-Instruct. */
typedef struct model {
    const char *name;
    int heads, kv_heads, D, window;
    bool cap;
} model;

static const model models[] = {
    {"Llama-3-8B", 32, 8, 128, 0, false},
    {"Mistral-7B", 32, 8, 128, 0, false},
    {"Gemma-2-9B", 16, 8, 256, 4096, true},
    {"SmolLM2", 9, 3, 64, 0, false},
};

/* Sampling: 8 prompts of up to 512 tokens, then 64 answers' rows over them. Training: 16 texts of
 * up to 1,024 tokens, the prompts' keys seen by both answers of each. */
typedef struct use {
    const char *phase, *direction, *part;
    bool backward, prefix;
    int batch, queries, keys;
} use;

static const use uses[] = {
    {"sampling", "forward", "own", false, false, 8, 512, 512},
    {"sampling", "forward", "prefix", false, true, 8, 64, 512},
    {"training", "forward", "own", false, false, 16, 1024, 1024},
    {"training", "forward", "prefix", false, true, 8, 1024, 512},
    {"training", "backward", "own", true, false, 16, 1024, 1024},
    {"training", "backward", "prefix", true, true, 8, 1024, 512},
};

/* All 23 names are wanted: cuDNN refuses the description without any of them. */
static void describe(const gpu *d, char *json, size_t room) {
    snprintf(json, room,
             "{\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":13000,\"totalGlobalMem\":%lld,"
             "\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
             "\"regsPerBlock\":65536,\"multiProcessorCount\":%d,\"warpSize\":32,"
             "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,"
             "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
             "\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":%d,"
             "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"smClockRateKHz\":%d,"
             "\"memClockRateKHz\":%d,\"l2CacheSize\":%lld,\"deviceName\":\"%s\"}",
             d->capability, d->memory, d->processors, d->shared, d->blocks, d->threads, d->clock,
             d->memory_clock, d->l2, d->full_name);
}

static int ask(const gpu *d, const model *m, const use *u, int window, bool packed) {
    sppo__sdpa_shape shape = {.backward = u->backward,
                              .cap = m->cap,
                              .padded = true,
                              .packed = packed,
                              .mask = u->prefix ? SPPO_SDPA_FULL : SPPO_SDPA_CAUSAL,
                              .window = window,
                              .batch = u->batch,
                              .heads = m->heads,
                              .kv_heads = m->kv_heads,
                              .queries = u->queries,
                              .keys = u->keys,
                              .D = m->D};
    sppo__sdpa_support s;
    char json[1200];
    describe(d, json, sizeof json);
    if (sppo__sdpa_support_of(json, &shape, &s)) {
        fprintf(stderr, "cudnn_support: %s, %s: %s\n", d->name, m->name, sppo_last_error());
        return 1;
    }
    printf("%s\t%s\t%s\t%s\t%s%s\t%s\t%d\t", d->name, m->name, u->phase, u->direction, u->part,
           window ? ", window" : "", packed ? "packed" : "padded", s.engines);
    if (s.engines) printf("%lld\t\n", (long long)s.workspace);
    else printf("\t%s\n", s.reason);
    return 0;
}

int main(void) {
    int major, minor, patch;
    if (sppo__sdpa_version(&major, &minor, &patch)) {
        fprintf(stderr, "cudnn_support: %s\n", sppo_last_error());
        return 1;
    }
    printf("# cuDNN %d.%d.%d\n", major, minor, patch);
    printf("device\tmodel\tphase\tdirection\tpart\ttexts\tengines\tworkspace\treason\n");
    int failed = 0;
    for (size_t d = 0; d < sizeof gpus / sizeof *gpus; d++)
        for (size_t m = 0; m < sizeof models / sizeof *models; m++)
            for (size_t u = 0; u < sizeof uses / sizeof *uses; u++)
                for (int packed = 0; packed < 2; packed++) {
                    failed += ask(&gpus[d], &models[m], &uses[u], 0, packed);
                    if (models[m].window && !uses[u].prefix)
                        failed += ask(&gpus[d], &models[m], &uses[u], models[m].window, packed);
                }
    return failed ? 1 : 0;
}
