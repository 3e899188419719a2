/* attention_test.c - rope and attention: against double-precision references and finite
 * differences, bit for bit between store and batch, and what they refuse. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "llm/kv_store.h"
#include "llm/segments.h"
#include "ops/op.h"
#include "sppo.h"

#define OK(call) assert_int_equal(call, SPPO_OK)
#define REFUSES(call, status, text) \
    do { \
        assert_int_equal(call, status); \
        assert_string_equal(sppo_last_error(), text); \
    } while (0)

static const char *const isas[] = {"avx512vnni", "avx512", "avx2", "plain"};
static uint32_t state = 1;

/* In -1 .. 1 */
static float random_value(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static sppo_tensor *random_tensor(int64_t n, int64_t heads, int64_t D, float range) {
    sppo_tensor *t;
    OK(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 3, (int64_t[]){n, heads, D}));
    for (int64_t i = 0; i < n * heads * D; i++) sppo__f32(t)[i] = range * random_value();
    return t;
}

static void release(sppo_tensor **t, int count) {
    for (int i = 0; i < count; i++) sppo_tensor_release(t[i]);
}

// ---- trees and their double-precision reference

typedef struct tree {
    int count;
    int parent[12];
    int length[12];
} tree;

static const tree trees[] = {
    {1, {-1}, {1}},
    {1, {-1}, {200}},
    {4, {-1, 0, 0, 0}, {65, 64, 63, 1}},
    {4, {-1, 0, 0, 1}, {1, 0, 3, 2}},
    {3, {-1, 0, 0}, {0, 5, 70}},
    {8, {-1, -1, 0, 1, 0, 2, 2, 3}, {64, 200, 65, 1, 63, 64, 2, 130}},
};
enum { TREES = sizeof trees / sizeof trees[0] };

static int64_t tokens_of(const tree *t) {
    int64_t n = 0;
    for (int i = 0; i < t->count; i++) n += t->length[i];
    return n;
}

static sppo_segments *segments_of(const tree *t) {
    sppo_segments *at;
    OK(sppo_segments_new(&at, NULL));
    for (int i = 0; i < t->count; i++) OK(sppo_segments_add(at, t->parent[i], t->length[i]));
    return at;
}

/* The keys that token `row` sees, by the definition. */
static int visible_keys(const tree *t, int64_t row, bool causal, int64_t *keys) {
    int64_t start[12], n = 0;
    int own = 0, count = 0;
    for (int i = 0; i < t->count; i++) {
        start[i] = n;
        if (row >= n && row < n + t->length[i]) own = i;
        n += t->length[i];
    }
    for (int i = own; i >= 0; i = t->parent[i])
        for (int64_t j = 0; j < t->length[i]; j++)
            if (i != own || !causal || start[i] + j <= row) keys[count++] = start[i] + j;
    return count;
}

typedef struct problem {
    const tree *t;
    int64_t n, heads, kv_heads, D;
    double scale;
    bool causal;
} problem;

/* Output of one row and head; P, if given, has the weights of `keys`. */
static void reference_row(const problem *p, const double *q, const double *k, const double *v,
                          int64_t row, int64_t head, const int64_t *keys, int count, double *out,
                          double *P) {
    int64_t kv_head = head / (p->heads / p->kv_heads), D = p->D;
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < count; i++) {
        double s = 0;
        for (int64_t d = 0; d < D; d++)
            s += q[(row * p->heads + head) * D + d] * k[(keys[i] * p->kv_heads + kv_head) * D + d];
        P[i] = s * p->scale;
        most = fmax(most, P[i]);
    }
    for (int i = 0; i < count; i++) sum += P[i] = exp(P[i] - most);
    memset(out, 0, sizeof *out * (size_t)D);
    for (int i = 0; i < count; i++) {
        P[i] /= sum;
        for (int64_t d = 0; d < D; d++)
            out[d] += P[i] * v[(keys[i] * p->kv_heads + kv_head) * D + d];
    }
}

