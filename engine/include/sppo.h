/* sppo.h - the engine's one public header, and the text that LuaJIT's FFI reads.
 *
 * Ownership: `new`, `open` and an op's `out` give the caller one reference; `release`, `free` or
 * `close` drops it. Views and the tape hold references to the storage they need. A pointer returned
 * without "the caller owns" in its comment is borrowed, and the comment says until when.
 *
 * Errors: a function that can fail returns sppo_status and leaves its out-parameters untouched on
 * failure; sppo_last_error() has the text. Axes, positions, token ids and offsets are 0-based here.
 *
 * Between the two markers stand only typedefs, enums, prototypes and comments: no macros, no
 * structs by value, no callbacks. Text outside the markers is not seen by the FFI. */

#ifndef SPPO_H
#define SPPO_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(default)

/* cdef: begin */

enum { SPPO_API_VERSION = 1, SPPO_MAX_DIMS = 4, SPPO_MAX_IN = 10, SPPO_MAX_OUT = 6 };

typedef enum sppo_status {
    SPPO_OK = 0,
    SPPO_ERR_ARGUMENT,    // a value out of its range, a wrong combination
    SPPO_ERR_SHAPE,       // sizes that do not fit together
    SPPO_ERR_DTYPE,       // a dtype the op does not take
    SPPO_ERR_DEVICE,      // a missing device, tensors on different ones
    SPPO_ERR_MEMORY,      // out of memory, or an allocation where none is allowed
    SPPO_ERR_FORMAT,      // a malformed or hostile file
    SPPO_ERR_IO,          // the operating system said no: missing file, full disk, no permission
    SPPO_ERR_NONFINITE,   // NaN or infinity where none may be
    SPPO_ERR_STATE,       // a call at the wrong time: a released tensor, a locked folder
    SPPO_ERR_INTERRUPTED  // Ctrl-C
} sppo_status;

typedef enum sppo_dtype {
    SPPO_DTYPE_F32,
    SPPO_DTYPE_BF16,
    SPPO_DTYPE_F16,
    SPPO_DTYPE_Q8_0,  // blocks of 32 along the last axis: f16 scale, 32 x i8 (GGML's layout)
    SPPO_DTYPE_I32
} sppo_dtype;

typedef enum sppo_device {
    SPPO_DEVICE_CPU,
    SPPO_DEVICE_CUDA,
    SPPO_DEVICE_META  // shapes, bytes and FLOPs, no data
} sppo_device;

/* How a tensor's values lie in its storage. Panels are how `linear` and `token_logprob` read
 * weights: a [N, K] weight as ceil(N / 64) panels of [K][64], zero-padded in N. */
typedef enum sppo_layout { SPPO_LAYOUT_ROWS, SPPO_LAYOUT_PANELS } sppo_layout;

typedef struct sppo_tensor sppo_tensor;
typedef struct sppo_kv sppo_kv;
typedef struct sppo_segments sppo_segments;

/* ---- library ---- */

/* SPPO_API_VERSION of the running engine; lua/sppo/ffi.lua compares before anything else. */
int sppo_api_version(void);

/* Text of this thread's last failure; borrowed, valid until the next failing call. */
const char *sppo_last_error(void);

/* Instruction set in use: "avx512vnni", "avx512", "avx2" or "plain". Chosen at the first call, from the
 * processor or from SPPO_CPU; borrowed for the life of the process. */
const char *sppo_cpu_name(void);

/* Switches to instruction set `name` (for tests). SPPO_ERR_DEVICE if this processor lacks it. */
sppo_status sppo_cpu_use(const char *name);

/* Threads that an op uses, 1..256; 0 asks for the number of processors. */
sppo_status sppo_threads_set(int threads);
int sppo_threads(void);

/* Parallel regions run by more than one thread so far; what an op costs beside its arithmetic. */
int64_t sppo_regions(void);

/* Ctrl-C: a set flag makes the next op fail with SPPO_ERR_INTERRUPTED. */
void sppo_interrupt_set(int on);
int sppo_interrupt(void);

/* Seconds of a monotonic clock, and seconds since 1970. */
double sppo_clock(void);
double sppo_time(void);

/* ---- memory ---- */

/* Bytes of tensor storage alive on `device`, and the most there have been since the last reset. */
int64_t sppo_memory_used(sppo_device device);
int64_t sppo_memory_peak(sppo_device device);
void sppo_memory_reset_peak(sppo_device device);

/* What tensor storage is for. Gradients of parameters, stores of keys and values and what kernels
 * work with find their kind by themselves; all else is of the kind that was set last, at the start
 * SPPO_MEMORY_ACTIVATIONS. */
typedef enum sppo_memory_kind {
    SPPO_MEMORY_ACTIVATIONS,
    SPPO_MEMORY_WEIGHTS,
    SPPO_MEMORY_OPTIMIZER,
    SPPO_MEMORY_GRADIENTS,
    SPPO_MEMORY_KV,
    SPPO_MEMORY_WORKSPACE,
    SPPO_MEMORY_KINDS
} sppo_memory_kind;

/* Kind of what is made from now on; returns what it was. */
sppo_memory_kind sppo_memory_kind_set(sppo_memory_kind kind);

/* Bytes of `kind` at the moment when `device` had its peak. */
int64_t sppo_memory_peak_kind(sppo_device device, sppo_memory_kind kind);

/* Bytes that all threads' scratch takes beside sppo_memory_used; on meta, what the ops run since
 * sppo_memory_reset_peak would have made it. */
int64_t sppo_memory_scratch(sppo_device device);

/* Whose kernels' work memory ops on meta count from now on: SPPO_DEVICE_CPU's, as at the start, or
 * SPPO_DEVICE_CUDA's, which need not be there. Returns what it was. */
sppo_device sppo_meta_as(sppo_device device);

/* For tests: from now on (on != 0) every op fails with SPPO_ERR_STATE whose kernel takes other work
 * memory than meta counts for it. Returns what it was. */
int sppo_workspace_check(int on);

/* Bytes that kernels of a decode step have read so far: of the weights whole panels, of the
 * embedding and all activations each row once, of keys and values each token that a row of the
 * batch sees, once. */
int64_t sppo_bytes_read(void);

/* How often memory was asked of the system so far, for tensors and for kernels' work. */
int64_t sppo_memory_allocations(void);

