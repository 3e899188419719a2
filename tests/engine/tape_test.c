/* tape_test.c - what Lua can't see of the tape and the allocator: which values are kept, replay of
 * recompute spans, failures in the middle, views, arenas, limits, and a small forward and backward
 * pass in which the n-th allocation fails, for every n. */

#include "check.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- an allocator that fails when asked to (linked with --wrap) ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void __real_free(void *p);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
void __wrap_free(void *p);

static int64_t allocations, blocks;  // made so far; not freed yet
static int64_t fail_at;              // the allocation that fails, counted from 1; 0: none

static bool refused(void) {
    return __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) == fail_at;
}

static void *counted(void *p) {
    if (p) __atomic_add_fetch(&blocks, 1, __ATOMIC_RELAXED);
    return p;
}

void *__wrap_malloc(size_t bytes) {
    return refused() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return refused() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *p, size_t bytes) {
    if (refused()) return NULL;
    void *q = __real_realloc(p, bytes);
    return p ? q : counted(q);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes) {
    return refused() ? NULL : counted(__real_aligned_alloc(align, bytes));
}

void __wrap_free(void *p) {
    if (p) __atomic_sub_fetch(&blocks, 1, __ATOMIC_RELAXED);
    __real_free(p);
}

/* ---- helpers ---- */

static int64_t used(void) {
    return sppo_memory_used(SPPO_DEVICE_CPU);
}

static sppo_tensor *parameter(int64_t rows, int64_t columns, uint64_t seed) {
    sppo_tensor *t = matrix(rows, columns, seed);
    OK(sppo_tensor_set_needs_grad(t, 1));
    return t;
}

static void drop(sppo_tensor **t) {
    sppo_tensor_release(*t);
    *t = NULL;
}

static void fails(sppo_status got, sppo_status want, const char *text, int line) {
    if (got != want) fail_msg("line %d: status %d, expected %d: %s", line, got, want, text);
    if (strcmp(sppo_last_error(), text) != 0)
        fail_msg("line %d: '%s', expected '%s'", line, sppo_last_error(), text);
}
#define FAILS(call, status, text) fails(call, status, text, __LINE__)

static int all_clean(void **state) {
    (void)state;
    sppo_recompute_abort();
    sppo_tape_clear();
    sppo_memory_limit(SPPO_DEVICE_CPU, 0);
    sppo_interrupt_set(0);
    sppo_grad_enable(1);
    if (!used() && !sppo_tape_length()) return 0;
    print_error("%lld bytes and %lld records are left\n", (long long)used(),
                (long long)sppo_tape_length());
    return -1;
}

/* ---- what is kept ---- */

/* sum(3 (2 x)^2): square needs what it was given, the others nothing. */
static sppo_tensor *chain(sppo_tensor *x) {
    sppo_tensor *a, *b, *c, *loss;
    OK(sppo_affine(&a, x, 2, 0));
    OK(sppo_square(&b, a));
    OK(sppo_affine(&c, b, 3, 0));
    OK(sppo_sum(&loss, c));
    drop(&a);
    drop(&b);
    drop(&c);
    return loss;
}

static void keeps_what_backward_needs(void **state) {
    (void)state;
    sppo_tensor *x = parameter(10, 100, 1);
    int64_t one = sppo_tensor_bytes(x);
    sppo_tensor *loss = chain(x);
    assert_int_equal(sppo_tape_length(), 4);
    assert_int_equal(used(), 2 * one + 4);  // x, a, the loss
    OK(sppo_backward(loss, 1));
    assert_int_equal(sppo_tape_length(), 0);
    assert_int_equal(used(), 2 * one + 4);  // x, its gradient, the loss
    const float *g = values(sppo_tensor_grad(x));
    for (int i = 0; i < 1000; i++) check_near(g[i], 24 * values(x)[i], 1e-5, __LINE__);
    drop(&loss);
    drop(&x);
}