/* Fills out and, if dout is given, adds to dq, dk, dv. */
static void reference(const problem *p, const double *q, const double *k, const double *v,
                      double *out, const double *dout, double *dq, double *dk, double *dv) {
    int64_t *keys = malloc(sizeof *keys * (size_t)p->n), D = p->D;
    double *P = malloc(sizeof *P * (size_t)p->n);
    for (int64_t row = 0; row < p->n; row++) {
        int count = visible_keys(p->t, row, p->causal, keys);
        for (int64_t h = 0; h < p->heads; h++) {
            int64_t at = (row * p->heads + h) * D, kv_head = h / (p->heads / p->kv_heads);
            reference_row(p, q, k, v, row, h, keys, count, out + at, P);
            if (!dout) continue;
            double delta = 0;
            for (int64_t d = 0; d < D; d++) delta += dout[at + d] * out[at + d];
            for (int i = 0; i < count; i++) {
                int64_t key = (keys[i] * p->kv_heads + kv_head) * D;
                double dp = 0;
                for (int64_t d = 0; d < D; d++) dp += dout[at + d] * v[key + d];
                double ds = P[i] * (dp - delta) * p->scale;
                for (int64_t d = 0; d < D; d++) {
                    dq[at + d] += ds * k[key + d];
                    dk[key + d] += ds * q[at + d];
                    dv[key + d] += P[i] * dout[at + d];
                }
            }
        }
    }
    free(keys);
    free(P);
}

static double *doubles(const sppo_tensor *t) {
    int64_t n = sppo_tensor_count(t);
    double *x = calloc((size_t)n + 1, sizeof *x);
    for (int64_t i = 0; t->storage && i < n; i++) x[i] = (double)sppo__f32(t)[i];
    return x;
}

static void assert_near(const sppo_tensor *t, const double *want, double tolerance) {
    for (int64_t i = 0; i < sppo_tensor_count(t); i++) {
        double error = fabs((double)sppo__f32(t)[i] - want[i]);
        if (!(error <= tolerance * (1 + fabs(want[i]))))
            fail_msg("value %lld is %.9g, the reference has %.9g", (long long)i,
                     (double)sppo__f32(t)[i], want[i]);
    }
}

/* Forward and backward kernels of one problem: t = q, k, v, out, lse, dout, dq, dk, dv. */
static void run_kernels(const problem *p, sppo_segments *at, sppo_tensor **t) {
    sppo__call f = {.op = SPPO_OP_ATTENTION,
                    .in = {t[0], t[1], t[2]},
                    .n_in = 3,
                    .out = {t[3], t[4]},
                    .n_out = 2,
                    .f = {(float)p->scale},
                    .i = {0, p->causal},
                    .at = at};
    OK(sppo__segments_use(at, "attention", p->n));
    OK(sppo__run(&f));
    sppo__call b = f;
    b.op = SPPO_OP_ATTENTION_BACKWARD;
    b.n_in = 6;
    b.n_out = 3;
    for (int i = 0; i < 6; i++) b.in[i] = t[i];
    for (int i = 0; i < 3; i++) b.out[i] = t[6 + i];
    OK(sppo__run(&b));
}

static void make_tensors(const problem *p, sppo_tensor **t, float range) {
    t[0] = random_tensor(p->n, p->heads, p->D, range);
    t[1] = random_tensor(p->n, p->kv_heads, p->D, range);
    t[2] = random_tensor(p->n, p->kv_heads, p->D, range);
    t[3] = random_tensor(p->n, p->heads, p->D, 1);
    t[4] = random_tensor(p->n, p->heads, 1, 1);
    t[5] = random_tensor(p->n, p->heads, p->D, 1);
    t[6] = random_tensor(p->n, p->heads, p->D, 1);
    t[7] = random_tensor(p->n, p->kv_heads, p->D, 1);
    t[8] = random_tensor(p->n, p->kv_heads, p->D, 1);
}