/* Storage limit in bytes for `device`; an allocation that would pass it fails with
 * SPPO_ERR_MEMORY and names the largest live tensors. 0: no limit. */
void sppo_memory_limit(sppo_device device, int64_t bytes);

/* Between begin and end every CPU allocation comes from one arena. The first begin/end pair
 * measures; from the second on, needing more than the first did is SPPO_ERR_MEMORY (the guard).
 * Everything allocated inside must be released before the next begin (SPPO_ERR_STATE).
 * `arena` is 0..3; sppo_arena_free forgets its size. */
sppo_status sppo_arena_begin(int arena);
sppo_status sppo_arena_end(int arena);
void sppo_arena_free(int arena);

/* ---- tensors ---- */

/* A zero-filled tensor of up to 4 dimensions; the caller owns *out. Q8_0 needs a last size that
 * is a multiple of 32. */
sppo_status sppo_tensor_new(sppo_tensor **out, sppo_dtype dtype, sppo_device device, int ndim,
                            const int64_t *shape);
void sppo_tensor_retain(sppo_tensor *t);
void sppo_tensor_release(sppo_tensor *t);

/* What a tensor is: borrowed facts that cost nothing. `axis` is 0..ndim-1; count is the product of
 * the sizes. */
sppo_dtype sppo_tensor_dtype(const sppo_tensor *t);
sppo_device sppo_tensor_device(const sppo_tensor *t);
sppo_layout sppo_tensor_layout(const sppo_tensor *t);
int sppo_tensor_ndim(const sppo_tensor *t);
int64_t sppo_tensor_size(const sppo_tensor *t, int axis);
int64_t sppo_tensor_count(const sppo_tensor *t);

/* Bytes of the values themselves, row-major without gaps (of panels: padding included). */
int64_t sppo_tensor_bytes(const sppo_tensor *t);

/* Name of the op that made it ("new" for leaves); borrowed for the life of the process. */
const char *sppo_tensor_made_by(const sppo_tensor *t);

/* Copies the values, row-major in the tensor's dtype (panels as they lie), to or from host
 * memory. `bytes` must equal sppo_tensor_bytes. */
sppo_status sppo_tensor_read(const sppo_tensor *t, void *dst, int64_t bytes);
sppo_status sppo_tensor_write(sppo_tensor *t, const void *src, int64_t bytes);

/* First value in CPU memory of a gap-free tensor, NULL otherwise; borrowed while t lives. */
void *sppo_tensor_data(sppo_tensor *t);

/* dst's values become src's (same shape, dtype, layout), also from one device to another; panels
 * stay on theirs. Not recorded on the tape. */
sppo_status sppo_tensor_copy(sppo_tensor *dst, const sppo_tensor *src);

/* Uniform or normal values from Philox keyed by (seed, index of the value); f32 only. */
sppo_status sppo_tensor_uniform(sppo_tensor *t, double low, double high, uint64_t seed);
sppo_status sppo_tensor_normal(sppo_tensor *t, double mean, double deviation, uint64_t seed);

/* Number of NaN or infinite values in an f32 tensor (any layout). */
sppo_status sppo_tensor_nonfinite(const sppo_tensor *t, int64_t *count);

/* ---- views: share storage, recorded on the tape ---- */

/* Same values, new shape; x must be gap-free. One size may be -1. */
sppo_status sppo_view(sppo_tensor **out, sppo_tensor *x, int ndim, const int64_t *shape);

/* x[.., start : start + length, ..] along `axis`. */
sppo_status sppo_narrow(sppo_tensor **out, sppo_tensor *x, int axis, int64_t start, int64_t length);

/* Swaps two axes. */
sppo_status sppo_transpose(sppo_tensor **out, sppo_tensor *x, int a, int b);

/* x itself if it has no gaps, else a gap-free copy. */
sppo_status sppo_contiguous(sppo_tensor **out, sppo_tensor *x);

/* ---- gradients ---- */

/* Marks an f32 leaf as a parameter: ops that use it are recorded. */
sppo_status sppo_tensor_set_needs_grad(sppo_tensor *t, int on);
int sppo_tensor_needs_grad(const sppo_tensor *t);

/* The gradient, of t's shape and layout, or NULL; borrowed until the next call that changes it.
 * Gradients accumulate over backward calls. */
sppo_tensor *sppo_tensor_grad(sppo_tensor *t);

/* Drops the gradient of t. */
void sppo_tensor_clear_grad(sppo_tensor *t);

/* Turns recording on or off; returns what it was. On at start. */
int sppo_grad_enable(int on);

/* Backward from a one-value tensor, seeded with `seed` (usually 1); consumes the tape. */
sppo_status sppo_backward(sppo_tensor *loss, float seed);

/* Forgets everything recorded. */
void sppo_tape_clear(void);

/* Number of recorded ops. */
int64_t sppo_tape_length(void);

/* What is recorded between begin and end keeps no intermediate values; backward replays it.
 * Does not nest. `abort` forgets the mark after an error in between. */
sppo_status sppo_recompute_begin(void);
sppo_status sppo_recompute_end(void);
void sppo_recompute_abort(void);

/* ---- ops ----
 * CPU: activations f32; weights f32, bf16 or q8_0 panels. Every op checks its shapes, records
 * itself if an input needs a gradient, and gives the caller ownership of what it returns. */

/* Elementwise, same shape. */
sppo_status sppo_add(sppo_tensor **out, sppo_tensor *a, sppo_tensor *b);
sppo_status sppo_sub(sppo_tensor **out, sppo_tensor *a, sppo_tensor *b);
sppo_status sppo_mul(sppo_tensor **out, sppo_tensor *a, sppo_tensor *b);

/* Elementwise: a * x + b, x * x, e^x, max(0, x). */
sppo_status sppo_affine(sppo_tensor **out, sppo_tensor *x, float a, float b);
sppo_status sppo_square(sppo_tensor **out, sppo_tensor *x);
sppo_status sppo_exp(sppo_tensor **out, sppo_tensor *x);
sppo_status sppo_relu(sppo_tensor **out, sppo_tensor *x);

/* log(1 / (1 + exp(-x))), without overflow. */
sppo_status sppo_log_sigmoid(sppo_tensor **out, sppo_tensor *x);

/* silu(gate) * up, of equal shapes (Llama's feed-forward). */
sppo_status sppo_swiglu(sppo_tensor **out, sppo_tensor *gate, sppo_tensor *up);