/* Without a parameter, or with recording off, nothing is kept at all. */
static void keeps_nothing_without_need(void **state) {
    (void)state;
    sppo_tensor *x = matrix(10, 100, 1);
    sppo_tensor *loss = chain(x);
    assert_int_equal(sppo_tape_length(), 0);
    assert_int_equal(used(), sppo_tensor_bytes(x) + 4);
    FAILS(sppo_backward(loss, 1), SPPO_ERR_STATE,
          "backward: nothing recorded leads to this tensor; does a parameter need a gradient?");
    drop(&loss);
    OK(sppo_tensor_set_needs_grad(x, 1));
    assert_int_equal(sppo_grad_enable(0), 1);
    loss = chain(x);
    assert_int_equal(sppo_tape_length(), 0);
    assert_false(sppo_tensor_needs_grad(loss));
    assert_int_equal(sppo_grad_enable(1), 0);
    drop(&loss);
    drop(&x);
}

static void gradients_accumulate(void **state) {
    (void)state;
    sppo_tensor *x = parameter(3, 5, 1);
    for (int i = 0; i < 3; i++) {
        sppo_tensor *loss = chain(x);
        OK(sppo_backward(loss, i == 2 ? 2.0f : 1.0f));
        drop(&loss);
    }
    for (int i = 0; i < 15; i++)
        check_near(values(sppo_tensor_grad(x))[i], 4 * 24 * values(x)[i], 1e-4, __LINE__);
    sppo_tensor_clear_grad(x);
    assert_null(sppo_tensor_grad(x));
    drop(&x);
}

static void bad_losses(void **state) {
    (void)state;
    sppo_tensor *x = parameter(2, 3, 1), *y;
    OK(sppo_square(&y, x));
    FAILS(sppo_backward(y, 1), SPPO_ERR_SHAPE,
          "backward: the loss is [2, 3], it must have one value");
    assert_int_equal(sppo_tape_length(), 1);
    drop(&y);
    drop(&x);
    sppo_tensor *whole;
    OK(sppo_tensor_new(&whole, SPPO_DTYPE_I32, SPPO_DEVICE_CPU, 1, (int64_t[]){4}));
    FAILS(sppo_tensor_set_needs_grad(whole, 1), SPPO_ERR_DTYPE,
          "needs_grad: a parameter is f32, this one is i32");
    drop(&whole);
}

/* ---- recompute ---- */

/* Two "layers" of products and squares, each in a span of its own if `spans`. */
static sppo_tensor *layers(sppo_tensor *x, sppo_tensor *w, bool spans) {
    sppo_tensor_retain(x);
    for (int layer = 0; layer < 2; layer++) {
        sppo_tensor *a, *b, *c, *v, *y;
        if (spans) OK(sppo_recompute_begin());
        OK(sppo_mul(&a, x, w));
        OK(sppo_square(&b, a));
        OK(sppo_view(&v, b, 1, (int64_t[]){-1}));
        OK(sppo_view(&c, v, 2, (int64_t[]){sppo_tensor_size(x, 0), -1}));
        OK(sppo_add(&y, x, c));
        if (spans) OK(sppo_recompute_end());
        drop(&a);
        drop(&b);
        drop(&c);
        drop(&v);
        drop(&x);
        x = y;
    }
    sppo_tensor *s, *loss;
    OK(sppo_square(&s, x));
    OK(sppo_sum(&loss, s));
    drop(&s);
    drop(&x);
    return loss;
}

static void recompute_replays(void **state) {
    (void)state;
    sppo_tensor *grad[2][2];
    int64_t kept[2];
    for (int spans = 0; spans < 2; spans++) {
        sppo_tensor *x = parameter(8, 32, 1), *w = parameter(8, 32, 2);
        int64_t before = used();
        sppo_tensor *loss = layers(x, w, spans);
        kept[spans] = used() - before;
        OK(sppo_backward(loss, 1));
        assert_int_equal(used(), before + 2 * sppo_tensor_bytes(x) + 4);
        for (int i = 0; i < 2; i++) {
            grad[spans][i] = sppo_tensor_grad(i ? w : x);
            sppo_tensor_retain(grad[spans][i]);
        }
        drop(&loss);
        drop(&x);
        drop(&w);
    }
    // a of each layer, the first layer's y, what the last square was given; with spans not a.
    assert_int_equal(kept[0], 4 * 8 * 32 * 4 + 4);
    assert_int_equal(kept[1], 2 * 8 * 32 * 4 + 4);
    for (int i = 0; i < 2; i++) {
        same_bytes(grad[0][i], grad[1][i]);
        drop(&grad[0][i]);
        drop(&grad[1][i]);
    }
}

