/* cudnn_sdpa.h - attention by cuDNN's graphs ("scaled dot product attention"), free of cuDNN's own
 * headers: where these are missing cudnn_missing.c stands in for the rest and says so.
 *
 *     S = cap(scale Q K^T), masked    P = softmax(S)    O = P V    LSE = log sum exp(S)
 *
 * Q and O are [batch, heads, queries, D], K and V [batch, kv_heads, keys, D], in memory token by
 * token: [batch, tokens, heads, D]. LSE is [batch, heads, queries], dense. */

#ifndef SPPO_CUDNN_SDPA_H
#define SPPO_CUDNN_SDPA_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef enum sppo__sdpa_mask {
    SPPO_SDPA_FULL,
    SPPO_SDPA_CAUSAL,      // query i sees keys 0 .. i
    SPPO_SDPA_CAUSAL_LAST  // the last query sees the last key, the one before it one less
} sppo__sdpa_mask;

/* What a graph is made for. With `packed` the texts of a batch lie anywhere one after the other in
 * memory, text b from offset b on, and have lengths; `queries` and `keys` are the longest. */
typedef struct sppo__sdpa_shape {
    bool backward;
    bool f32;     // values in f32 instead of bf16: no engine has it, the tests' interpreter has
    bool cap;     // cap * tanh(x / cap) of the scores
    bool padded;  // each text has lengths of its own
    bool packed;  // and an offset; needs `padded`
    sppo__sdpa_mask mask;
    int64_t window;  // keys that a causal query sees at most; 0: all
    int64_t batch, heads, kv_heads, queries, keys, D;
} sppo__sdpa_shape;

/* What is in memory: a graph's tensor ids. */
typedef enum sppo__sdpa_role {
    SPPO_SDPA_Q = 1,
    SPPO_SDPA_K,
    SPPO_SDPA_V,
    SPPO_SDPA_O,
    SPPO_SDPA_LSE,    // f32
    SPPO_SDPA_DO,     // backward: given
    SPPO_SDPA_DELTA,  // backward: room for batch * heads * queries floats
    SPPO_SDPA_DQ,     // backward: made
    SPPO_SDPA_DK,
    SPPO_SDPA_DV,
    SPPO_SDPA_QUERY_LENGTH,  // padded: i32 [batch]
    SPPO_SDPA_KEY_LENGTH,
    SPPO_SDPA_Q_OFFSET,  // packed: i64 [batch + 1], in values; of q and dq
    SPPO_SDPA_K_OFFSET,
    SPPO_SDPA_V_OFFSET,
    SPPO_SDPA_O_OFFSET,
    // Numbers that lie on the host when the graph runs.
    SPPO_SDPA_SCALE,
    SPPO_SDPA_CAP,
    SPPO_SDPA_MASKED,   // -infinity
    SPPO_SDPA_ONE,      // backward: 1
    SPPO_SDPA_WINDOW,   // f32; i32 where the mask is CAUSAL_LAST and texts have lengths
    SPPO_SDPA_QUERIES,  // i32, for CAUSAL_LAST without lengths
    SPPO_SDPA_KEYS,
    SPPO_SDPA_ROLES
} sppo__sdpa_role;

/* What cuDNN says to a shape. */
typedef struct sppo__sdpa_support {
    int engines;        // configurations that its heuristics return; 0: none runs it
    int64_t workspace;  // bytes that the first one takes, -1 where there is none
    char reason[400];   // why there is none
} sppo__sdpa_support;

/* Asks cuDNN, without a GPU: `device` is its properties as cuDNN's JSON (tests/cuda/cudnn_support.c
 * has some).
 * Fails with SPPO_ERR_DEVICE where there is no cuDNN or it refuses a call; a shape that no engine
 * runs is no failure. */
sppo_status sppo__sdpa_support_of(const char *device, const sppo__sdpa_shape *shape,
                                  sppo__sdpa_support *out);

/* A graph compiled for the GPU at hand. */
typedef struct sppo__sdpa_plan sppo__sdpa_plan;

/* The plan of a shape, made when it is first asked for and kept; borrowed. *out is NULL where no
 * engine runs it or cuDNN refuses a call, sppo__sdpa_reason says why. `op` is for the text of
 * errors. */
sppo_status sppo__sdpa_plan_of(const char *op, const sppo__sdpa_shape *shape,
                               const sppo__sdpa_plan **out);
const char *sppo__sdpa_reason(const sppo__sdpa_shape *shape);

/* Bytes of device memory that a run takes beside its tensors. */
int64_t sppo__sdpa_workspace(const sppo__sdpa_plan *plan);

/* Runs on the backend's stream. `memory` has what the shape needs by role, device pointers aligned
 * to 16 bytes; numbers on the host are filled in here. `workspace` may be NULL for 0 bytes. */
sppo_status sppo__sdpa_run(const char *op, const sppo__sdpa_plan *plan,
                           void *const memory[SPPO_SDPA_ROLES], float scale, float cap,
                           void *workspace);

/* cuDNN's version. */
sppo_status sppo__sdpa_version(int *major, int *minor, int *patch);

/* Why there is no cuDNN for the GPU at hand, NULL if there is one. Loads and opens it when first
 * asked. */
const char *sppo__sdpa_missing(void);

#endif