/* gelu(gate) * up, of equal shapes, gelu in its tanh form (Gemma's feed-forward):
 * gelu(x) = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
sppo_status sppo_geglu(sppo_tensor **out, sppo_tensor *gate, sppo_tensor *up);

/* cap * tanh(x / cap): keeps values in -cap..cap (Gemma-2's logits). cap > 0. */
sppo_status sppo_softcap(sppo_tensor **out, sppo_tensor *x, float cap);

/* x P(X < x) for a standard normal X: the exact GELU, x (1 + erf(x / sqrt 2)) / 2; and tanh x. */
sppo_status sppo_gelu(sppo_tensor **out, sppo_tensor *x);
sppo_status sppo_tanh(sppo_tensor **out, sppo_tensor *x);

/* out[i] = x @ weights[i]^T: one product over up to 4 named weights.
 * x [.., K]; weights[i] [N_i, K] in panels; out[i] [.., N_i]. `out` has `count` places. */
sppo_status sppo_linear(sppo_tensor **out, sppo_tensor *x, sppo_tensor *const *weights, int count);

/* out[r, :] = x[r, :] + bias. x [.., N] f32; bias [N] f32. */
sppo_status sppo_add_bias(sppo_tensor **out, sppo_tensor *x, sppo_tensor *bias);

/* Row-wise RMS normalisation:
 * out[r, :] = x[r, :] / sqrt(mean(x[r, :]^2) + eps) * (offset + weight). `offset` is 0, or 1 for
 * checkpoints that store the factor less 1 (Gemma). x [.., D] f32; weight [D] f32. */
sppo_status sppo_rms_norm(sppo_tensor **out, sppo_tensor *x, sppo_tensor *weight, float eps,
                          float offset);

/* Lower frequencies for longer texts than were trained on. With low_freq_factor = 0 all are divided
 * by `factor` (rope_type "linear"); else those that turn less than low_freq_factor times in
 * original_positions are, those that turn more than high_freq_factor times stay, and between the
 * two lies a blend ("llama3", as Hugging Face's modeling_rope_utils.py has it). */
typedef struct sppo_rope_scaling {
    float factor;
    float low_freq_factor, high_freq_factor;
    float original_positions;
} sppo_rope_scaling;

/* Row-wise layer normalisation: out[r, :] = (x[r, :] - mean) / sqrt(variance + eps) * weight +
 * bias, mean and variance (divided by D) those of the row. x [.., D] f32; weight, bias [D] f32. */
sppo_status sppo_layer_norm(sppo_tensor **out, sppo_tensor *x, sppo_tensor *weight,
                            sppo_tensor *bias, float eps);

/* Rotary position embedding, half-split as Hugging Face's Llama does it, at the positions of
 * `at`: pair i turns by position * theta^(-2 i / D), `scaling` may be NULL.
 * x [n, heads, D], D even; n = tokens of `at`. */
sppo_status sppo_rope(sppo_tensor **out, sppo_tensor *x, sppo_segments *at, float theta,
                      const sppo_rope_scaling *scaling);

typedef struct sppo_attention_options {
    int32_t layer;  // which layer's keys and values, when `at` has a store
    int32_t causal;
    float scale;     // 0: 1 / sqrt(D)
    float softcap;   // scores s become softcap * tanh(s / softcap); 0: off
    int32_t window;  // of a token and those before it, all that it sees; 0: no limit. Needs causal
} sppo_attention_options;

/* Softmax attention inside a tree of segments: a token sees the tokens of its own segment up to
 * itself (all of them if not causal) and all of every segment that its own continues. Parts are
 * merged by their log-sum-exp, oldest ancestor first. If `at` has a store, k and v are appended
 * to it first and read from it.
 * q [n, heads, D]; k, v [n, kv_heads, D]; out [n, heads, D]. Grouped heads: heads % kv_heads == 0. */
sppo_status sppo_attention(sppo_tensor **out, sppo_tensor *q, sppo_tensor *k, sppo_tensor *v,
                           sppo_segments *at, const sppo_attention_options *options);

typedef struct sppo_disentangled_options {
    int32_t buckets;        // of relative positions on each side (position_buckets)
    int32_t max_positions;  // distance that the last bucket ends at (max_relative_positions)
    float scale;            // 0: 1 / sqrt(3 D)
} sppo_disentangled_options;

/* DeBERTa's disentangled attention (arXiv 2006.03654, as transformers' modeling_deberta_v2.py has
 * it): each token sees all tokens of its segment, and the score of query i and key j is
 *     scale (q_i . k_j + q_i . rel_k[b] + k_j . rel_q[b]),   b = bucket(i - j) + buckets,
 * clamped to the table, where distances up to buckets / 2 have a bucket of their own and longer
 * ones share them by their logarithm. Every segment is a text of its own: no parents, no store.
 * q, k, v [n, heads, D]; rel_k, rel_q [2 buckets, heads, D]; out [n, heads, D]. */
sppo_status sppo_disentangled_attention(sppo_tensor **out, sppo_tensor *q, sppo_tensor *k,
                                        sppo_tensor *v, sppo_tensor *rel_k, sppo_tensor *rel_q,
                                        sppo_segments *at,
                                        const sppo_disentangled_options *options);

/* Rows of a table: out[i, :] = weight[tokens[i], :]. weight [V, D] rows or panels; tokens [n] i32. */
sppo_status sppo_embed(sppo_tensor **out, sppo_tensor *weight, sppo_tensor *tokens);

/* out[i, ..] = x[index[i], ..]; index [m] i32 may repeat. x f32 [n, ..]. */
sppo_status sppo_take_rows(sppo_tensor **out, sppo_tensor *x, sppo_tensor *index);

/* out[g] = sum of x[i] with group[i] == g, in the order of i; x [n] f32; group [n] i32 in
 * 0..groups-1. */
sppo_status sppo_segment_sum(sppo_tensor **out, sppo_tensor *x, sppo_tensor *group, int64_t groups);

/* Sum of all values, a [1] tensor; f64 inside, in a fixed order. */
sppo_status sppo_sum(sppo_tensor **out, sppo_tensor *x);

/* Over the last axis. x [.., D] f32. */
sppo_status sppo_softmax(sppo_tensor **out, sppo_tensor *x);
sppo_status sppo_log_softmax(sppo_tensor **out, sppo_tensor *x);

