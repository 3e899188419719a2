/* cudnn_test.c - cuDNN's graphs of attention, run by the interpreter behind the fake
 * cudnnBackendExecute, against attention written the plain way in double precision: forward and
 * backward, every mask, padded and packed texts, in f32 and in bf16.
 *
 * cuDNN accepts wrong graphs and runs them. Four of them are made here, by changing what the
 * builder sets on its way to cuDNN, and each must be seen by the same comparison. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"
#include "cuda/cudnn_library.h"
#include "plain_attention.h"

/* The stream of device.c, which is not linked. */
cudaStream_t sppo__cuda_stream(void) {
    return NULL;
}

/* ---- on the device ---- */

static void *on_device(const void *values, int64_t bytes) {
    void *p = NULL;
    if (cudaMallocAsync(&p, (size_t)bytes, NULL)) need(NULL);
    if (values) cudaMemcpyAsync(p, values, (size_t)bytes, cudaMemcpyHostToDevice, NULL);
    cudaStreamSynchronize(NULL);
    return p;
}

/* `count` values in the type of the shape; NaN where `values` is NULL. */
static void *sent(const texts *t, const float *values, int64_t count) {
    if (t->shape.f32 || !values) return on_device(values, count * (t->shape.f32 ? 4 : 2));
    uint16_t *half = need(malloc((size_t)count * sizeof *half));
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
    }
    void *p = on_device(half, count * 2);
    free(half);
    return p;
}

