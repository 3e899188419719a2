/* cuda.h - what the CUDA backend's files share, C and CUDA C++ alike.
 *
 * Everything runs on one stream, in the order of the calls; memory is taken and given back in that
 * order too (device.c). So a kernel may use memory whose release is already asked for, and nothing
 * waits but what brings values to the host. */

#ifndef SPPO_CUDA_H
#define SPPO_CUDA_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "ops/op.h"

#define SPPO_OP(NAME, name, inputs, outputs) sppo_status sppo_cuda_##name(sppo__call *c);
#include "ops/ops.def"
#undef SPPO_OP

extern const sppo__kernel sppo__cuda_kernels[SPPO_OP_COUNT];

/* The stream, with what waited for it sent off first (later.c): to be asked for again by each call
 * that puts something on it. */
cudaStream_t sppo__cuda_stream(void);

/* Whether SPPO_SYNC=1 is set. */
bool sppo__cuda_synchronous(void);

/* SPPO_ERR_DEVICE with the op's name and CUDA's text, unless `e` is cudaSuccess. */
sppo_status sppo__cuda_result(const char *op, cudaError_t e);

/* After a launch: what was wrong with it. With SPPO_SYNC=1 in the environment it waits for the
 * kernel, so that an error inside it is named by its own op instead of a later one. */
sppo_status sppo__cuda_launched(const sppo__call *c);

/* A kernel's launch; `rounded`: where it also writes its first output in bf16, or NULL. */
typedef void (*sppo__cuda_launch)(const void *arguments, void *rounded);

/* Launches what makes output 0 of c, now or when the next op is known (later.c); `arguments`, at most
 * SPPO_CUDA_LATER_BYTES of them, are copied. */
enum { SPPO_CUDA_LATER_BYTES = 640 };
sppo_status sppo__cuda_later(const sppo__call *c, sppo__cuda_launch launch, const void *arguments,
                             size_t bytes);

/* The arguments of what waits, if it is an `op`; borrowed until anything uses the stream. Who does
 * its work says `taken` before that. */
const void *sppo__cuda_waiting(sppo__op op);
void sppo__cuda_taken(void);

/* If what waits makes the `count` values of x: launches it so that it writes them to `rounded`, in
 * bf16, as well. */
bool sppo__cuda_rounds(const void *x, int64_t count, void *rounded);

/* Takes over the release of `data` while something waits that may use it: it is given back once
 * that is launched. */
bool sppo__cuda_keeps(void *data, int64_t bytes);

/* Launches what waits. */
void sppo__cuda_flush(void);

/* A decode step as one graph (graph.c). The stream that captures it, NULL outside of one: nothing
 * that waits may be put on it. */
cudaStream_t sppo__cuda_capturing(void);
sppo_status sppo__cuda_step_begin(void);
sppo_status sppo__cuda_step_end(void);

/* Ends a capture, if there is one, and launches what it holds: to be called before a wait, and before
 * copies between the device and memory that is not pinned. */
cudaError_t sppo__cuda_submit(void);

/* During a capture: takes a block over; one of this very size that was taken over, or NULL. */
bool sppo__cuda_recycles(void *data, int64_t bytes);
void *sppo__cuda_recycled(int64_t bytes);

/* Position in its text of each token of `at`, on the device; of the last batch asked for, borrowed
 * until the next call. */
sppo_status sppo__cuda_positions(const char *op, const sppo_segments *at, const int32_t **out);

/* The same for any list of `count` numbers. */
sppo_status sppo__cuda_ints(const char *op, const int32_t *values, int64_t count,
                            const int32_t **out);

/* The tree of a batch as the device has it (llm/segments.h says what the fields mean). Tokens stand
 * in tree order. */
enum { SPPO_CUDA_KEYS = 8 };  // keys of a tile

typedef struct sppo__cuda_node {
    int32_t start, offset, position, count, begin, end;
    int32_t page;  // with a store: where its pages begin in the list of all
} sppo__cuda_node;