/* log softmax(hidden @ weight^T)[i, target[i]] over chunks of the vocabulary: no [n, V] is made.
 * softcap > 0: of softcap * tanh(logits / softcap). hidden [n, D] f32; weight [V, D] panels; target
 * [n] i32; out [n] f32. Same bits as sppo_sample_tokens records for the same hidden row (of logits
 * that sppo_softcap made, if capped). */
sppo_status sppo_token_logprob(sppo_tensor **out, sppo_tensor *hidden, sppo_tensor *weight,
                               sppo_tensor *target, float softcap);

/* Converts to another dtype; rows layout. f32 to and from everything but i32; not recorded. */
sppo_status sppo_cast(sppo_tensor **out, sppo_tensor *x, sppo_dtype dtype);

/* [N, K] rows (f32, bf16, f16, q8_0) to panels of dtype f32, bf16 or q8_0, and panels back to
 * f32 rows. Not recorded. */
sppo_status sppo_pack(sppo_tensor **out, sppo_tensor *x, sppo_dtype dtype);
sppo_status sppo_unpack(sppo_tensor **out, sppo_tensor *x);

/* ---- optimizers: one fused pass over parameter, gradient and state, in place ----
 * Arithmetic in f32 and in PyTorch's order; the numbers are f64 until 1 - alpha and the like are
 * made of them, as there. */

/* PyTorch's RMSprop: v = alpha v + (1 - alpha) g^2; p -= lr g / (sqrt(v) + eps), after
 * g = g * scale + weight_decay p. All f32, same shape and layout. */
sppo_status sppo_rmsprop_step(sppo_tensor *p, sppo_tensor *grad, sppo_tensor *v, double lr,
                              double alpha, double eps, double weight_decay, double scale);

/* PyTorch's AdamW; step counts from 1. */
sppo_status sppo_adamw_step(sppo_tensor *p, sppo_tensor *grad, sppo_tensor *m, sppo_tensor *v,
                            double lr, double beta1, double beta2, double eps, double weight_decay,
                            double scale, int64_t step);

/* p -= lr (g * scale + weight_decay p). */
sppo_status sppo_sgd_step(sppo_tensor *p, sppo_tensor *grad, double lr, double weight_decay,
                          double scale);

/* Sum of squares of an f32 tensor in f64, in a fixed order; for the global norm. */
sppo_status sppo_sum_squares(const sppo_tensor *x, double *out);

/* ---- segments and the key/value store ---- */

/* A store of keys and values in pages of 64 tokens over all layers; f32; the caller owns *out.
 * Nothing is allocated after this. */
sppo_status sppo_kv_new(sppo_kv **out, int layers, int kv_heads, int head_dim, int64_t pages);

/* The same on `device`: on meta it has slots and lengths, and its bytes are counted. */
sppo_status sppo_kv_new_on(sppo_kv **out, sppo_device device, int layers, int kv_heads,
                           int head_dim, int64_t pages);
void sppo_kv_free(sppo_kv *kv);  // its memory goes with the last list of segments that names it
int64_t sppo_kv_pages_free(const sppo_kv *kv);

/* Bytes that a store of these sizes takes. */
int64_t sppo_kv_bytes(int layers, int kv_heads, int head_dim, int64_t pages);

/* A new, empty slot that continues slot `parent` (-1: a root), with pages for `tokens` tokens
 * taken at once. SPPO_ERR_MEMORY if too few pages are free. A parent takes no more tokens. */
sppo_status sppo_kv_open(sppo_kv *kv, int parent, int64_t tokens, int *slot);

/* Gives the slot's pages back, once the slots that continue it are closed too. */
sppo_status sppo_kv_close(sppo_kv *kv, int slot);

/* Tokens stored in the slot; -1 if there is no such slot. */
int64_t sppo_kv_length(const sppo_kv *kv, int slot);

/* Where the tokens of a flat batch belong: a list of segments, in the order of their tokens.
 * `kv` may be NULL (training). The caller owns *out; ops and tape hold their own references.
 * Do not add after the first op has used it. */
sppo_status sppo_segments_new(sppo_segments **out, sppo_kv *kv);
void sppo_segments_retain(sppo_segments *at);
void sppo_segments_release(sppo_segments *at);

/* Without a store: `count` tokens that continue segment `parent` of this batch (-1: a root).
 * Segment numbers count from 0 in the order of adding. */
sppo_status sppo_segments_add(sppo_segments *at, int parent, int64_t count);

/* With a store: the next `count` tokens of `slot`. Until the list is committed, reset or released
 * the slot can be neither added again, nor continued, nor closed. */
sppo_status sppo_segments_add_slot(sppo_segments *at, int slot, int64_t count);

/* Empties the list, to fill it anew without an allocation. SPPO_ERR_STATE while recorded ops still
 * need it. */
sppo_status sppo_segments_reset(sppo_segments *at);

/* With a store: the forward pass is over; the slots' lengths grow by their tokens. */
sppo_status sppo_segments_commit(sppo_segments *at);

/* Tokens of all its segments. */
int64_t sppo_segments_tokens(const sppo_segments *at);

/* Position of each token in its text, counted over the segments it continues; `dst` has room for
 * sppo_segments_tokens(at) values. */
void sppo_segments_positions(const sppo_segments *at, int32_t *dst);

/* ---- sampling ---- */

typedef struct sppo_sample_options {
    float temperature;  // 0: the likeliest token
    float top_p;        // 1: off
    float min_p;        // 0: off
    int32_t top_k;      // 0: off
} sppo_sample_options;

/* Draws one token for each row of logits [n, V]. Row i is keyed by (seed, keys[4 i .. 4 i + 3]) =
 * (round, prompt, answer, token): the same draw whatever the batch. Filters in the order top_k,
 * top_p, min_p, over softmax(logits / temperature). ids[i] is the token, logprobs[i] its log-prob
 * under softmax(logits), untempered and unfiltered. */
sppo_status sppo_sample_tokens(sppo_tensor *logits, const sppo_sample_options *options,
                               uint64_t seed, const uint32_t *keys, int32_t *ids, float *logprobs);

/* One uniform number in [0, 1) from Philox 4x32-10 keyed by seed at counter (a, b, c, d). */
double sppo_philox_uniform(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d);

/* ---- tokenizer ----
 * Byte-pair encoding, or a SentencePiece model, built from data that may be hostile: new, then every
 * token, then every merge in the order of rank, then finish. SPPO_ERR_FORMAT says what is wrong
 * with the data; after a failure only free is of use. One thread at a time. */