static float *fetched(const void *p, int64_t count, bool f32) {
    float *x = need(malloc((size_t)count * sizeof *x));
    uint16_t *half = need(malloc((size_t)count * sizeof *half));
    void *to = f32 ? (void *)x : half;
    cudaMemcpyAsync(to, p, (size_t)count * (f32 ? 4 : 2), cudaMemcpyDeviceToHost, NULL);
    cudaStreamSynchronize(NULL);
    for (int64_t i = 0; i < count && !f32; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
    free(half);
    return x;
}

/* The largest difference of tokens' values, as a share of the largest of them, or of 1. */
static double apart(const texts *t, bool of_keys, const double *want, float *got) {
    const sppo__sdpa_shape *s = &t->shape;
    double worst = 0, largest = 1;
    int64_t width = (of_keys ? s->kv_heads : s->heads) * s->D;
    for (int b = 0; b < s->batch; b++) {
        int64_t first = (of_keys ? t->k_begin : t->q_begin)[b];
        int64_t last = first + (of_keys ? t->keys : t->queries)[b];
        for (int64_t i = first * width; i < last * width; i++) {
            double difference = fabs(want[i] - (double)got[i]);
            if (fabs(want[i]) > largest) largest = fabs(want[i]);
            if (!(difference <= worst)) worst = difference;  // NaN too
        }
    }
    free(got);
    return worst / largest;
}

static double rows_apart(const texts *t, const double *want, float *got) {
    const sppo__sdpa_shape *s = &t->shape;
    double worst = 0;
    for (int b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t i = 0; i < t->queries[b]; i++) {
                int64_t at = (b * s->heads + h) * s->queries + i;
                double difference = fabs(want[at] - (double)got[at]);
                if (!(difference <= worst)) worst = difference;
            }
    free(got);
    return worst;
}

static void run(const sppo__sdpa_shape *shape, void *const *memory) {
    const sppo__sdpa_plan *plan = NULL;
    sppo_status st = sppo__sdpa_plan_of("cudnn_test", shape, &plan);
    if (!st && !plan) fprintf(stderr, "no engine: %s\n", sppo__sdpa_reason(shape));
    if (st || !plan) fprintf(stderr, "%s\n", st ? sppo_last_error() : "a plan was wanted"), exit(1);
    void *workspace = on_device(NULL, sppo__sdpa_workspace(plan));
    st = sppo__sdpa_run("cudnn_test", plan, memory, (float)(1.0 / sqrt((double)shape->D)), CAP,
                        workspace);
    cudaStreamSynchronize(NULL);
    if (st) fprintf(stderr, "%s\n", sppo_last_error()), exit(1);
    cudaFreeAsync(workspace, NULL);
}

/* Tokens' offsets in values. */
static void *offsets_of(const int64_t *begin, int64_t batch, int64_t width) {
    int64_t offset[MOST + 1];
    for (int64_t b = 0; b <= batch; b++) offset[b] = begin[b] * width;
    return on_device(offset, (batch + 1) * (int64_t)sizeof *offset);
}

/* The largest of the differences that follow. */
typedef struct result {
    double o, lse, dq, dk, dv;
} result;

static double worst_of(result r) {
    double all[] = {r.o, r.lse, r.dq, r.dk, r.dv}, worst = 0;
    for (int i = 0; i < 5; i++)
        if (!(all[i] <= worst)) worst = all[i];
    return worst;
}

static result differences(const sppo__sdpa_shape *shape, const sppo__sdpa_shape *backward) {
    texts t = texts_of(shape);
    const sppo__sdpa_shape *s = &t.shape;
    int64_t q_width = s->heads * s->D, k_width = s->kv_heads * s->D;
    int64_t q_count = t.q_begin[s->batch] * q_width, k_count = t.k_begin[s->batch] * k_width;
    int64_t rows = s->batch * s->heads * s->queries;
    arrays a = plain(&t, q_count, k_count);
    void *m[SPPO_SDPA_ROLES] = {
        [SPPO_SDPA_Q] = sent(&t, a.q, q_count),
        [SPPO_SDPA_K] = sent(&t, a.k, k_count),
        [SPPO_SDPA_V] = sent(&t, a.v, k_count),
        [SPPO_SDPA_DO] = sent(&t, a.dout, q_count),
        [SPPO_SDPA_O] = sent(&t, NULL, q_count),
        [SPPO_SDPA_DQ] = sent(&t, NULL, q_count),
        [SPPO_SDPA_DK] = sent(&t, NULL, k_count),
        [SPPO_SDPA_DV] = sent(&t, NULL, k_count),
        [SPPO_SDPA_LSE] = on_device(NULL, rows * 4),
        [SPPO_SDPA_DELTA] = on_device(NULL, rows * 4),
        [SPPO_SDPA_QUERY_LENGTH] = on_device(t.queries, s->batch * 4),
        [SPPO_SDPA_KEY_LENGTH] = on_device(t.keys, s->batch * 4),
        [SPPO_SDPA_Q_OFFSET] = offsets_of(t.q_begin, s->batch, q_width),
        [SPPO_SDPA_O_OFFSET] = offsets_of(t.q_begin, s->batch, q_width),
        [SPPO_SDPA_K_OFFSET] = offsets_of(t.k_begin, s->batch, k_width),
        [SPPO_SDPA_V_OFFSET] = offsets_of(t.k_begin, s->batch, k_width),
    };
    result r = {0};
    run(shape, m);
    r.o = apart(&t, false, a.o, fetched(m[SPPO_SDPA_O], q_count, s->f32));
    r.lse = rows_apart(&t, a.lse, fetched(m[SPPO_SDPA_LSE], rows, true));
    run(backward, m);
    r.dq = apart(&t, false, a.dq, fetched(m[SPPO_SDPA_DQ], q_count, s->f32));
    r.dk = apart(&t, true, a.dk, fetched(m[SPPO_SDPA_DK], k_count, s->f32));
    r.dv = apart(&t, true, a.dv, fetched(m[SPPO_SDPA_DV], k_count, s->f32));
    for (int i = 0; i < SPPO_SDPA_ROLES; i++)
        if (m[i]) cudaFreeAsync(m[i], NULL);
    cudaStreamSynchronize(NULL);
    free_arrays(&a);
    return r;
}

/* ---- wrong graphs ---- */

typedef enum fault { NONE, REVERSED, MASK_VALUE, NO_SCALE, DIVIDED, FAULTS } fault;

static const char *const fault_names[] = {"none", "the causal comparison reversed",
                                          "masked scores become the scale, not -infinity",
                                          "no scale", "divided by the scale"};
static fault planted;
static int products;  // MUL that are still to come before the scale's
static cudnnPointwiseMode_t mode;
static cudnnBackendDescriptor_t scale;
static cudnnStatus_t (*true_set)(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t,
                                 cudnnBackendAttributeType_t, int64_t, const void *);

static cudnnStatus_t set_wrongly(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                 cudnnBackendAttributeType_t type, int64_t count,
                                 const void *values) {
    if (name == CUDNN_ATTR_TENSOR_UNIQUE_ID && *(const int64_t *)values == SPPO_SDPA_SCALE)
        scale = d;
    if (name == CUDNN_ATTR_OPERATION_POINTWISE_BDESC && planted == MASK_VALUE &&
        mode == CUDNN_POINTWISE_BINARY_SELECT)
        values = &scale;
    if (name != CUDNN_ATTR_POINTWISE_MODE) return true_set(d, name, type, count, values);
    mode = *(const cudnnPointwiseMode_t *)values;
    if (planted == REVERSED && mode == CUDNN_POINTWISE_CMP_GE) mode = CUDNN_POINTWISE_CMP_LE;
    if (mode == CUDNN_POINTWISE_MUL && products-- == 0) {
        if (planted == NO_SCALE) mode = CUDNN_POINTWISE_IDENTITY;
        if (planted == DIVIDED) mode = CUDNN_POINTWISE_DIV;
    }
    return true_set(d, name, type, count, &mode);
}

/* Makes the plan of a shape with the fault in it: it is kept, so differences() runs it. */
static void plan_wrongly(const sppo__sdpa_shape *shape, fault f) {
    const sppo__sdpa_plan *plan = NULL;
    true_set = sppo__cudnn.set;
    planted = f;
    products = shape->backward ? 2 : 0;  // backward: dO * O, and times 1
    sppo__cudnn.set = set_wrongly;
    if (sppo__sdpa_plan_of("cudnn_test", shape, &plan) || !plan)
        fprintf(stderr, "a wrong graph was refused: %s\n", sppo_last_error()), exit(1);
    sppo__cudnn.set = true_set;
}

/* ---- tests ---- */

static int failed, passed;

static void expect(bool ok, const char *what, double figure) {
    if (ok) passed++;
    else failed++;
    if (!ok) printf("FAIL %s (%.2e)\n", what, figure);
}

static sppo__sdpa_shape backward_of(sppo__sdpa_shape s) {
    s.backward = true;
    return s;
}

static void test_variant(const char *name, sppo__sdpa_shape s, bool print) {
    for (int f32 = 0; f32 < 2; f32++) {
        s.f32 = f32;
        sppo__sdpa_shape back = backward_of(s);
        result r = differences(&s, &back);
        double limit = f32 ? 1e-5 : 1e-2, worst = worst_of(r);
        if (print)
            printf("%-44s %-4s O %.1e  LSE %.1e  dQ %.1e  dK %.1e  dV %.1e\n", name,
                   f32 ? "f32" : "bf16", r.o, r.lse, r.dq, r.dk, r.dv);
        expect(worst <= limit, name, worst);
    }
}

static const struct {
    const char *name;
    sppo__sdpa_shape shape;
} variants[] = {
    {"full", {.mask = SPPO_SDPA_FULL}},
    {"causal", {.mask = SPPO_SDPA_CAUSAL}},
    {"causal, lengths", {.mask = SPPO_SDPA_CAUSAL, .padded = true}},
    {"causal, packed", {.mask = SPPO_SDPA_CAUSAL, .padded = true, .packed = true}},
    {"full, lengths, fewer queries", {.padded = true, .queries = 24}},
    {"full, packed, fewer queries", {.padded = true, .packed = true, .queries = 24}},
    {"full, lengths, one head", {.padded = true, .heads = 1, .kv_heads = 1}},
    {"full, packed, one head", {.padded = true, .packed = true, .heads = 1, .kv_heads = 1}},
    {"causal to the last key", {.mask = SPPO_SDPA_CAUSAL_LAST, .queries = 24}},
    {"causal to the last key, lengths",
     {.mask = SPPO_SDPA_CAUSAL_LAST, .queries = 24, .padded = true}},
    {"window", {.mask = SPPO_SDPA_CAUSAL, .window = 7}},
    {"window, packed", {.mask = SPPO_SDPA_CAUSAL, .window = 7, .padded = true, .packed = true}},
    {"window to the last key", {.mask = SPPO_SDPA_CAUSAL_LAST, .window = 7, .queries = 24}},
    {"window to the last key, lengths",
     {.mask = SPPO_SDPA_CAUSAL_LAST, .window = 7, .queries = 24, .padded = true}},
    {"cap", {.mask = SPPO_SDPA_CAUSAL, .cap = true}},
    {"cap, window, lengths", {.mask = SPPO_SDPA_CAUSAL, .cap = true, .window = 9, .padded = true}},
    {"every head its own keys", {.mask = SPPO_SDPA_CAUSAL, .kv_heads = 4}},
    {"one kv head", {.mask = SPPO_SDPA_CAUSAL, .kv_heads = 1, .padded = true}},
    {"five queries", {.padded = true, .queries = 5}},
};

static sppo__sdpa_shape filled(sppo__sdpa_shape s) {
    s.batch = 2;
    if (!s.heads) s.heads = 4;
    if (!s.kv_heads) s.kv_heads = 2;
    if (!s.queries) s.queries = 40;
    s.keys = 40;
    s.D = 16;
    return s;
}

/* Each fault, in either direction, must move some result by far more than bf16's rounding. */
static void test_faults(bool print) {
    for (int f = REVERSED; f < FAULTS; f++)
        for (int direction = 0; direction < 2; direction++) {
            sppo__sdpa_shape s = filled((sppo__sdpa_shape){.mask = SPPO_SDPA_CAUSAL, .f32 = true});
            s.D = 24 + 16 * f + 8 * direction;  // plans are kept by shape: each fault has its own
            sppo__sdpa_shape back = backward_of(s);
            plan_wrongly(direction ? &back : &s, (fault)f);
            double worst = worst_of(differences(&s, &back));
            if (print)
                printf("%-44s %s: %.1e\n", fault_names[f], direction ? "backward" : "forward",
                       worst);
            expect(!(worst <= 0.05), fault_names[f], worst);
        }
}

static cudnnStatus_t refuse_reductions(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values) {
    if (name == CUDNN_ATTR_REDUCTION_OPERATOR) return CUDNN_STATUS_NOT_SUPPORTED;
    return true_set(d, name, type, count, values);
}

/* A call that cuDNN refuses is no error: there is no plan, and what it said is kept. */
static void test_refused_call(void) {
    const sppo__sdpa_plan *plan = NULL;
    sppo__sdpa_shape s = filled((sppo__sdpa_shape){.mask = SPPO_SDPA_CAUSAL});
    s.D = 80;
    true_set = sppo__cudnn.set;
    sppo__cudnn.set = refuse_reductions;
    expect(!sppo__sdpa_plan_of("cudnn_test", &s, &plan) && !plan &&
               strstr(sppo__sdpa_reason(&s), "it refuses a reduction: CUDNN_STATUS_NOT_SUPPORTED"),
           "a call that is refused", 0);
    sppo__cudnn.set = true_set;
}

/* Nor is a shape without an engine. */
static void test_no_engine(void) {
    const sppo__sdpa_plan *plan = NULL;
    sppo__sdpa_shape odd = filled((sppo__sdpa_shape){.mask = SPPO_SDPA_CAUSAL});
    odd.D = 12;
    expect(!sppo__sdpa_plan_of("cudnn_test", &odd, &plan) && !plan &&
               strstr(sppo__sdpa_reason(&odd), "not a multiple of 8"),
           "a head size that nothing runs", 0);
    sppo__sdpa_shape wide = backward_of(filled((sppo__sdpa_shape){.mask = SPPO_SDPA_CAUSAL}));
    wide.D = 256;
    setenv("SPPO_EMU_CAPABILITY", "80", 1);
    expect(!sppo__sdpa_plan_of("cudnn_test", &wide, &plan) && !plan &&
               strstr(sppo__sdpa_reason(&wide), "128"),
           "backward of 256 on sm_80", 0);
}

int main(int argc, char **argv) {
    bool print = argc > 1 && !strcmp(argv[1], "--print");
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        test_variant(variants[i].name, filled(variants[i].shape), print);
    test_faults(print);
    test_refused_call();
    test_no_engine();
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
