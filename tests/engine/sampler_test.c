/* sampler_test.c - Philox against its published vectors; drawing against a slow reference, by
 * chi-square, and independent of the batch; log-probs with the bits of token_logprob. */

#include "check.h"

#include "llm/philox.h"

static void philox_vectors(void **state) {
    (void)state;
    const uint32_t vector[3][10] = {
        // counter, key, result
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        sppo__philox4x32(vector[i], vector[i] + 4, out);
        assert_memory_equal(out, vector[i] + 6, sizeof out);
    }
    assert_true(sppo_philox_uniform(0, 0, 0, 0, 0) ==
                ((double)(0x6627e8d5u >> 5) * 67108864 + (double)(0xe169c58du >> 6)) / 0x1p53);
    assert_true(sppo_philox_uniform(~0ull, ~0u, ~0u, ~0u, ~0u) < 1);
}

typedef struct drawn {
    int32_t *id;
    float *logprob;
} drawn;

/* Keys of row i are (1, 2, 3, first + i). */
static sppo_status sample(sppo_tensor *logits, const sppo_sample_options *o, uint32_t first,
                          drawn *d) {
    int64_t n = sppo_tensor_size(logits, 0);
    uint32_t *keys = malloc(sizeof *keys * 4 * (size_t)(n + 1));
    d->id = malloc(sizeof *d->id * (size_t)(n + 1));
    d->logprob = malloc(sizeof *d->logprob * (size_t)(n + 1));
    assert_true(keys && d->id && d->logprob);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key[4] = {1, 2, 3, first + (uint32_t)i};
        memcpy(keys + 4 * i, key, sizeof key);
    }
    sppo_status st = sppo_sample_tokens(logits, o, 77, keys, d->id, d->logprob);
    free(keys);
    return st;
}

static void drop(drawn *d) {
    free(d->id);
    free(d->logprob);
}

/* ---- filters, against a slow reference ---- */

static const float *order_by;

static int by_rank(const void *a, const void *b) {
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (order_by[i] != order_by[j]) return order_by[i] > order_by[j] ? -1 : 1;
    return i < j ? -1 : i > j;
}

static double log_sum_exp(const float *x, int64_t V) {
    double sum = 0;
    for (int64_t v = 0; v < V; v++) sum += exp((double)x[v]);
    return log(sum);
}

/* p[v]: the probability with which v must be drawn; close[v]: a filter's limit is so near that
 * rounding may decide. */
static void reference(const float *x, int64_t V, const sppo_sample_options *o, double *p,
                      bool *close) {
    int32_t *rank = malloc(sizeof *rank * (size_t)V);
    double *w = malloc(sizeof *w * (size_t)V), total = 0, run = 0, kept = 0;
    assert_true(rank && w);
    for (int32_t v = 0; v < V; v++) rank[v] = v;
    order_by = x;
    qsort(rank, (size_t)V, sizeof *rank, by_rank);
    int64_t first_k = o->top_k > 0 && o->top_k < V ? o->top_k : V;
    for (int64_t i = 0; i < V; i++)
        w[i] = exp(((double)x[rank[i]] - (double)x[rank[0]]) / (double)o->temperature);
    for (int64_t i = 0; i < first_k; i++) total += w[i];
    for (int64_t i = 0; i < V; i++) {
        bool in = i < first_k && (i == 0 || o->top_p >= 1 || run < (double)o->top_p * total);
        close[rank[i]] = fabs(run - (double)o->top_p * total) < 1e-5 * total ||
                         fabs(w[i] - (double)o->min_p) < 1e-5 * (double)o->min_p;
        if (i < first_k) run += w[i];
        in = in && w[i] >= (double)o->min_p;
        p[rank[i]] = in ? w[i] : 0;
        kept += p[rank[i]];
    }
    for (int64_t v = 0; v < V; v++) p[v] /= kept;
    free(rank);
    free(w);
}

/* With the logits in `rows` equal rows: ids only from what is kept, chi-square over what is likely.
 * */