typedef struct sppo__cuda_token {
    int32_t row;       // in the batch
    int32_t position;  // in its text
    int32_t node;      // its own
    int32_t first;     // first node of its tree
} sppo__cuda_token;

/* Keys `key` .. of this batch, as far as node `node` has them. */
typedef struct sppo__cuda_tile {
    int32_t node, key;
} sppo__cuda_tile;

typedef struct sppo__cuda_tree {
    const sppo__cuda_node *node;
    const sppo__cuda_token *token;
    const sppo__cuda_tile *tile;
    const int32_t *page;  // with a store: numbers of the pages of each node, in order
    int nodes, tokens, tiles;
} sppo__cuda_tree;

/* The tree of `at`, planned, on the device; borrowed as the positions are. */
sppo_status sppo__cuda_tree_of(const char *op, const sppo_segments *at, sppo__cuda_tree *out);

/* C [M, N] = A B + (add ? C : 0), all row-major: A is [M, K], or [K, M] if turn_a; B is [K, N], or
 * [N, K] if turn_b. A and B f32 or bf16, C f32; sums in f32. */
typedef struct sppo__cuda_product {
    sppo_dtype dtype;  // of A and B
    bool turn_a, turn_b, add;
    int64_t M, N, K;
    const void *A, *B;
    float *C;
    int64_t row_c;  // values from row to row of C; 0: N
} sppo__cuda_product;

sppo_status sppo__cuda_gemm(const char *op, const sppo__cuda_product *p);

/* The same for each of `heads` heads, in f32: C = scale A B + (add ? C : 0). Rows of A are row_a
 * values apart, its heads head_a values, and so on. M, N, K, heads > 0. */
typedef struct sppo__cuda_heads {
    bool turn_a, turn_b, add;
    float scale;
    int64_t M, N, K, heads;
    const float *A, *B;
    float *C;
    int64_t row_a, row_b, row_c, head_a, head_b, head_c;
} sppo__cuda_heads;

sppo_status sppo__cuda_gemm_heads(const char *op, const sppo__cuda_heads *p);

/* The `count` values of x, f32, in the dtype of the weight that they meet: x itself, or *memory, which
 * is made and filled first if it is NULL. The caller releases *memory. */
sppo_status sppo__cuda_round(const sppo__call *c, const void *x, int64_t count, sppo_dtype dtype,
                             sppo__storage **memory, const void **out);

/* An error for weights that are not read: q8_0 by backward, f16 by both. */
sppo_status sppo__cuda_check_weight(const sppo__call *c, const sppo_tensor *w, bool backward);

/* x [R, K] times weights [N_i, K], which all have one dtype: y_i [R, N_i] = x W_i'. `rounded` is x
 * in bf16, for products that want it (sppo__cuda_wants_rounded). */
typedef struct sppo__cuda_multiply_call {
    const float *x;
    const void *rounded;
    int64_t R, K;
    sppo_dtype dtype;
    int count;  // 1..4
    const void *weight[4];
    float *y[4];
    int64_t N[4];
} sppo__cuda_multiply_call;

/* Few rows and bf16 or q8_0: one launch of our own (few_rows.cu), x in f32. Else cuBLAS, one product
 * a weight; q8_0 becomes bf16 for it, at most 16 MiB at once. */
sppo_status sppo__cuda_multiply(const sppo__call *c, const sppo__cuda_multiply_call *m);
sppo_status sppo__cuda_few_rows(const sppo__call *c, const sppo__cuda_multiply_call *m);
bool sppo__cuda_wants_rounded(sppo_dtype dtype, int64_t R);

/* dst[index[i], :] += src[i, :] for i = 0 .. n - 1 in order; rows of `width` values. */
sppo_status sppo__cuda_add_rows(const sppo__call *c, float *dst, const int32_t *index,
                                const float *src, int64_t n, int64_t width);

/* `count` values from one dtype into another (not to q8_0); zeros after them up to `padded`. */
sppo_status sppo__cuda_convert(const sppo__call *c, const void *src, sppo_dtype from, void *dst,
                               sppo_dtype to, int64_t count, int64_t padded);

#ifdef __cplusplus
}
#endif

#endif