/* A value of the span that its user still holds is not made anew. */
static void recompute_with_a_value_held(void **state) {
    (void)state;
    sppo_tensor *x = parameter(4, 8, 1), *a, *b, *loss;
    OK(sppo_recompute_begin());
    OK(sppo_affine(&a, x, 2, 1));
    OK(sppo_square(&b, a));
    OK(sppo_sum(&loss, b));
    OK(sppo_recompute_end());
    drop(&b);
    const float *held = values(a);
    OK(sppo_backward(loss, 1));
    assert_ptr_equal(values(a), held);
    for (int i = 0; i < 32; i++) {
        float want = 2 * values(x)[i] + 1;
        check_near(values(a)[i], want, 1e-6, __LINE__);
        check_near(values(sppo_tensor_grad(x))[i], 4 * want, 1e-5, __LINE__);
    }
    drop(&loss);
    drop(&a);
    drop(&x);
}

static void recompute_marks(void **state) {
    (void)state;
    FAILS(sppo_recompute_end(), SPPO_ERR_STATE, "recompute: end without begin");
    OK(sppo_recompute_begin());
    FAILS(sppo_recompute_begin(), SPPO_ERR_STATE, "recompute: begin inside a begin");
    sppo_recompute_abort();
    OK(sppo_recompute_begin());
    OK(sppo_recompute_end());
    OK(sppo_recompute_begin());
    sppo_tape_clear();
    FAILS(sppo_recompute_end(), SPPO_ERR_STATE, "recompute: end without begin");
}

/* ---- failures in the middle ---- */

static void failure_while_recording(void **state) {
    (void)state;
    for (int spans = 0; spans < 2; spans++) {
        sppo_tensor *x = parameter(3, 4, 1), *odd = parameter(4, 3, 2), *a, *loss;
        sppo_tensor *untouched = x;
        if (spans) OK(sppo_recompute_begin());
        OK(sppo_square(&a, x));
        int64_t before = used(), length = sppo_tape_length();
        FAILS(sppo_mul(&untouched, a, odd), SPPO_ERR_SHAPE, "mul: a is [3, 4], b is [4, 3]");
        assert_ptr_equal(untouched, x);
        assert_int_equal(sppo_tape_length(), length);
        assert_int_equal(used(), before);
        sppo_interrupt_set(1);
        FAILS(sppo_square(&untouched, a), SPPO_ERR_INTERRUPTED, "square: interrupted");
        sppo_interrupt_set(0);
        assert_ptr_equal(untouched, x);
        assert_int_equal(used(), before);
        OK(sppo_sum(&loss, a));
        if (spans) OK(sppo_recompute_end());
        OK(sppo_backward(loss, 1));
        for (int i = 0; i < 12; i++)
            check_near(values(sppo_tensor_grad(x))[i], 2 * values(x)[i], 1e-6, __LINE__);
        assert_null(sppo_tensor_grad(odd));
        drop(&loss);
        drop(&a);
        drop(&x);
        drop(&odd);
    }
}

static void failure_in_backward(void **state) {
    (void)state;
    for (int spans = 0; spans < 2; spans++) {
        sppo_tensor *x = parameter(8, 32, 1), *w = parameter(8, 32, 2);
        sppo_tensor *loss = layers(x, w, spans);
        sppo_interrupt_set(1);
        assert_int_equal(sppo_backward(loss, 1), SPPO_ERR_INTERRUPTED);
        sppo_interrupt_set(0);
        assert_int_equal(sppo_tape_length(), 0);
        FAILS(sppo_backward(loss, 1), SPPO_ERR_STATE,
              "backward: nothing recorded leads to this tensor; does a parameter need a gradient?");
        drop(&loss);
        drop(&x);
        drop(&w);
        assert_int_equal(used(), 0);
    }
}