typedef struct sppo_bpe sppo_bpe;
typedef struct sppo_spm sppo_spm;

typedef enum sppo_token_kind {
    SPPO_TOKEN_NORMAL,   // what text becomes
    SPPO_TOKEN_SPECIAL,  // control: only where the caller allows it
    SPPO_TOKEN_ADDED,    // user-defined: found in any text before it is split into words
    SPPO_TOKEN_UNUSED,   // has an id, never made from text
    SPPO_TOKEN_BYTE      // "<0x0A>": a byte of a character that has no token
} sppo_token_kind;

/* What merging begins with, and how normal tokens are written. */
typedef enum sppo_bpe_form {
    SPPO_BPE_LETTERS,     // bytes, written in GPT-2's letters
    SPPO_BPE_RANKS,       // bytes, as they are; no merges are given: a pair whose bytes are a token
                          // merges, the lowest id first (tiktoken)
    SPPO_BPE_CHARACTERS,  // characters; one without a token becomes its bytes' tokens, or unknown
    SPPO_BPE_PIECES       // a SentencePiece model makes the ids, see sppo_bpe_use
} sppo_bpe_form;

typedef struct sppo_bpe_options {
    int32_t whole_words;   // a word that is a token is not merged from bytes (Llama-3)
    int32_t nfc;           // text is composed first (Qwen2)
    int32_t form;          // sppo_bpe_form
    int32_t fuse_unknown;  // characters in a row that are unknown are one token
} sppo_bpe_options;

/* What is done with plain text before it is split, in the order of adding. */
typedef enum sppo_bpe_step {
    SPPO_STEP_NFC,
    SPPO_STEP_NFD,
    SPPO_STEP_NFKC,
    SPPO_STEP_NFKD,
    SPPO_STEP_REPLACE,          // each `from` by `to`
    SPPO_STEP_COLLAPSE,         // two or more of `from` in a row by one `to`
    SPPO_STEP_TRIM_LEFT,        // `from` at the start, however often
    SPPO_STEP_TRIM_RIGHT,       // and at the end
    SPPO_STEP_STRIP_LEFT,       // white space at the start
    SPPO_STEP_STRIP_RIGHT,      // and at the end
    SPPO_STEP_PREPEND,          // `to` in front of a text that is not empty
    SPPO_STEP_PREPEND_MISSING,  // only where it does not begin so
    SPPO_STEP_PREPEND_FIRST,    // only in front of what was put first, no special token before it
    SPPO_STEP_PREPEND_FIRST_MISSING,
    SPPO_STEP_CHARSMAP  // `from` is a compiled map of SentencePiece
} sppo_bpe_step;

/* A tokenizer of `vocab` tokens that splits text into words by pattern "gpt2", "smollm",
 * "llama-bpe", "qwen2", "metaspace" (a word begins at each U+2581) or "none" (all is one word);
 * `options` may be NULL. The caller owns *out. */
sppo_status sppo_bpe_new(sppo_bpe **out, const char *pattern, int64_t vocab,
                         const sppo_bpe_options *options);
void sppo_bpe_free(sppo_bpe *b);

/* Token `id`, once each of 0..vocab-1. A normal token is written as the form says; the others as
 * they are, in UTF-8. */
sppo_status sppo_bpe_add_token(sppo_bpe *b, int64_t id, const char *text, int64_t length,
                               sppo_token_kind kind);

/* A special or added token takes the white space before or after it, where it is found. */
sppo_status sppo_bpe_set_strip(sppo_bpe *b, int64_t id, int left, int right);

/* The token of characters that have none; without it they are left out. */
sppo_status sppo_bpe_set_unknown(sppo_bpe *b, int64_t id);

/* One more step; the texts are copied. */
sppo_status sppo_bpe_add_step(sppo_bpe *b, sppo_bpe_step step, const char *from,
                              int64_t from_length, const char *to, int64_t to_length);

/* Form PIECES: `m`, finished and of as many pieces or fewer, encodes plain text. Borrowed while b
 * encodes. */
sppo_status sppo_bpe_use(sppo_bpe *b, sppo_spm *m);

/* The merge of next rank: two normal tokens in GPT-2's letters with a space between them. */
sppo_status sppo_bpe_add_merge(sppo_bpe *b, const char *text, int64_t length);
sppo_status sppo_bpe_finish(sppo_bpe *b);

/* Tokens and merges, and the two tokens that merge `rank` joins. */
int64_t sppo_bpe_vocab(const sppo_bpe *b);
int64_t sppo_bpe_merge_count(const sppo_bpe *b);
sppo_status sppo_bpe_merge(const sppo_bpe *b, int64_t rank, int32_t *left, int32_t *right);

/* The bytes that token `id` stands for (of CHARACTERS and PIECES: as it is written); borrowed while
 * b lives, not ended by a NUL. */
sppo_status sppo_bpe_token(const sppo_bpe *b, int64_t id, const char **bytes, int64_t *length,
                           sppo_token_kind *kind);

/* The token of these bytes (special before added before normal), -1 for none. */
int64_t sppo_bpe_find(const sppo_bpe *b, const char *bytes, int64_t length);

/* Adds a piece of UTF-8 text, at most 16 MiB in all, to what the next encode takes. Special tokens
 * are read in it only if `special` is not 0. Bytes without a token of their own are left out.
 * SPPO_ERR_ARGUMENT with the offset of what is not UTF-8; a failure forgets all pieces. */
sppo_status sppo_bpe_put(sppo_bpe *b, const char *text, int64_t length, int special);

/* Token ids of all pieces since the last encode; plain text is encoded across their borders.
 * Borrowed until the next put or encode. */
sppo_status sppo_bpe_encode(sppo_bpe *b, const int32_t **ids, int64_t *count);

/* A SentencePiece model: `parse` a tokenizer.model, or `new` and `add` its pieces; then `finish`,
 * which checks all of it before the library sees any. Ids are the places of the pieces. The caller
 * owns *out. SPPO_ERR_FORMAT says what is wrong. */
typedef enum sppo_piece_kind {  // as tokenizer.model and GGUF number them
    SPPO_PIECE_NORMAL = 1,
    SPPO_PIECE_UNKNOWN,
    SPPO_PIECE_CONTROL,  // never made from text
    SPPO_PIECE_USER,     // found in any text
    SPPO_PIECE_UNUSED,
    SPPO_PIECE_BYTE
} sppo_piece_kind;