static void check_problem(const problem *p) {
    sppo_tensor *t[9];
    double *x[9];
    make_tensors(p, t, 2);
    for (int i = 0; i < 9; i++) x[i] = doubles(t[i]);  // gradients start at what they hold
    sppo_segments *at = segments_of(p->t);
    run_kernels(p, at, t);
    reference(p, x[0], x[1], x[2], x[3], x[5], x[6], x[7], x[8]);
    assert_near(t[3], x[3], 2e-6);
    for (int i = 6; i < 9; i++) assert_near(t[i], x[i], 4e-5);
    for (int i = 0; i < 9; i++) free(x[i]);
    release(t, 9);
    sppo_segments_release(at);
}

static void test_matches_reference(void **unused) {
    (void)unused;
    static const int64_t sizes[] = {1, 8, 24, 64, 80, 128, 256};
    for (int isa = 0; isa < 3; isa++) {
        if (sppo_cpu_use(isas[isa])) continue;
        for (int t = 0; t < TREES; t++)
            for (int d = 0; d < 7; d++) {
                int64_t group = 1 + (t + d) % 3, kv_heads = 1 + d % 2;
                for (int causal = 0; causal < 2; causal++) {
                    problem p = {&trees[t],
                                 tokens_of(&trees[t]),
                                 group * kv_heads,
                                 kv_heads,
                                 sizes[d],
                                 1 / sqrt((double)sizes[d]),
                                 causal};
                    check_problem(&p);
                }
            }
        problem many = {&trees[3], tokens_of(&trees[3]), 150, 1, 4, 0.5, true};
        check_problem(&many);  // more query heads than a block has rows
    }
}

/* Central differences of sum(dout * out), in double, against the kernels' gradients. */
static void test_finite_differences(void **unused) {
    (void)unused;
    static const tree small[] = {{3, {-1, 0, 0}, {4, 3, 2}}, {4, {-1, -1, 0, 2}, {2, 3, 1, 3}}};
    for (int i = 0; i < 2; i++) {
        problem p = {&small[i], tokens_of(&small[i]), 4, 2, 3, 0.7, i == 0};
        sppo_tensor *t[9];
        double *x[9], *out;
        make_tensors(&p, t, 1);
        for (int j = 6; j < 9; j++) memset(sppo__f32(t[j]), 0, (size_t)sppo_tensor_bytes(t[j]));
        for (int j = 0; j < 9; j++) x[j] = doubles(t[j]);
        out = x[3];
        sppo_segments *at = segments_of(p.t);
        run_kernels(&p, at, t);
        for (int j = 0; j < 3; j++)
            for (int64_t e = 0; e < sppo_tensor_count(t[j]); e++) {
                double side[2], was = x[j][e];
                for (int s = 0; s < 2; s++) {
                    x[j][e] = was + (s ? -1e-5 : 1e-5);
                    reference(&p, x[0], x[1], x[2], out, NULL, NULL, NULL, NULL);
                    side[s] = 0;
                    for (int64_t o = 0; o < sppo_tensor_count(t[3]); o++)
                        side[s] += out[o] * x[5][o];
                }
                x[j][e] = was;
                x[6 + j][e] = (side[0] - side[1]) / 2e-5;
            }
        for (int j = 6; j < 9; j++) assert_near(t[j], x[j], 1e-5);
        for (int j = 0; j < 9; j++) free(x[j]);
        release(t, 9);
        sppo_segments_release(at);
    }
}

// ---- the same bits

// Plain attention, and what Gemma-2 adds: windows within a page, over pages and over segments.
static const sppo_attention_options kinds[] = {
    {0}, {.softcap = 5, .window = 7}, {.window = 70}, {.softcap = 2, .window = 130}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };
static int kind;  // of `attend`