/* ---- views ---- */

/* loss = sum(window * transposed), where x is read through several views at once. */
static void views_share_a_gradient(void **state) {
    (void)state;
    sppo_tensor *x = parameter(4, 6, 1), *window, *turned, *row, *flat, *product, *loss, *more,
                *total;
    OK(sppo_narrow(&window, x, 1, 1, 4));       // x[:, 1:5]
    OK(sppo_transpose(&turned, window, 0, 1));  // with gaps: the op below copies it
    OK(sppo_mul(&product, window, turned));
    OK(sppo_sum(&loss, product));
    OK(sppo_narrow(&row, x, 0, 2, 1));  // x[2, :], twice a view
    OK(sppo_view(&flat, row, 1, (int64_t[]){6}));
    drop(&product);
    OK(sppo_square(&product, flat));
    OK(sppo_sum(&more, product));
    OK(sppo_add(&total, loss, more));
    drop(&window);
    drop(&turned);
    drop(&row);
    drop(&flat);
    drop(&product);
    drop(&loss);
    drop(&more);
    OK(sppo_backward(total, 1));
    const float *v = values(x), *g = values(sppo_tensor_grad(x));
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 6; j++) {
            double want = j >= 1 && j < 5 ? 2.0 * (double)v[(j - 1) * 6 + i + 1] : 0;
            if (i == 2) want += 2.0 * (double)v[i * 6 + j];
            check_near(g[i * 6 + j], want, 1e-6, __LINE__);
        }
    drop(&total);
    drop(&x);
}

/* A view keeps the values alive after its source is gone, on the tape or not. */
static void views_hold_values(void **state) {
    (void)state;
    sppo_tensor *x = matrix(4, 6, 1), *view;
    float want = values(x)[6];
    OK(sppo_narrow(&view, x, 0, 1, 2));
    drop(&x);
    assert_int_equal(used(), 4 * 6 * 4);
    assert_true(values(view)[0] == want);
    drop(&view);
    assert_int_equal(used(), 0);
}

/* Four axes, swapped and narrowed inside a recompute span, against the same through copies. */
static void views_are_replayed(void **state) {
    (void)state;
    sppo_tensor *grad[2];
    for (int spans = 0; spans < 2; spans++) {
        sppo_tensor *x = numbers(4, (int64_t[]){2, 3, 4, 5}, 7), *a, *t, *n, *c, *s, *loss;
        OK(sppo_tensor_set_needs_grad(x, 1));
        if (spans) OK(sppo_recompute_begin());
        OK(sppo_exp(&a, x));
        OK(sppo_transpose(&t, a, 1, 3));
        OK(sppo_narrow(&n, t, 2, 1, 3));
        OK(sppo_contiguous(&c, n));
        OK(sppo_square(&s, c));
        if (spans) OK(sppo_recompute_end());
        OK(sppo_sum(&loss, s));
        drop(&a);
        drop(&t);
        drop(&n);
        drop(&c);
        drop(&s);
        OK(sppo_backward(loss, 1));
        const float *v = values(x), *g = values(sppo_tensor_grad(x));
        for (int i = 0; i < 120; i++) {
            int third = i / 5 % 4;
            check_near(g[i], third >= 1 ? 2 * exp(2 * (double)v[i]) : 0, 1e-4, __LINE__);
        }
        grad[spans] = sppo_tensor_grad(x);
        sppo_tensor_retain(grad[spans]);
        drop(&loss);
        drop(&x);
    }
    same_bytes(grad[0], grad[1]);
    drop(&grad[0]);
    drop(&grad[1]);
}

/* ---- arenas and limits ---- */

static sppo_tensor *floats(int64_t n) {
    sppo_tensor *t;
    OK(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 1, &n));
    return t;
}