typedef struct sppo_spm_options {
    int32_t unigram;  // 0: BPE
    int32_t byte_fallback;
    int32_t add_dummy_prefix;  // a space in front of the text (behind, if whitespace_suffix)
    int32_t remove_extra_whitespaces;  // at both ends, and all but one of several
    int32_t escape_whitespaces;        // a space is U+2581
    int32_t whitespace_suffix;
    // Unigram as Hugging Face's tokenizers have it: sums in f64, the unknown piece's text is found
    int32_t hugging_face;
} sppo_spm_options;

/* `add`: the next piece, of kind sppo_piece_kind. `set_charsmap`: its compiled map of characters,
 * before finish. */
sppo_status sppo_spm_new(sppo_spm **out, const sppo_spm_options *options);
sppo_status sppo_spm_parse(sppo_spm **out, const char *data, int64_t bytes);
sppo_status sppo_spm_add(sppo_spm *m, const char *text, int64_t length, double score, int kind);
sppo_status sppo_spm_set_charsmap(sppo_spm *m, const char *data, int64_t bytes);
sppo_status sppo_spm_finish(sppo_spm *m);
void sppo_spm_free(sppo_spm *m);

/* Borrowed while m lives; to be changed before finish. */
sppo_spm_options *sppo_spm_settings(sppo_spm *m);
sppo_status sppo_spm_set_kind(sppo_spm *m, int64_t id, int kind);

/* Pieces, and what piece `id` is; its text is borrowed while m lives. */
int64_t sppo_spm_count(const sppo_spm *m);
sppo_status sppo_spm_piece(const sppo_spm *m, int64_t id, const char **text, int64_t *length,
                           double *score, int *kind);

/* Its map of characters, of 0 bytes if it has none; borrowed while m lives. A unigram model does not
 * apply it: text is normalised before (SPPO_STEP_CHARSMAP). */
sppo_status sppo_spm_charsmap(const sppo_spm *m, const char **data, int64_t *bytes);

/* The finished model as the bytes of a tokenizer.model; borrowed while m lives. */
sppo_status sppo_spm_bytes(const sppo_spm *m, const char **data, int64_t *bytes);

/* Length of the longest start of `bytes` that is UTF-8 in whole characters. What follows it: *bad
 * bytes that one U+FFFD replaces; or, where *bad is 0, nothing or a character cut off by the end. */
int64_t sppo_utf8_scan(const char *bytes, int64_t length, int *bad);

/* ---- files ----
 * Everything read here may be hostile: sizes and counts are checked before memory is taken for
 * them. SPPO_ERR_FORMAT: `path: what is wrong (at byte N)`; SPPO_ERR_IO: what the system said. */

typedef struct sppo_gguf sppo_gguf;
typedef struct sppo_gguf_writer sppo_gguf_writer;
typedef struct sppo_safetensors sppo_safetensors;
typedef struct sppo_safetensors_writer sppo_safetensors_writer;
typedef struct sppo_records sppo_records;
typedef struct sppo_folder sppo_folder;
typedef struct sppo_stream sppo_stream;
typedef struct sppo_list sppo_list;
typedef struct sppo_lock sppo_lock;

/* A GGUF file (version 2 or 3), mapped read-only; the caller owns *out. Names and texts that its
 * getters return are borrowed until close. */
sppo_status sppo_gguf_open(sppo_gguf **out, const char *path);
void sppo_gguf_close(sppo_gguf *g);

/* Its tensors, 0..count-1 in file order. Type as GGML writes it, "Q4_1"; sizes row-major, the
 * reverse of the file's. `find` returns -1 if there is none of that name. */
int64_t sppo_gguf_tensor_count(const sppo_gguf *g);
const char *sppo_gguf_tensor_name(const sppo_gguf *g, int64_t i);
const char *sppo_gguf_tensor_type(const sppo_gguf *g, int64_t i);
int sppo_gguf_tensor_ndim(const sppo_gguf *g, int64_t i);
int64_t sppo_gguf_tensor_size(const sppo_gguf *g, int64_t i, int axis);
int64_t sppo_gguf_tensor_find(const sppo_gguf *g, const char *name);

/* The values as f32 rows on the CPU; the caller owns *out. From F32, F16, BF16, Q8_0, Q4_0, Q4_1,
 * Q5_0, Q5_1 and Q2_K to Q6_K; SPPO_ERR_FORMAT for any other type, SPPO_ERR_ARGUMENT for a name the
 * file does not have. */
sppo_status sppo_gguf_tensor(sppo_tensor **out, sppo_gguf *g, const char *name);

/* Its metadata, 0..count-1 in file order; `find` returns -1 for a key that is not there. Types:
 * u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool string array. */
int64_t sppo_gguf_key_count(const sppo_gguf *g);
const char *sppo_gguf_key_name(const sppo_gguf *g, int64_t i);
const char *sppo_gguf_key_type(const sppo_gguf *g, int64_t i);
int64_t sppo_gguf_key_find(const sppo_gguf *g, const char *name);

/* Value of key i: any number or bool; any integer or bool that fits; a string (bytes, not ended
 * by a NUL). SPPO_ERR_FORMAT if it is of another type. */
sppo_status sppo_gguf_number(const sppo_gguf *g, int64_t i, double *value);
sppo_status sppo_gguf_integer(const sppo_gguf *g, int64_t i, int64_t *value);
sppo_status sppo_gguf_string(const sppo_gguf *g, int64_t i, const char **text, int64_t *length);

/* Key i as an array: its length (-1 if it is none), the type of its elements, and element j, in
 * constant time. */
int64_t sppo_gguf_array_count(const sppo_gguf *g, int64_t i);
const char *sppo_gguf_array_type(const sppo_gguf *g, int64_t i);
sppo_status sppo_gguf_array_number(const sppo_gguf *g, int64_t i, int64_t j, double *value);
sppo_status sppo_gguf_array_string(const sppo_gguf *g, int64_t i, int64_t j, const char **text,
                                   int64_t *length);