static sppo_tensor *attend(sppo_tensor *q, sppo_tensor *k, sppo_tensor *v, sppo_segments *at,
                           int layer, bool causal) {
    sppo_attention_options options = kinds[kind];
    options.layer = layer;
    options.causal = causal;
    sppo_tensor *out;
    OK(sppo_attention(&out, q, k, v, at, &options));
    return out;
}

/* Rows start .. start + count of each of t, one after the other. */
static sppo_tensor *gather(sppo_tensor *t, const int64_t *rows, int64_t count) {
    sppo_tensor *g;
    int64_t width = t->shape[1] * t->shape[2];
    OK(sppo_tensor_new(&g, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 3,
                       (int64_t[]){count, t->shape[1], t->shape[2]}));
    for (int64_t i = 0; i < count; i++)
        memcpy(sppo__f32(g) + i * width, sppo__f32(t) + rows[i] * width,
               sizeof(float) * (size_t)width);
    return g;
}

/* One forward pass of the given rows through the store, compared with those rows of `want`. */
static void step(sppo_segments *at, sppo_tensor *const *qkv, const sppo_tensor *want,
                 const int64_t *rows, int64_t count, int layers) {
    int64_t width = want->shape[1] * want->shape[2];
    sppo_tensor *part[3];
    for (int i = 0; i < 3; i++) part[i] = gather(qkv[i], rows, count);
    for (int layer = 0; layer < layers; layer++) {
        sppo_tensor *out = attend(part[0], part[1], part[2], at, layer, true);
        for (int64_t i = 0; i < count; i++)
            assert_memory_equal(sppo__f32(out) + i * width, sppo__f32(want) + rows[i] * width,
                                sizeof(float) * (size_t)width);
        sppo_tensor_release(out);
    }
    OK(sppo_segments_commit(at));
    OK(sppo_segments_reset(at));
    release(part, 3);
}

/* A store whose pages come out of order, with junk in them: neither must matter. */
static sppo_kv *used_store(int layers, int64_t kv_heads, int64_t D) {
    enum { PAGES = 24 };
    sppo_kv *kv;
    int slot[PAGES];
    OK(sppo_kv_new(&kv, layers, (int)kv_heads, (int)D, PAGES));
    memset(kv->storage->data, 0xff, (size_t)kv->storage->bytes);
    for (int i = 0; i < PAGES; i++) OK(sppo_kv_open(kv, -1, 1, &slot[i]));
    for (int i = 0; i < PAGES; i++) OK(sppo_kv_close(kv, slot[i * 7 % PAGES]));
    return kv;
}

/* Samples a tree as the sampler does: a segment is fed once all it continues is stored; a parent in
 * pieces of `piece`, the leaves together, one token a step. */