static void arena_guard(void **state) {
    (void)state;
    enum { ID = 2 };
    int64_t n = 256;
    sppo_tensor *a, *b, *more = NULL;
    for (int step = 0; step < 3; step++) {
        OK(sppo_arena_begin(ID));
        a = floats(n);
        OK(sppo_square(&b, a));
        drop(&a);
        a = floats(n);  // in the place of the one that was dropped
        drop(&a);
        drop(&b);
        OK(sppo_arena_end(ID));
        assert_int_equal(used(), 2 * n * 4);
    }
    OK(sppo_arena_begin(ID));
    a = floats(n);
    b = floats(n);
    FAILS(sppo_tensor_new(&more, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 1, &n), SPPO_ERR_MEMORY,
          "new: 1024 bytes allocated in an arena of 2048 with 2048 in use: a later step needs more "
          "than the first");
    assert_null(more);
    assert_int_equal(sppo_square(&more, a), SPPO_ERR_MEMORY);
    assert_null(more);
    drop(&a);
    OK(sppo_square(&more, b));  // room again
    drop(&more);
    FAILS(sppo_arena_begin(1), SPPO_ERR_STATE, "arena 1: begin inside a begin");
    OK(sppo_arena_end(ID));
    FAILS(sppo_arena_end(ID), SPPO_ERR_STATE, "arena 2: end without begin");
    FAILS(sppo_arena_begin(ID), SPPO_ERR_STATE,
          "arena 2: 1 tensors of the last step are still alive");
    sppo_arena_free(ID);  // not while a tensor lies in it
    assert_int_equal(used(), 2 * n * 4);
    values(b);
    drop(&b);
    OK(sppo_arena_begin(ID));
    OK(sppo_arena_end(ID));
    sppo_arena_free(ID);
    assert_int_equal(used(), 0);
    FAILS(sppo_arena_begin(4), SPPO_ERR_ARGUMENT, "arena 4 is not one of 0..3");
    FAILS(sppo_arena_begin(-1), SPPO_ERR_ARGUMENT, "arena -1 is not one of 0..3");
    // Measured anew after free: a larger first step is fine.
    n = 4096;
    OK(sppo_arena_begin(ID));
    a = floats(n);
    OK(sppo_arena_end(ID));
    FAILS(sppo_arena_begin(ID), SPPO_ERR_STATE,
          "arena 2: 1 tensors of the last step are still alive");
    drop(&a);
    sppo_arena_free(ID);
    assert_int_equal(used(), 0);
}

static void memory_limit(void **state) {
    (void)state;
    sppo_tensor *a = floats(2 << 20), *b = floats(1 << 20), *squared, *more = NULL;
    sppo_memory_limit(SPPO_DEVICE_CPU, 16 << 20);
    OK(sppo_square(&squared, b));
    FAILS(
        sppo_tensor_new(&more, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 1, (int64_t[]){1 << 18}),
        SPPO_ERR_MEMORY,
        "new: 1.0 MiB more would pass the limit of 16.0 MiB, 16.0 MiB in use; largest: 8.0 MiB by "
        "new, 4.0 MiB by square, 4.0 MiB by new");
    assert_null(more);
    drop(&squared);
    OK(sppo_square(&squared, b));
    assert_int_equal(sppo_exp(&more, a), SPPO_ERR_MEMORY);
    sppo_memory_limit(SPPO_DEVICE_CPU, 0);
    OK(sppo_exp(&more, a));
    assert_int_equal(sppo_memory_peak(SPPO_DEVICE_CPU) >= 24 << 20, 1);
    drop(&more);
    drop(&squared);
    drop(&a);
    drop(&b);
    sppo_memory_reset_peak(SPPO_DEVICE_CPU);
    assert_int_equal(sppo_memory_peak(SPPO_DEVICE_CPU), 0);
}

/* Out of memory in backward: the tape is empty, what was made is gone with the tensors. */
static void memory_limit_in_backward(void **state) {
    (void)state;
    for (int spans = 0; spans < 2; spans++) {
        int failed = 0;
        for (int64_t room = 0;; room += 1024) {
            sppo_tensor *x = parameter(8, 32, 1), *w = parameter(8, 32, 2);
            sppo_tensor *loss = layers(x, w, spans);
            sppo_memory_limit(SPPO_DEVICE_CPU, used() + room + 1);
            sppo_status st = sppo_backward(loss, 1);
            sppo_memory_limit(SPPO_DEVICE_CPU, 0);
            assert_int_equal(sppo_tape_length(), 0);
            drop(&loss);
            drop(&x);
            drop(&w);
            assert_int_equal(used(), 0);
            if (!st) break;
            assert_int_equal(st, SPPO_ERR_MEMORY);
            failed++;
        }
        assert_true(failed >= 2);
    }
}

