/* sample.cu - draws one token for each row of logits; cpu/sample.c says what the filters keep.
 *
 * parts    grid: rows times parts of 1,024 logits, block 128: their log-sum-exp
 * sample   grid: rows, block 128. What top_k and top_p keep are the first tokens in rank, so they
 *          end in a last kept logit and, where several have it, a last kept id: both are found bit
 *          by bit, one pass over the row for each, about 40 a filter; sums are in f64. Without
 *          filters 3 passes. The draw is one thread's, by id. Moves 4 bytes a value and pass, from
 *          L2. Limit: latency of one block a row
 *
 * The host waits for the tokens. */

#include <float.h>

#include "cuda/lse.h"

extern "C" {
#include "cuda/device.h"
#include "llm/sampler.h"
}

typedef struct drawn {
    int32_t id;  // -1 where the row's logits are not usable
    float logprob;
} drawn;

typedef struct sampling {
    const float *logits;
    const double *uniform;  // [rows], in 0..1
    lse_part *part;         // [rows, chunks]
    double *sum;            // [rows, chunks] of kept weights
    float *weight;          // [rows, V]
    drawn *out;             // [rows]
    int64_t V, chunks;
    float temperature, top_p, min_p;
    int64_t top_k;
} sampling;

static __global__ void parts_kernel(sampling s) {
    int64_t row = blockIdx.x / s.chunks, from = blockIdx.x % s.chunks * LSE_CHUNK;
    int count = (int)at_most(s.V - from, LSE_CHUNK);
    lse_of_part(s.part + blockIdx.x, s.logits + row * s.V + from, count);
}

/* A row and which of its tokens are kept: those whose logit has a greater key than `key`, or this
 * key and an id up to `id`. */
typedef struct kept {
    const float *x, *weight;
    int64_t V;
    unsigned key;
    int64_t id;
    double (*parts)[WARP];  // shared, two places for sums in turn
    int turn;
} kept;

/* Logits in their order; both zeros are one. */
static __device__ inline unsigned key_of(float x) {
    float value = x + 0.0f;
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static __device__ inline bool keeps(const kept &k, int64_t i) {
    unsigned key = key_of(k.x[i]);
    return key > k.key || (key == k.key && i <= k.id);
}

/* Sum over the row of term(i), by the block: in places that the sum before the last one used, which
 * all threads have read by now. */
template <typename Term> static __device__ inline double row_sum(kept *k, Term term) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < k->V; i += THREADS) sum += term(i);
    k->turn ^= 1;
    return block_sum(sum, k->parts[k->turn]);
}

/* The largest number of `bits` bits at which ok is true; it is at 0, and is never true again once it
 * was false. */
template <typename Test> static __device__ inline unsigned last_that(int bits, Test ok) {
    unsigned found = 0;
    for (int bit = bits - 1; bit >= 0; bit--)
        if (ok(found | 1u << bit)) found |= 1u << bit;
    return found;
}

/* Keeps of the kept tokens those whose key is greater than `key`, and the first `count` by id that
 * have it. */
static __device__ inline void cut(kept *k, unsigned key, double count) {
    auto before = [&](unsigned id) {
        return row_sum(k, [&](int64_t i) {
            return i < (int64_t)id && key_of(k->x[i]) == key && keeps(*k, i) ? 1.0 : 0.0;
        });
    };
    int64_t last = k->V - 1;
    if (before((unsigned)k->V) > count)
        last = last_that(31, [&](unsigned id) { return before(id) < count; });
    if (key != k->key || last < k->id) k->id = last;
    k->key = key;
}

static __device__ inline void keep_top_k(kept *k, double most) {
    auto reaching = [&](unsigned key) {
        return row_sum(k, [&](int64_t i) { return key_of(k->x[i]) >= key ? 1.0 : 0.0; });
    };
    unsigned key = last_that(32, [&](unsigned least) { return reaching(least) >= most; });
    double above = row_sum(k, [&](int64_t i) { return key_of(k->x[i]) > key ? 1.0 : 0.0; });
    cut(k, key, most - above);
}