/* Writes a GGUF file (version 3, alignment 32) at `path`: `new`, then its metadata and `add` for
 * each tensor (f32, f16, bf16, q8_0, i32; 1 to 4 dimensions, row-major sizes), then `begin`, then
 * `write` for each tensor in the order of adding, then `close`, which fsyncs and renames
 * PATH.tmp-<pid> to `path`. The caller owns *out until close, which frees it always; what is not
 * whole by then is removed, `path` stays as it was, and close fails. Only a regular file is
 * replaced. Metadata is held in memory until begin: at most 64 MiB of names and strings. */
sppo_status sppo_gguf_writer_new(sppo_gguf_writer **out, const char *path);

/* A number or bool of `type` ("u32", "f32", "bool", ..), which must fit it; a string of `length`
 * bytes; an array of `count` elements of `type`, each of which `element` or `element_string` must
 * give before the next call. */
sppo_status sppo_gguf_writer_number(sppo_gguf_writer *w, const char *key, const char *type,
                                    double value);
sppo_status sppo_gguf_writer_string(sppo_gguf_writer *w, const char *key, const char *text,
                                    int64_t length);
sppo_status sppo_gguf_writer_array(sppo_gguf_writer *w, const char *key, const char *type,
                                   int64_t count);
sppo_status sppo_gguf_writer_element(sppo_gguf_writer *w, double value);
sppo_status sppo_gguf_writer_element_string(sppo_gguf_writer *w, const char *text, int64_t length);

/* The tensors, as sppo_gguf_writer_new says. */
sppo_status sppo_gguf_writer_add(sppo_gguf_writer *w, const char *name, sppo_dtype dtype, int ndim,
                                 const int64_t *shape);
sppo_status sppo_gguf_writer_begin(sppo_gguf_writer *w);
sppo_status sppo_gguf_writer_write(sppo_gguf_writer *w, const char *name, const sppo_tensor *t);
sppo_status sppo_gguf_writer_close(sppo_gguf_writer *w);

/* One safetensors file, mapped read-only; the caller owns *out. Names are borrowed until close.
 * Dtype as the file writes it, "BF16". `find` returns -1 if there is none of that name. */
sppo_status sppo_safetensors_open(sppo_safetensors **out, const char *path);
void sppo_safetensors_close(sppo_safetensors *s);
int64_t sppo_safetensors_count(const sppo_safetensors *s);
const char *sppo_safetensors_name(const sppo_safetensors *s, int64_t i);
const char *sppo_safetensors_dtype(const sppo_safetensors *s, int64_t i);
int sppo_safetensors_ndim(const sppo_safetensors *s, int64_t i);
int64_t sppo_safetensors_size(const sppo_safetensors *s, int64_t i, int axis);
int64_t sppo_safetensors_find(const sppo_safetensors *s, const char *name);

/* Value of `key` in its metadata, or NULL; borrowed until close. */
const char *sppo_safetensors_metadata(const sppo_safetensors *s, const char *key);

/* The values in their own dtype (F32, F16, BF16, I32), rows, on the CPU; the caller owns *out. */
sppo_status sppo_safetensors_tensor(sppo_tensor **out, sppo_safetensors *s, const char *name);

/* Writes a safetensors file at `path`: `new`, then `add` for each tensor (f32, bf16, f16, i32) and
 * `note` for each metadata string, then `begin`, then `write` for each tensor in the order of
 * adding, then `close`, which fsyncs. The caller owns *out until close, which frees it always; a
 * file that is not whole by then is removed and close fails. */
sppo_status sppo_safetensors_writer_new(sppo_safetensors_writer **out, const char *path);
sppo_status sppo_safetensors_writer_add(sppo_safetensors_writer *w, const char *name,
                                        sppo_dtype dtype, int ndim, const int64_t *shape);
sppo_status sppo_safetensors_writer_note(sppo_safetensors_writer *w, const char *key,
                                         const char *value);
sppo_status sppo_safetensors_writer_begin(sppo_safetensors_writer *w);
sppo_status sppo_safetensors_writer_write(sppo_safetensors_writer *w, const char *name,
                                          const sppo_tensor *t);
sppo_status sppo_safetensors_writer_close(sppo_safetensors_writer *w);

/* A record file: payloads of at most 256 MiB, each with its length and CRC-32C. Opening scans it;
 * the caller owns *out. Writable: made if missing, appended to. A torn tail (what a killed append
 * leaves) is cut when writable and not counted otherwise; damage before the last record is
 * SPPO_ERR_FORMAT. */
sppo_status sppo_records_open(sppo_records **out, const char *path, int writable);
int64_t sppo_records_count(const sppo_records *r);

/* Bytes of the torn tail that `open` found. */
int64_t sppo_records_torn(const sppo_records *r);

/* Payload of record i; borrowed until the next call with r. */
sppo_status sppo_records_read(sppo_records *r, int64_t i, const void **data, int64_t *bytes);

/* Adds a record to a buffer that is written when it is full and by sync (which also waits for the
 * disk) and close. After a failed write the file is cut back to its last whole record. */
sppo_status sppo_records_append(sppo_records *r, const void *data, int64_t bytes);
sppo_status sppo_records_sync(sppo_records *r);

/* Keeps the first `count` records. */
sppo_status sppo_records_truncate(sppo_records *r, int64_t count);

/* Writes what is buffered, and frees r always. */
sppo_status sppo_records_close(sppo_records *r);

/* A folder that appears whole or not at all. `begin` makes the sibling PATH.tmp-<pid>; put files
 * below sppo_folder_path (borrowed until the end); `commit` syncs them, writes COMPLETE last and
 * renames, replacing what was at `path`; `abort` removes them. Both free f always. */
sppo_status sppo_folder_begin(sppo_folder **out, const char *path);
const char *sppo_folder_path(const sppo_folder *f);
sppo_status sppo_folder_commit(sppo_folder *f);
void sppo_folder_abort(sppo_folder *f);

/* After a crash: finishes a commit that had begun to rename, or undoes it, and removes what
 * interrupted writers of `path` (a folder or a file) left beside it. Call it at start, while no
 * other process writes `path`. */
sppo_status sppo_folder_recover(const char *path);

/* 1 if `path` is a folder that was committed. */
int sppo_folder_complete(const char *path);

/* Makes a folder and those above it; one that is there is fine. */
sppo_status sppo_folder_make(const char *path);

/* Removes a file or a folder with all below it; links are removed, never followed. Fine if there
 * is none. */
sppo_status sppo_folder_remove(const char *path);