/* ---- every allocation fails once ---- */

enum { V = 20, D = 16, HEADS = 2, N = 7, PLACES = 64 };

typedef struct small {
    sppo_tensor *t[PLACES];
    int count;
    sppo_segments *at;
} small;

/* A place for the next tensor; all are released at the end. */
static sppo_tensor **place(small *s) {
    return &s->t[s->count++];
}
static sppo_tensor *top(const small *s) {
    return s->count ? s->t[s->count - 1] : NULL;
}

static sppo_status leaf(small *s, sppo_device device, int64_t rows, int64_t columns, bool panels) {
    int64_t shape[] = {rows, columns};
    sppo_status st = sppo_tensor_new(place(s), SPPO_DTYPE_F32, device, 2, shape);
    if (!st) st = sppo_tensor_uniform(top(s), -0.5, 0.5, (uint64_t)s->count);
    sppo_tensor *plain = top(s);
    if (!st && panels) st = sppo_pack(place(s), plain, SPPO_DTYPE_F32);
    return st ? st : sppo_tensor_set_needs_grad(top(s), 1);
}

static sppo_status ids(small *s, sppo_device device, int64_t n, int32_t limit) {
    int32_t id[N] = {0};
    for (int i = 0; i < n; i++) id[i] = (int32_t)(i * 5 % limit);
    sppo_status st = sppo_tensor_new(place(s), SPPO_DTYPE_I32, device, 1, &n);
    if (st || device == SPPO_DEVICE_META) return st;
    return sppo_tensor_write(top(s), id, n * 4);
}

/* x + attention(x) in a span of its own; q, k and v are one product. */
static sppo_status layer(small *s, sppo_tensor *x, sppo_tensor *norm, sppo_tensor *const *w) {
    sppo_tensor *qkv[3] = {0}, *turned[3] = {0};
    sppo_status st = sppo_recompute_begin();
    if (!st) st = sppo_rms_norm(place(s), x, norm, 1e-5f, 0);
    if (!st) st = sppo_linear(qkv, top(s), w, 3);
    for (int i = 0; i < 3 && !st; i++) {
        *place(s) = qkv[i];
        st = sppo_view(place(s), qkv[i], 3, (int64_t[]){N, HEADS, D / HEADS});
        if (!st && i < 2) {
            sppo_tensor *split = top(s);
            st = sppo_rope(place(s), split, s->at, 10000, NULL);
        }
        turned[i] = st ? NULL : top(s);
        qkv[i] = NULL;
    }
    for (int i = 0; i < 3; i++) sppo_tensor_release(qkv[i]);
    sppo_attention_options options = {.causal = 1};
    if (!st) st = sppo_attention(place(s), turned[0], turned[1], turned[2], s->at, &options);
    sppo_tensor *seen = top(s);
    if (!st) st = sppo_view(place(s), seen, 2, (int64_t[]){N, D});
    sppo_tensor *rows = top(s);
    if (!st) st = sppo_swiglu(place(s), rows, x);
    sppo_tensor *gated = top(s);
    if (!st) st = sppo_add(place(s), gated, x);
    if (st) sppo_recompute_abort();
    else st = sppo_recompute_end();
    return st;
}