/* The shortest run of the kept tokens with this share of their weight, one at least. */
static __device__ inline void keep_top_p(kept *k, float share, float maximum) {
    auto weight_from = [&](unsigned key) {
        return row_sum(k, [&](int64_t i) {
            return key_of(k->x[i]) >= key && keeps(*k, i) ? (double)k->weight[i] : 0.0;
        });
    };
    unsigned top = key_of(maximum);
    double wanted = (double)share * weight_from(0);
    unsigned key =
        last_that(32, [&](unsigned least) { return least <= top && weight_from(least) >= wanted; });
    double above = key < top ? weight_from(key + 1) : 0.0, equal = weight_from(key) - above;
    double count =
        row_sum(k, [&](int64_t i) { return key_of(k->x[i]) == key && keeps(*k, i) ? 1.0 : 0.0; });
    if (equal > 0) {  // all that have the key weigh the same
        double needed = ceil((wanted - above) / (equal / count));
        count = needed < 1 ? 1 : needed < count ? needed : count;
    }
    cut(k, key, count);
}

/* The token at which the running sum of kept weights, by id, passes u times their total. Thread 0
 * alone gets it. */
static __device__ inline int64_t draw(const sampling &s, const kept &k, double *sum, double u) {
    auto weight = [&](int64_t i) {
        bool stays = k.weight[i] >= s.min_p && keeps(k, i);
        return stays ? (double)k.weight[i] : 0.0;
    };
    for (int64_t c = threadIdx.x / WARP; c < s.chunks; c += THREADS / WARP) {
        int64_t end = at_most(s.V, (c + 1) * LSE_CHUNK);
        double part = 0;
        for (int64_t i = c * LSE_CHUNK + threadIdx.x % WARP; i < end; i += WARP) part += weight(i);
        part = warp_sum(part);
        if (threadIdx.x % WARP == 0) sum[c] = part;
    }
    __syncthreads();
    if (threadIdx.x != 0) return -1;
    double total = 0, run = 0;
    for (int64_t c = 0; c < s.chunks; c++) total += sum[c];
    int64_t chunk = 0;
    for (int64_t c = 0; c < s.chunks; c++) {
        if (sum[c] <= 0) continue;
        chunk = c;
        if (run + sum[c] > u * total) break;
        run += sum[c];
    }
    int64_t id = chunk * LSE_CHUNK, end = at_most(s.V, id + LSE_CHUNK);
    for (int64_t i = id; i < end; i++) {
        double w = weight(i);
        if (w <= 0) continue;
        id = i;
        run += w;
        if (run > u * total) break;
    }
    return id;
}

/* The first token that has the maximum; thread 0 alone gets it. */
static __device__ inline int64_t likeliest(const float *x, int64_t V, float maximum) {
    __shared__ unsigned first[THREADS / WARP];
    unsigned least = 0xffffffffu;
    for (int64_t i = threadIdx.x; i < V; i += THREADS)
        if (x[i] == maximum && least == 0xffffffffu) least = (unsigned)i;
    for (int step = WARP / 2; step; step /= 2) {
        unsigned other = __shfl_xor_sync(ALL_LANES, least, step);
        if (other < least) least = other;
    }
    if (threadIdx.x % WARP == 0) first[threadIdx.x / WARP] = least;
    __syncthreads();
    for (int w = 0; w < THREADS / WARP; w++)
        if (first[w] < least) least = first[w];
    return least;
}

