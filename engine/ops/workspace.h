/* workspace.h - sizes of what kernels work with, shared by the kernels and by the functions that say
 * what they take (sppo__workspace_of). No instruction set in here. */

#ifndef SPPO_WORKSPACE_H
#define SPPO_WORKSPACE_H

#include "llm/segments.h"
#include "ops/op.h"

/* Products with panels, in floats of scratch (cpu/panel.h). */
enum {
    PANEL_ROWS = 384,           // most rows of x in one task
    PANEL_DX_DEPTH = 256,       // rows of W that are transposed at once
    PANEL_DWEIGHT_DEPTH = 128,  // rows of dy copied at once: they stay in L1
    PANEL_SCRATCH_DX = PANEL_DX_DEPTH * 64 + 64 * 64 + PANEL_ROWS * 64,
    PANEL_SCRATCH_DWEIGHT = PANEL_DWEIGHT_DEPTH * 64
};

/* The vocabulary in chunks (cpu/lse.h), the loss head's blocks (cpu/loss.c). */
enum {
    LSE_CHUNK = 1024,
    LSE_PART_BYTES = 8,  // a maximum and a sum
    HEAD_ROWS = 96,      // rows of a task that makes logits: these and its panel stay in L2
    HEAD_GROUP_BYTES = 16 << 20,  // gradients of logits held at once
    HEAD_GROUP_ROWS = 4096,
    SAMPLE_PADDING = 16  // values behind a row of weights: a vector of any instruction set
};

static inline int64_t lse_chunks(int64_t V) {
    return (V + LSE_CHUNK - 1) / LSE_CHUNK;
}

/* Chunks of one group of the loss head's gradients: as many as HEAD_GROUP_BYTES hold. */
static inline int64_t head_group_chunks(int64_t rows, int64_t chunks) {
    int64_t fit = HEAD_GROUP_BYTES / ((int64_t)sizeof(float) * LSE_CHUNK * rows);
    return fit < 1 ? 1 : fit > chunks ? chunks : fit;
}

/* Bytes of x as q8_0 rows: a byte a value, a scale and a bias for 32 (cpu/q8.h). */
static inline int64_t q8_rows_bytes(int64_t rows, int64_t K) {
    return rows * (K + K / 32 * 8);
}

/* Attention (cpu/attention.h): D head size, W = D padded to whole panels, G query heads that share
 * a kv head. */
enum { BLOCK_ROWS = 128 };  // rows worked on at once, at least one token's

typedef struct attention_sizes {
    int64_t heads, kv_heads, D, W, G;
    float scale, cap;  // cap: 0 for none
    int64_t window;    // 0: all
    bool causal;
    int64_t block;  // tokens whose rows are worked on at once
} attention_sizes;

attention_sizes sppo__attention_sizes(const sppo__call *c);

/* Rows of a block, rounded up to whole vectors of any instruction set. */
static inline int64_t attention_rows(const attention_sizes *s) {
    return (s->block * s->G + 15) / 16 * 16;
}

/* Floats of scratch that one thread's block takes. */
static inline int64_t attention_block_floats(const attention_sizes *s) {
    return attention_rows(s) * (s->D + SPPO_PAGE + s->W + 5);
}

static inline int64_t attention_backward_block_floats(const attention_sizes *s) {
    return SPPO_PAGE * (2 * s->D + 3 * s->W) + attention_rows(s) * (3 * s->W + 2 * SPPO_PAGE + 3);
}

/* Keys that some row of the batch sees, each once: those of the store and the batch's own. */
int64_t sppo__attention_seen(const sppo_segments *at, int64_t window);

/* Backward's work on a tree: nodes first .. last and their own tokens, begin .. end in tree order. */
typedef struct attention_branch {
    int first, last;
    int64_t begin, end;
    int shared;      // node that it shares with other branches, -1 for none
    int64_t offset;  // where in what is shared its part begins: [kv_heads][2][count][W]
} attention_branch;

/* The branches of all trees, in tree order, into `list` (nodes of `at` places, or NULL); returns
 * their number. Floats that they share go to *floats. */
int64_t sppo__attention_branches(const sppo_segments *at, const attention_sizes *s,
                                 attention_branch *list, int64_t *floats);

/* DeBERTa's attention (cpu/disentangled_attention.h): D head size, W = D padded to whole panels,
 * `longest` the tokens of the longest text, N padded; C rows of the tables that some text reaches,
 * padded; rows of scores against them have `stride` floats, no power of two so that columns spread
 * over the cache. */
enum { DISENTANGLED_QUERIES = 48 };  // rows of scores worked on at once: whole tiles, in L2

typedef struct disentangled_sizes {
    int64_t D, W, longest, N, C, stride;
} disentangled_sizes;

static inline int64_t whole_panels(int64_t n) {
    return (n + 63) / 64 * 64;
}

static inline int64_t disentangled_stride(int64_t C) {
    return C + 16;
}

/* Bytes of the table of rows by relative position; whole vectors are read of its end. */
static inline int64_t disentangled_table_bytes(int64_t longest) {
    return (2 * longest + 16) * (int64_t)sizeof(int32_t);
}

/* Row of the tables for relative position r = query - key. */
int32_t sppo__disentangled_row(const sppo__call *c, int64_t r);

disentangled_sizes sppo__disentangled_sizes(const sppo__call *c);

/* CUDA kernels (ops/workspace_cuda.c, cuda/matmul.cu, cuda/reduce.cu). */
enum {
    CUDA_REDUCE_PARTS = 1024,
    CUDA_FEW_ROWS = 8,
    CUDA_FEW_Q8_ROWS = 64,
    CUDA_UNPACKED_BYTES = 16 << 20  // of a q8_0 weight as bf16, at once
};

/* Rows up to which our own kernel is meant to be the faster one: for bf16 one pass over the weights.
 * q8_0 would cost cuBLAS a copy in bf16, 5 bytes moved a value, which on an H100 takes as long as the
 * f32 products of about 50 rows; and a batch that decodes should not need two launches for each 16
 * MiB. Estimates. f32 always goes to cuBLAS, so that what training computes with it does not depend
 * on how a batch was cut. */
static inline bool cuda_few_rows(sppo_dtype dtype, int64_t R) {
    if (dtype == SPPO_DTYPE_F32) return false;
    return R <= (dtype == SPPO_DTYPE_Q8_0 ? CUDA_FEW_Q8_ROWS : CUDA_FEW_ROWS);
}

/* Rows of a q8_0 weight that become bf16 at once. */
static inline int64_t cuda_unpacked_rows(int64_t K) {
    int64_t rows = CUDA_UNPACKED_BYTES / 2 / (K ? K : 1);
    return rows < 1 ? 1 : rows;
}

#endif