/* Forward, backward and an optimizer step of a one-layer model; leaves nothing behind. */
static sppo_status small_step(sppo_device device) {
    small s = {0};
    sppo_tensor *loss = NULL, *w[3], *norm = NULL, *x = NULL, *group = NULL;
    sppo_status st = sppo_segments_new(&s.at, NULL);
    if (!st) st = sppo_segments_add(s.at, -1, 3);
    if (!st) st = sppo_segments_add(s.at, 0, 2);
    if (!st) st = sppo_segments_add(s.at, 0, 2);
    if (!st) st = leaf(&s, device, V, D, true);
    w[0] = top(&s);
    for (int i = 0; i < 3 && !st; i++) {
        st = leaf(&s, device, D, D, true);
        if (i < 2) w[1 + i] = top(&s);
    }
    sppo_tensor *table = w[0], *last = top(&s);
    w[0] = last;
    if (!st) st = sppo_tensor_new(place(&s), SPPO_DTYPE_F32, device, 1, (int64_t[]){D});
    norm = top(&s);
    if (!st) st = sppo_tensor_uniform(norm, 0.5, 1.5, 9);
    if (!st) st = sppo_tensor_set_needs_grad(norm, 1);
    if (!st) st = ids(&s, device, N, V);
    sppo_tensor *tokens = top(&s);
    if (!st) st = sppo_embed(place(&s), table, tokens);
    x = top(&s);
    if (!st) st = layer(&s, x, norm, w);
    x = top(&s);
    if (!st) st = ids(&s, device, 4, N);
    sppo_tensor *index = top(&s);
    if (!st) st = sppo_take_rows(place(&s), x, index);
    x = top(&s);
    if (!st) st = sppo_token_logprob(place(&s), x, table, index, 0);
    x = top(&s);
    if (!st) st = ids(&s, device, 4, 2);
    group = top(&s);
    if (!st) st = sppo_segment_sum(place(&s), x, group, 2);
    x = top(&s);
    if (!st) st = sppo_square(place(&s), x);
    x = top(&s);
    if (!st) st = sppo_sum(&loss, x);
    if (!st) st = sppo_backward(loss, 1);
    if (!st && device == SPPO_DEVICE_CPU)
        st = sppo_sgd_step(last, sppo_tensor_grad(last), 0.1f, 0, 1);
    sppo_tape_clear();
    sppo_tensor_release(loss);
    for (int i = 0; i < s.count; i++) sppo_tensor_release(s.t[i]);
    if (s.at) sppo_segments_release(s.at);
    return st;
}

/* Three decode steps from a store, in an arena. */
static sppo_status small_decode(void) {
    sppo_kv *kv = NULL;
    sppo_segments *at = NULL;
    int slot = -1;
    sppo_status st = sppo_kv_new(&kv, 1, HEADS, D / HEADS, 2);
    if (!st) st = sppo_segments_new(&at, kv);
    if (!st) st = sppo_kv_open(kv, -1, 64, &slot);
    sppo_sample_options options = {.temperature = 1, .top_p = 0.9f};
    for (int step = 0; step < 3 && !st; step++) {
        st = sppo_arena_begin(1);
        if (st) break;
        small s = {0};
        int32_t id;
        float logprob;
        const uint32_t keys[4] = {0, 0, 0, (uint32_t)step};
        int64_t shape[] = {1, HEADS, D / HEADS}, flat[] = {1, D};
        sppo_attention_options how = {.causal = 1};
        st = sppo_segments_add_slot(at, slot, 1);
        if (!st) st = sppo_tensor_new(place(&s), SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 3, shape);
        sppo_tensor *q = top(&s);
        if (!st) st = sppo_tensor_uniform(q, -1, 1, (uint64_t)step);
        if (!st) st = sppo_attention(place(&s), q, q, q, at, &how);
        sppo_tensor *seen = top(&s);
        if (!st) st = sppo_view(place(&s), seen, 2, flat);
        if (!st) st = sppo_sample_tokens(top(&s), &options, 3, keys, &id, &logprob);
        if (!st) st = sppo_segments_commit(at);
        for (int i = 0; i < s.count; i++) sppo_tensor_release(s.t[i]);
        sppo_status end = sppo_arena_end(1);
        if (!st) st = end;
        if (!st) st = sppo_segments_reset(at);
    }
    sppo_arena_free(1);
    if (at) sppo_segments_release(at);
    sppo_kv_free(kv);
    return st;
}

typedef struct outcome {
    sppo_status status;
    int64_t allocations, blocks;
    char text[200];
} outcome;