/* Names in a folder, sorted, without "." and ".."; the caller owns *out. */
sppo_status sppo_list_open(sppo_list **out, const char *path);
int64_t sppo_list_count(const sppo_list *l);
const char *sppo_list_name(const sppo_list *l, int64_t i);
int sppo_list_is_folder(const sppo_list *l, int64_t i);
void sppo_list_close(sppo_list *l);

/* Replaces a file's content: temporary sibling, fsync, rename, fsync of the folder. */
sppo_status sppo_file_write_atomic(const char *path, const void *data, int64_t bytes);

/* Adds to the end of a file, making it if missing; `sync` waits for the disk. After a short write
 * the file has its old length. */
sppo_status sppo_file_append(const char *path, const void *data, int64_t bytes, int sync);

/* Cuts a file to `bytes` (it must have as many) and syncs it. */
sppo_status sppo_file_truncate(const char *path, int64_t bytes);

/* Whole content of a regular file of at most `limit` bytes, with a NUL after it that *bytes does
 * not count. Allocates: the caller owns *data and frees it with sppo_file_free. */
sppo_status sppo_file_read(const char *path, int64_t limit, char **data, int64_t *bytes);
void sppo_file_free(char *data);

/* A regular file read from its beginning to its end. gzip and zstd, known by the first bytes, are
 * unpacked on the way. At most `limit` bytes come out, and past 64 MiB at most 400 for each byte of
 * the file. The caller owns *out. */
sppo_status sppo_stream_open(sppo_stream **out, const char *path, int64_t limit);

/* The next `bytes` bytes; *got is less only at the end. SPPO_ERR_FORMAT with the file's byte where
 * its compressed data are malformed, cut off or over a limit. */
sppo_status sppo_stream_read(sppo_stream *s, void *data, int64_t bytes, int64_t *got);

/* "gzip", "zstd" or "none". */
const char *sppo_stream_packing(const sppo_stream *s);
void sppo_stream_close(sppo_stream *s);

/* Size of a regular file. */
sppo_status sppo_file_size(const char *path, int64_t *bytes);

/* Bytes that this user can still write on the disk of `path`, which must exist. */
sppo_status sppo_disk_free(const char *path, int64_t *bytes);

/* An exclusive lock held while the process lives; the file holds its pid. SPPO_ERR_STATE with the
 * holder's pid if another has it. The caller owns *out. */
sppo_status sppo_lock_open(sppo_lock **out, const char *path);
void sppo_lock_close(sppo_lock *lock);

/* SHA-256 as 64 hex digits and a NUL: `hex` has room for 65 bytes. */
sppo_status sppo_sha256(const void *data, int64_t bytes, char *hex);
sppo_status sppo_sha256_file(const char *path, char *hex);

/* ---- what this machine can do, to compare with ---- */

/* GFLOP/s of f32 multiply-adds from registers, with the instruction set in use, in about `seconds`;
 * 0 without a thread to run on. */
double sppo_bench_fma(int threads, double seconds);

/* GOP/s of multiply-adds of bytes (two operations each) from registers, as q8_0 products use them. */
double sppo_bench_dot(int threads, double seconds);

/* GB/s of reading `bytes` of memory again and again; 0 if so much memory is not to be had. */
double sppo_bench_read(int threads, int64_t bytes, double seconds);

/* GB/s of copying `bytes` of memory again and again (bytes copied, not moved); 0 as above. */
double sppo_bench_copy(int threads, int64_t bytes, double seconds);

/* Copies `bytes` once into memory that is fresh from the system; for its time. */
void sppo_bench_fresh_copy(int64_t bytes);

/* Seconds that a parallel region without work takes. */
double sppo_bench_region(int threads, double seconds);

/* ---- cost, as the meta device counts it ---- */

/* FLOPs and bytes read and written by all ops run on the meta device since the last reset. */
double sppo_cost_flops(void);
double sppo_cost_bytes(void);

/* Those of the bytes that are read: sppo_bytes_read for ops that did not run. */
double sppo_cost_read(void);
void sppo_cost_reset(void);

/* ---- several processes (engine/comm) ---- */

/* Number of processes that mpirun started, this one too; 1 without mpirun. Any build can tell. */
int sppo_comm_launched(void);

/* Joins the processes that mpirun started beside this one; does nothing without mpirun or with one
 * process. SPPO_ERR_STATE if there are more and this build has no MPI. The calls below are made by
 * all processes, in one order, with equal sizes, from one thread. Before it, rank 0 of 1. */
sppo_status sppo_comm_start(void);

/* Leaves them; with a `code` that is not 0 ends all of them and does not return. */
void sppo_comm_end(int code);

/* This process's number, from 0; 0 before sppo_comm_start. */
int sppo_comm_rank(void);

/* Number of processes that have joined; 1 before sppo_comm_start. */
int sppo_comm_size(void);

/* Bytes that this process has sent. */
int64_t sppo_comm_bytes(void);

/* Where process `rank`'s share of `count` values begins; shares differ by one value at most. */
int64_t sppo_comm_share(int64_t count, int rank);

/* This process's share of x [count] becomes the sum over processes, added in the order of their
 * ranks; the rest of x stays as it is. SPPO_ERR_MEMORY. */
sppo_status sppo_comm_reduce_scatter(float *x, int64_t count);

/* Each process's share of x [count], from it to all. SPPO_ERR_MEMORY. */
sppo_status sppo_comm_all_gather(float *x, int64_t count);

/* Both: x [count] becomes the sum, with the same bits in all processes. */
sppo_status sppo_comm_all_reduce(float *x, int64_t count);

/* `bytes` of process `root` into all. SPPO_ERR_ARGUMENT if there is no such process. */
sppo_status sppo_comm_broadcast(void *data, int64_t bytes, int root);

/* Process root's x, f32 of any device and layout, becomes the sum over processes, added in the order
 * of their ranks; that of the others stays. SPPO_ERR_ARGUMENT if there is no such process,
 * SPPO_ERR_MEMORY. */
sppo_status sppo_comm_reduce(sppo_tensor *x, int root);

/* Values of process `from` into those of all, of one shape and layout. Errors as above. */
sppo_status sppo_comm_share_tensor(sppo_tensor *x, int from);

/* Values of process `from` into those of `to`; nothing happens in the others. Errors as above. */
sppo_status sppo_comm_move(sppo_tensor *x, int from, int to);

/* Returns when all processes have called it. */
sppo_status sppo_comm_barrier(void);

/* cdef: end */

#pragma GCC visibility pop

#endif