static void store_equals_batch(const tree *t, int64_t heads, int64_t kv_heads, int64_t D,
                               int64_t piece, int threads) {
    int64_t n = tokens_of(t), start[12], rows[12 * 64], fed[12] = {0};
    int slot[12];
    bool has_children[12] = {false};
    sppo_tensor *qkv[] = {random_tensor(n, heads, D, 3), random_tensor(n, kv_heads, D, 3),
                          random_tensor(n, kv_heads, D, 3)};
    sppo_segments *batch = segments_of(t), *at;
    OK(sppo_threads_set(1));
    sppo_tensor *want = attend(qkv[0], qkv[1], qkv[2], batch, 0, true);
    OK(sppo_threads_set(threads));
    sppo_tensor *again = attend(qkv[0], qkv[1], qkv[2], batch, 0, true);
    assert_memory_equal(sppo__f32(again), sppo__f32(want), (size_t)sppo_tensor_bytes(want));
    sppo_kv *kv = used_store(2, kv_heads, D);
    OK(sppo_segments_new(&at, kv));
    for (int i = 0, sum = 0; i < t->count; sum += t->length[i++]) {
        start[i] = sum;
        if (t->parent[i] >= 0) has_children[t->parent[i]] = true;
    }
    for (int i = 0; i < t->count; i++) {
        OK(sppo_kv_open(kv, t->parent[i] < 0 ? -1 : slot[t->parent[i]],
                        t->length[i] ? t->length[i] : 1, &slot[i]));
        for (; has_children[i] && fed[i] < t->length[i];) {
            int64_t count = t->length[i] - fed[i] < piece ? t->length[i] - fed[i] : piece;
            for (int64_t j = 0; j < count; j++) rows[j] = start[i] + fed[i] + j;
            OK(sppo_segments_add_slot(at, slot[i], count));
            step(at, qkv, want, rows, count, 2);
            fed[i] += count;
        }
    }
    for (;;) {
        int64_t count = 0;
        for (int i = t->count - 1; i >= 0; i--) {
            if (fed[i] == t->length[i]) continue;
            rows[count++] = start[i] + fed[i]++;
            OK(sppo_segments_add_slot(at, slot[i], 1));
        }
        if (!count) break;
        step(at, qkv, want, rows, count, 2);
    }
    for (int i = 0; i < t->count; i++) assert_int_equal(sppo_kv_length(kv, slot[i]), t->length[i]);
    for (int i = 0; i < t->count; i++) OK(sppo_kv_close(kv, slot[i]));
    assert_int_equal(sppo_kv_pages_free(kv), 24);
    sppo_segments_release(at);
    sppo_segments_release(batch);
    sppo_kv_free(kv);
    release(qkv, 3);
    sppo_tensor_release(want);
    sppo_tensor_release(again);
}

static void test_store_equals_batch(void **unused) {
    (void)unused;
    for (int isa = 0; isa < 3; isa++) {
        if (sppo_cpu_use(isas[isa])) continue;
        for (kind = 0; kind < KINDS; kind++) {
            for (int t = 0; t < TREES; t++)
                for (int threads = 1; threads <= 3; threads++) {
                    store_equals_batch(&trees[t], 3, 1, 64, 300, threads);
                    store_equals_batch(&trees[t], 2, 2, 24, 50, threads);
                }
            store_equals_batch(&trees[5], 4, 2, 80, 64, 2);
        }
        kind = 1;
        store_equals_batch(&trees[3], 4, 2, 256, 64, 2);
        kind = 0;
    }
    OK(sppo_threads_set(1));
}

/* A tree gives the same bits alone, beside others, and in another order of segments. */
static void test_batch_does_not_matter(void **unused) {
    (void)unused;
    static const tree alone = {3, {-1, 0, 0}, {70, 65, 3}};
    static const tree beside = {
        9, {-1, -1, -1, 1, 0, -1, 1, 2, -1}, {9, 70, 1, 3, 5, 2, 65, 4, 66}};
    static const int same[] = {1, 6, 3};
    int64_t rows[138], start[9], n = 0, m = 0, heads = 6, D = 40;
    for (int i = 0; i < beside.count; n += beside.length[i++]) start[i] = n;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < alone.length[i]; j++) rows[m++] = start[same[i]] + j;
    for (int i = 0; i < 4 * KINDS; i++) {
        if (sppo_cpu_use(isas[i % 4])) continue;
        kind = i / 4;
        sppo_tensor *all[] = {random_tensor(n, heads, D, 3), random_tensor(n, 2, D, 3),
                              random_tensor(n, 2, D, 3)};
        sppo_tensor *part[3];
        for (int j = 0; j < 3; j++) part[j] = gather(all[j], rows, m);
        sppo_segments *a = segments_of(&alone), *b = segments_of(&beside);
        sppo_tensor *x = attend(part[0], part[1], part[2], a, 0, true);
        sppo_tensor *y = attend(all[0], all[1], all[2], b, 0, true);
        sppo_tensor *z = gather(y, rows, m);
        assert_memory_equal(sppo__f32(x), sppo__f32(z), (size_t)sppo_tensor_bytes(x));
        release(all, 3);
        release(part, 3);
        release((sppo_tensor *[]){x, y, z}, 3);
        sppo_segments_release(a);
        sppo_segments_release(b);
    }
    kind = 0;
}