/* In a process of its own, so that nothing is kept from an earlier run: the pass with its n-th
 * allocation refused, then once more with none, which must go well and leave what it always does. */
static outcome attempt(int64_t n) {
    outcome *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        if (sppo_threads_set(2)) _exit(10);
        int64_t before = blocks;
        allocations = 0;
        fail_at = n;
        sppo_status st = small_step(SPPO_DEVICE_CPU);
        if (!st) st = small_decode();
        shared->status = st;
        shared->allocations = allocations;
        fail_at = 0;
        if (st) strncpy(shared->text, sppo_last_error(), sizeof shared->text - 1);
        if (used() || sppo_tape_length()) _exit(11);
        if (small_step(SPPO_DEVICE_CPU) || small_decode()) _exit(12);
        if (used() || sppo_tape_length()) _exit(13);
        shared->blocks = blocks - before;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("allocation %lld refused: wait status %#x (exit 11: memory or tape left, 12: the "
                 "next pass fails, 13: it leaves some); the text was '%s'",
                 (long long)n, (unsigned)status, shared->text);
    outcome result = *shared;
    munmap(shared, sizeof *shared);
    return result;
}

static void every_allocation_fails_once(void **state) {
    (void)state;
    outcome whole = attempt(0);
    if (whole.status) fail_msg("nothing refused: %s", whole.text);
    assert_true(whole.allocations > 60);
    int64_t refused_some = 0;
    for (int64_t n = 1; n <= whole.allocations + 1; n++) {
        outcome o = attempt(n);
        if (o.status && o.status != SPPO_ERR_MEMORY)
            fail_msg("allocation %lld refused: status %d, '%s'", (long long)n, o.status, o.text);
        if (o.status && !strstr(o.text, "memory"))
            fail_msg("allocation %lld refused: '%s'", (long long)n, o.text);
        if (o.blocks != whole.blocks)
            fail_msg("allocation %lld refused: %lld blocks are left, %lld without a refusal ('%s')",
                     (long long)n, (long long)o.blocks, (long long)whole.blocks, o.text);
        refused_some += o.status != SPPO_OK;
    }
    assert_int_equal(refused_some, whole.allocations);
}

/* The meta device runs the same calls without data, and knows what their tensors would take (not what
 * CPU kernels take for themselves). */
static void meta_counts(void **state) {
    (void)state;
    assert_int_equal(sppo_memory_used(SPPO_DEVICE_META), 0);
    sppo_memory_reset_peak(SPPO_DEVICE_META);
    sppo_memory_reset_peak(SPPO_DEVICE_CPU);
    sppo_cost_reset();
    OK(small_step(SPPO_DEVICE_META));
    assert_int_equal(sppo_memory_used(SPPO_DEVICE_META), 0);
    assert_int_equal(sppo_memory_peak(SPPO_DEVICE_CPU), 0);
    assert_true(sppo_cost_flops() > 2.0 * N * D * D * 3 * 3);
    assert_true(sppo_cost_bytes() > 4.0 * V * D);
    OK(small_step(SPPO_DEVICE_CPU));
    assert_true(sppo_memory_peak(SPPO_DEVICE_META) > 4 * 4 * (V * D + 3 * D * D));
    assert_true(sppo_memory_peak(SPPO_DEVICE_META) <= sppo_memory_peak(SPPO_DEVICE_CPU));
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, all_clean)
    const struct CMUnitTest tests[] = {
        // First: its processes must not inherit a pool of threads.
        TEST(every_allocation_fails_once),
        TEST(keeps_what_backward_needs),
        TEST(keeps_nothing_without_need),
        TEST(gradients_accumulate),
        TEST(bad_losses),
        TEST(recompute_replays),
        TEST(recompute_with_a_value_held),
        TEST(recompute_marks),
        TEST(failure_while_recording),
        TEST(failure_in_backward),
        TEST(views_share_a_gradient),
        TEST(views_hold_values),
        TEST(views_are_replayed),
        TEST(arena_guard),
        TEST(memory_limit),
        TEST(memory_limit_in_backward),
        TEST(meta_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