static void compare(sppo_tensor *logits, const sppo_sample_options *o) {
    int64_t n = sppo_tensor_size(logits, 0), V = sppo_tensor_size(logits, 1);
    double *p = malloc(sizeof *p * (size_t)V), chi = 0, rest = 0;
    bool *close = malloc((size_t)V);
    int64_t *seen = calloc((size_t)V, sizeof *seen), rest_seen = n, bins = 0;
    assert_true(p && close && seen);
    reference(values(logits), V, o, p, close);
    drawn d;
    OK(sample(logits, o, 0, &d));
    double lse = log_sum_exp(values(logits), V);
    for (int64_t i = 0; i < n; i++) {
        assert_in_range(d.id[i], 0, V - 1);
        check_near((double)d.logprob[i], (double)values(logits)[d.id[i]] - lse, 1e-5, __LINE__);
        assert_true(p[d.id[i]] > 0 || close[d.id[i]]);
        seen[d.id[i]]++;
    }
    for (int64_t v = 0; v < V; v++) {
        double expected = p[v] * (double)n;
        if (expected < 10) {
            rest += expected;
            continue;
        }
        rest_seen -= seen[v];
        chi += ((double)seen[v] - expected) * ((double)seen[v] - expected) / expected;
        bins++;
    }
    if (rest >= 10) {
        chi += ((double)rest_seen - rest) * ((double)rest_seen - rest) / rest;
        bins++;
    }
    // Mean bins - 1, deviation sqrt(2 (bins - 1)); the seed is fixed, so this never flickers.
    double freedom = (double)(bins > 1 ? bins - 1 : 1);
    if (chi > freedom + 4 * sqrt(2 * freedom))
        fail_msg("chi-square %.1f with %.0f degrees of freedom", chi, freedom);
    drop(&d);
    free(p);
    free(close);
    free(seen);
}

/* n equal rows of V logits in [-scale, scale), some of them equal. */
static sppo_tensor *equal_rows(int64_t n, int64_t V, float scale, uint64_t seed) {
    sppo_tensor *t = matrix(n, V, seed);
    float *x = sppo_tensor_data(t);
    for (int64_t v = 0; v < V; v++) x[v] = roundf(x[v] * 50) / 50 * scale;
    for (int64_t i = 1; i < n; i++) memcpy(x + i * V, x, sizeof *x * (size_t)V);
    return t;
}

static void filters_body(void) {
    const sppo_sample_options options[] = {
        {1, 1, 0, 0},        {0.7f, 0.9f, 0, 0},   {1, 1, 0, 1},        {1, 1, 0, 17},
        {1.5f, 0.5f, 0, 40}, {1, 0, 0, 0},         {0.7f, 1, 0.1f, 0},  {0.7f, 0.95f, 0.05f, 30},
        {1, 0.999f, 0, 0},   {100, 0.9f, 0, 5000}, {0.05f, 0.9f, 0, 0},
    };
    const int64_t V[] = {1, 7, 64, 2500};
    for (size_t v = 0; v < sizeof V / sizeof V[0]; v++) {
        sppo_tensor *logits = equal_rows(4000, V[v], 6, 60 + v);
        for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
            compare(logits, &options[i]);
        sppo_tensor_release(logits);
    }
}

static void filters_match(void **state) {
    (void)state;
    each_cpu(filters_body);
}

/* A vocabulary of real size, most of it -inf or far away. */
static void large_vocabulary(void **state) {
    (void)state;
    sppo_tensor *logits = equal_rows(300, 49152, 20, 70);
    float *x = sppo_tensor_data(logits);
    for (int64_t i = 0; i < sppo_tensor_count(logits); i++)
        if (i % 49152 % 3 == 0) x[i] = -INFINITY;
    compare(logits, &(sppo_sample_options){1, 0.9f, 0, 0});
    compare(logits, &(sppo_sample_options){1, 0.9f, 0, 100});
    sppo_tensor_release(logits);
}

static void greedy_body(void) {
    sppo_tensor *logits = matrix(3, 3000, 80);
    float *x = sppo_tensor_data(logits);
    x[77] = x[1500] = 9;  // the lower id wins
    x[3000 + 2999] = 9;
    x[6000] = 9;
    drawn d;
    OK(sample(logits, &(sppo_sample_options){0, 1, 0, 0}, 0, &d));
    assert_int_equal(d.id[0], 77);
    assert_int_equal(d.id[1], 2999);
    assert_int_equal(d.id[2], 0);
    drop(&d);
    sppo_tensor_release(logits);
}

static void greedy(void **state) {
    (void)state;
    each_cpu(greedy_body);
}