static void test_backward_same_for_any_threads(void **unused) {
    (void)unused;
    for (int isa = 0; isa < 3; isa++) {
        if (sppo_cpu_use(isas[isa])) continue;
        problem p = {&trees[5], tokens_of(&trees[5]), 6, 2, 64, 0.125, true};
        sppo_tensor *t[9], *first[3] = {0};
        make_tensors(&p, t, 3);
        sppo_segments *at = segments_of(p.t);
        for (int threads = 1; threads <= 3; threads++) {
            OK(sppo_threads_set(threads));
            for (int i = 6; i < 9; i++) memset(sppo__f32(t[i]), 0, (size_t)sppo_tensor_bytes(t[i]));
            run_kernels(&p, at, t);
            for (int i = 0; i < 3; i++) {
                size_t bytes = (size_t)sppo_tensor_bytes(t[6 + i]);
                if (first[i]) {
                    assert_memory_equal(sppo__f32(t[6 + i]), sppo__f32(first[i]), bytes);
                } else {
                    first[i] = random_tensor(p.n, t[6 + i]->shape[1], p.D, 1);
                    memcpy(sppo__f32(first[i]), sppo__f32(t[6 + i]), bytes);
                }
            }
        }
        release(t, 9);
        release(first, 3);
        sppo_segments_release(at);
    }
    OK(sppo_threads_set(1));
}

/* The tape's rule: d sum(dout * attention(q, k, v)) by sppo_backward, k without a gradient. Only the
 * tape keeps q, k and v. */
static void test_tape(void **unused) {
    (void)unused;
    problem p = {&trees[2], tokens_of(&trees[2]), 4, 2, 8, 1 / sqrt(8.0), true};
    sppo_tensor *t[9], *out, *product, *loss;
    double *x[9];
    make_tensors(&p, t, 1);
    for (int i = 6; i < 9; i++) memset(sppo__f32(t[i]), 0, (size_t)sppo_tensor_bytes(t[i]));
    for (int i = 0; i < 9; i++) x[i] = doubles(t[i]);
    sppo_segments *at = segments_of(p.t);
    OK(sppo_tensor_set_needs_grad(t[0], 1));
    OK(sppo_tensor_set_needs_grad(t[2], 1));
    sppo_tensor *one = random_tensor(p.n, p.heads, p.D, 0), *q, *v;
    for (int64_t i = 0; i < sppo_tensor_count(one); i++) sppo__f32(one)[i] = 1;
    OK(sppo_mul(&q, t[0], one));
    OK(sppo_mul(&v, t[2], t[2]));
    for (int64_t i = 0; i < sppo_tensor_count(v); i++) x[2][i] *= x[2][i];
    out = attend(q, t[1], v, at, 0, true);
    release((sppo_tensor *[]){q, v}, 2);
    REFUSES(sppo_segments_reset(at), SPPO_ERR_STATE,
            "segments_reset: recorded ops still need these segments");
    OK(sppo_mul(&product, out, t[5]));
    OK(sppo_sum(&loss, product));
    OK(sppo_backward(loss, 1));
    reference(&p, x[0], x[1], x[2], x[3], x[5], x[6], x[7], x[8]);
    assert_near(sppo_tensor_grad(t[0]), x[6], 2e-5);
    assert_null(sppo_tensor_grad(t[1]));
    for (int64_t i = 0; i < sppo_tensor_count(t[2]); i++) x[8][i] *= 2 * (double)sppo__f32(t[2])[i];
    assert_near(sppo_tensor_grad(t[2]), x[8], 2e-5);
    OK(sppo_segments_reset(at));
    for (int i = 0; i < 9; i++) free(x[i]);
    release(t, 9);
    release((sppo_tensor *[]){one, out, product, loss}, 4);
    sppo_segments_release(at);
}

// ---- rope