static __global__ void sample_kernel(sampling s) {
    __shared__ double parts[2][WARP];
    int64_t row = blockIdx.x, id;
    const float *x = s.logits + row * s.V;
    float *weight = s.weight + row * s.V, maximum;
    float lse = lse_of_parts(s.part + row * s.chunks, s.chunks, &maximum);
    if (!isfinite(lse)) {  // so for the whole block
        if (threadIdx.x == 0) s.out[row] = drawn{-1, 0};
        return;
    }
    if (s.temperature == 0) {
        id = likeliest(x, s.V, maximum);
    } else {
        float share = fminf(1.0f / s.temperature, FLT_MAX);
        for (int64_t i = threadIdx.x; i < s.V; i += THREADS)
            weight[i] = expf((x[i] - maximum) * share);
        kept k = {x, weight, s.V, 0, s.V, parts, 0};
        __syncthreads();  // a token's weight may be asked for by any thread
        if (s.top_k > 0 && s.top_k < s.V) keep_top_k(&k, (double)s.top_k);
        if (s.top_p < 1) keep_top_p(&k, s.top_p, maximum);
        id = draw(s, k, s.sum + row * s.chunks, s.uniform[row]);
    }
    if (threadIdx.x == 0) s.out[row] = drawn{(int32_t)id, x[id] - lse};
}

/* Where the parts of the kernels' memory begin: those of 8 bytes first. */
static sppo_status run(sppo__call *c, sampling *s, int64_t n, double *uniform, drawn *out) {
    const char *op = sppo__op_name(c->op);
    sppo__storage *memory;
    int64_t bytes = n * 16 + n * s->chunks * 16 + n * s->V * 4;
    sppo_status st = sppo__work_new(&memory, SPPO_DEVICE_CUDA, bytes, false, op);
    if (st) return st;
    double *there = (double *)memory->data;
    s->uniform = there;
    s->sum = there + n;
    s->part = (lse_part *)(s->sum + n * s->chunks);
    s->out = (drawn *)(s->part + n * s->chunks);
    s->weight = (float *)(s->out + n);
    int64_t up = n * (int64_t)sizeof *uniform, down = n * (int64_t)sizeof *out;
    st = sppo__cuda.copy(op, SPPO_CUDA_UP, there, uniform, up);
    if (!st) {
        LAUNCH(parts_kernel, (unsigned)(n * s->chunks), THREADS, 0, *s);
        LAUNCH(sample_kernel, (unsigned)n, THREADS, 0, *s);
        st = sppo__cuda_launched(c);
    }
    if (!st) st = sppo__cuda.copy(op, SPPO_CUDA_DOWN, out, s->out, down);
    sppo__storage_release(memory);
    return st;
}

sppo_status sppo_cuda_sample(sppo__call *c) {
    const struct sppo__sampling *asked = c->sampling;
    int64_t n = c->in[0]->shape[0];
    sampling s = {};
    s.logits = sppo__f32(c->in[0]);
    s.V = c->in[0]->shape[1];
    s.chunks = lse_chunks(s.V);
    s.temperature = asked->options.temperature;
    s.top_p = asked->options.top_p;
    s.min_p = asked->options.min_p;
    s.top_k = asked->options.top_k;
    for (int64_t i = 0; i < n; i++) asked->ids[i] = -1;
    if (!n || !s.V) return SPPO_OK;
    double *uniform = (double *)malloc((size_t)n * sizeof *uniform);
    drawn *out = (drawn *)malloc((size_t)n * sizeof *out);
    sppo_status st = SPPO_OK;
    if (!uniform || !out)
        st = sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, sppo__op_name(c->op), 0.0, 0.0, "");
    for (int64_t i = 0; i < n && !st; i++) {
        const uint32_t *key = asked->keys + 4 * i;
        uniform[i] = sppo_philox_uniform(asked->seed, key[0], key[1], key[2], key[3]);
    }
    if (!st) st = run(c, &s, n, uniform, out);
    for (int64_t i = 0; i < n && !st; i++) {
        asked->ids[i] = out[i].id;
        asked->logprobs[i] = out[i].logprob;
    }
    free(uniform);
    free(out);
    return st;
}