/* The same token and log-prob for a row alone, in any batch, with any number of threads. */
static void any_batch_body(void) {
    enum { n = 40, V = 5000 };
    const sppo_sample_options o = {0.8f, 0.9f, 0.01f, 200};
    sppo_tensor *logits = matrix(n, V, 90);
    drawn all, again;
    OK(sppo_threads_set(1));
    OK(sample(logits, &o, 0, &all));
    for (int threads = 2; threads <= 3; threads++) {
        OK(sppo_threads_set(threads));
        OK(sample(logits, &o, 0, &again));
        assert_memory_equal(all.id, again.id, n * 4);
        assert_memory_equal(all.logprob, again.logprob, n * 4);
        drop(&again);
    }
    for (int64_t i = 0; i < n; i += 7) {
        sppo_tensor *row;
        OK(sppo_narrow(&row, logits, 0, i, 1));
        OK(sample(row, &o, (uint32_t)i, &again));
        assert_int_equal(all.id[i], again.id[0]);
        assert_memory_equal(all.logprob + i, again.logprob, 4);
        drop(&again);
        sppo_tensor_release(row);
    }
    drop(&all);
    sppo_tensor_release(logits);
    OK(sppo_threads_set(0));
}

static void any_batch(void **state) {
    (void)state;
    each_cpu(any_batch_body);
}

static void recorded_is_rescored_body(void) {
    enum { n = 97, D = 96, V = 5003 };
    const sppo_dtype dtypes[] = {SPPO_DTYPE_F32, SPPO_DTYPE_BF16, SPPO_DTYPE_Q8_0};
    for (int i = 0; i < 3; i++) {
        int64_t rows = n;
        sppo_tensor *hidden = matrix(n, D, 95), *raw = matrix(V, D, 96), *w, *logits, *ids, *out;
        OK(sppo_pack(&w, raw, dtypes[i]));
        OK(sppo_linear(&logits, hidden, &w, 1));
        drawn d;
        OK(sample(logits, &(sppo_sample_options){0.7f, 0.9f, 0, 0}, 0, &d));
        OK(sppo_tensor_new(&ids, SPPO_DTYPE_I32, SPPO_DEVICE_CPU, 1, &rows));
        OK(sppo_tensor_write(ids, d.id, n * 4));
        OK(sppo_token_logprob(&out, hidden, w, ids, 0));
        assert_memory_equal(values(out), d.logprob, n * 4);
        drop(&d);
        sppo_tensor_release(hidden);
        sppo_tensor_release(raw);
        sppo_tensor_release(w);
        sppo_tensor_release(logits);
        sppo_tensor_release(ids);
        sppo_tensor_release(out);
    }
}

static void recorded_is_rescored(void **state) {
    (void)state;
    each_cpu(recorded_is_rescored_body);
}

static void refused_body(void) {
    const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        sppo_tensor *logits = matrix(3, 2000, 99);
        float *x = sppo_tensor_data(logits);
        if (i < 2) x[2000 + 1999] = bad[i];
        for (int64_t v = 0; i == 2 && v < 2000; v++) x[2000 + v] = -INFINITY;
        drawn d;
        assert_int_equal(sample(logits, &(sppo_sample_options){1, 1, 0, 0}, 0, &d),
                         SPPO_ERR_NONFINITE);
        assert_string_equal(sppo_last_error(), "sample: logits of row 1 hold NaN or infinity, or "
                                               "nothing but -inf");
        drop(&d);
        sppo_tensor_release(logits);
    }
}

static void refused(void **state) {
    (void)state;
    each_cpu(refused_body);
    const struct {
        sppo_sample_options o;
        const char *text;
    } bad[] = {
        {{-1, 1, 0, 0}, "sample: temperature must be in 0..1e+30, got -1"},
        {{1, 1.5f, 0, 0}, "sample: top_p must be in 0..1, got 1.5"},
        {{1, 1, -0.5f, 0}, "sample: min_p must be in 0..1, got -0.5"},
        {{1, 1, 0, -3}, "sample: top_k must be in 0..2147483647, got -3"},
    };
    sppo_tensor *logits = matrix(1, 5, 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        drawn d;
        assert_int_equal(sample(logits, &bad[i].o, 0, &d), SPPO_ERR_ARGUMENT);
        assert_string_equal(sppo_last_error(), bad[i].text);
        drop(&d);
    }
    sppo_tensor_release(logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_vectors),   cmocka_unit_test(filters_match),
        cmocka_unit_test(large_vocabulary), cmocka_unit_test(greedy),
        cmocka_unit_test(any_batch),        cmocka_unit_test(recorded_is_rescored),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