static void test_rope(void **unused) {
    (void)unused;
    static const int64_t sizes[] = {2, 24, 64, 80, 256};
    // Positions 0 .. 2 and, in a second segment, from 99,999 on.
    static const tree far[] = {{1, {-1}, {3}}, {2, {-1, 0}, {99999, 3}}};
    for (int isa = 0; isa < 3; isa++) {
        if (sppo_cpu_use(isas[isa])) continue;
        for (int s = 0; s < 5; s++) {
            for (int f = 0; f < (s == 2 ? 2 : 1); f++) {
                int64_t n = tokens_of(&far[f]), D = sizes[s], heads = f ? 1 : 3;
                float theta = 100000;
                sppo_tensor *x = random_tensor(n, heads, D, 1), *y;
                sppo_tensor *dx = random_tensor(n, heads, D, 1);
                double *want = doubles(x), *dwant = doubles(dx);
                sppo_segments *at = segments_of(&far[f]);
                OK(sppo_rope(&y, x, at, theta, NULL));
                sppo__call b = {.op = SPPO_OP_ROPE_BACKWARD,
                                .in = {y},
                                .n_in = 1,
                                .out = {dx},
                                .n_out = 1,
                                .f = {theta},
                                .at = at};
                OK(sppo__run(&b));  // turning back gives x, added to what dx holds
                for (int64_t i = 0; i < n * heads * D; i++) dwant[i] += want[i];
                for (int64_t r = 0; r < n * heads; r++)
                    for (int64_t i = 0; i < D / 2; i++) {
                        // Rounded to f32 where Hugging Face's Llama does.
                        double exponent = (double)((float)(2 * i) / (float)D);
                        float power = (float)pow((double)theta, exponent);
                        float angle = (float)(r / heads) * (1.0f / power);
                        double *a = &want[r * D + i], *c = &want[r * D + D / 2 + i], was = *a;
                        *a = was * cos((double)angle) - *c * sin((double)angle);
                        *c = *c * cos((double)angle) + was * sin((double)angle);
                    }
                assert_near(y, want, 3e-7);
                assert_near(dx, dwant, 5e-7);
                free(want);
                free(dwant);
                release((sppo_tensor *[]){x, y, dx}, 3);
                sppo_segments_release(at);
            }
        }
    }
}

// ---- refusals and cost

static sppo_status try_attention(int64_t n, int64_t heads, int64_t kv_heads, int64_t D, int64_t Dk,
                                 sppo_segments *at, sppo_attention_options options) {
    sppo_tensor *t[] = {random_tensor(n, heads, D, 1), random_tensor(n, kv_heads, Dk, 1),
                        random_tensor(n, kv_heads, Dk, 1)};
    sppo_tensor *out = NULL;
    sppo_status st = sppo_attention(&out, t[0], t[1], t[2], at, &options);
    assert_true((out == NULL) == (st != SPPO_OK));
    release(t, 3);
    if (out) sppo_tensor_release(out);
    return st;
}

static void test_op_refusals(void **unused) {
    (void)unused;
    sppo_kv *kv;
    sppo_segments *at, *stored;
    sppo_tensor *x = random_tensor(4, 1, 8, 1), *y;
    sppo_attention_options none = {0};
    int slot;
    OK(sppo_segments_new(&at, NULL));
    OK(sppo_segments_add(at, -1, 4));
    OK(sppo_kv_new(&kv, 2, 1, 8, 4));
    OK(sppo_segments_new(&stored, kv));
    OK(sppo_kv_open(kv, -1, 4, &slot));
    OK(sppo_segments_add_slot(stored, slot, 4));
    REFUSES(try_attention(4, 3, 2, 8, 8, at, none), SPPO_ERR_SHAPE,
            "attention: 3 heads do not share 2 kv heads evenly");
    REFUSES(try_attention(4, 2, 2, 8, 4, at, none), SPPO_ERR_SHAPE,
            "attention: q is [4, 2, 8], k is [4, 2, 4]");
    REFUSES(try_attention(3, 2, 2, 8, 8, at, none), SPPO_ERR_SHAPE,
            "attention: x has 3 rows, the segments have 4 tokens");
    REFUSES(try_attention(4, 1, 1, 257, 257, at, none), SPPO_ERR_SHAPE,
            "attention: head size 257 is not in 1..256");
    REFUSES(try_attention(4, 1, 1, 8, 8, at, (sppo_attention_options){.scale = -1}),
            SPPO_ERR_ARGUMENT, "attention: scale must be positive, got -1");
    REFUSES(try_attention(4, 2, 2, 8, 8, stored, none), SPPO_ERR_SHAPE,
            "attention: k is [4, 2, 8], the store has 1 heads of 8");
    REFUSES(try_attention(4, 1, 1, 8, 8, at, (sppo_attention_options){.window = 3}),
            SPPO_ERR_ARGUMENT, "attention: a window of 3 needs causal attention");
    REFUSES(try_attention(4, 2, 1, 8, 8, stored, (sppo_attention_options){.layer = 2}),
            SPPO_ERR_ARGUMENT, "attention: layer must be in 0..1, got 2");
    OK(sppo_tensor_set_needs_grad(x, 1));
    REFUSES(sppo_attention(&y, x, x, x, stored, &none), SPPO_ERR_STATE,
            "attention: no gradient flows through a key/value store");
    OK(sppo_segments_commit(stored));
    REFUSES(try_attention(4, 2, 1, 8, 8, stored, none), SPPO_ERR_STATE,
            "attention: these segments are committed; reset them first");
    REFUSES(sppo_rope(&y, x, at, 0, NULL), SPPO_ERR_ARGUMENT,
            "rope: theta must be positive, got 0");
    sppo_tensor *odd = random_tensor(4, 1, 7, 1);
    REFUSES(sppo_rope(&y, odd, at, 10000, NULL), SPPO_ERR_SHAPE,
            "rope: x has last size 7, it must be even and in 2..256");
    release((sppo_tensor *[]){x, odd}, 2);
    sppo_segments_release(at);
    sppo_segments_release(stored);
    sppo_kv_free(kv);
}

/* FLOPs count what is seen: 3 tokens see 1, 2, 3 keys; 2 that continue them see 4 and 5. */
static void test_cost(void **unused) {
    (void)unused;
    static const tree t = {2, {-1, 0}, {3, 2}};
    sppo_tensor *q, *k, *out;
    sppo_attention_options options = {.causal = 1};
    sppo_segments *at = segments_of(&t);
    OK(sppo_tensor_new(&q, SPPO_DTYPE_F32, SPPO_DEVICE_META, 3, (int64_t[]){5, 4, 8}));
    OK(sppo_tensor_new(&k, SPPO_DTYPE_F32, SPPO_DEVICE_META, 3, (int64_t[]){5, 2, 8}));
    sppo_cost_reset();
    OK(sppo_attention(&out, q, k, k, at, &options));
    assert_true(sppo_cost_flops() == (1 + 2 + 3 + 4 + 5) * 4.0 * 4 * 8);
    assert_true(sppo_cost_bytes() == 4.0 * (2 * 5 * 4 * 8 + 2 * 5 * 2 * 8 + 5 * 4));
    sppo_tensor_release(out);
    options.window = 3;
    sppo_cost_reset();
    OK(sppo_attention(&out, q, k, k, at, &options));
    assert_true(sppo_cost_flops() == (1 + 2 + 3 + 3 + 3) * 4.0 * 4 * 8);
    release((sppo_tensor *[]){q, k, out}, 3);
    sppo_segments_release(at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_reference),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_store_equals_batch),
        cmocka_unit_test(test_batch_does_not_matter),
        cmocka_unit_test(test_backward_same_for_any_threads),
        cmocka_unit_test(test_tape),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_op_refusals),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
