/* tensor.c - making, reading, writing and dropping tensors. Views are in ops/view.c. */

#include "core/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/error.h"
#include "llm/philox.h"

static sppo_tensor *spare;  // freed structs, kept so that a guarded step needs no malloc

static sppo_status check_shape(const char *name, sppo_dtype dtype, int ndim, const int64_t *shape) {
    if (ndim < 0 || ndim > SPPO_MAX_DIMS) return sppo__fail(SPPO_ERR_SHAPE, TEXT_NDIM, name, ndim);
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0)
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_SIZE_NEGATIVE, name, (long long)shape[i], i);
        if (__builtin_mul_overflow(count, shape[i] ? shape[i] : 1, &count) ||
            count > INT64_MAX / 128)
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_TOO_LARGE, name, sppo__dims_text(ndim, shape));
    }
    if (dtype == SPPO_DTYPE_Q8_0 && (!ndim || shape[ndim - 1] % 32))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_Q8_ROWS, name,
                          (long long)(ndim ? shape[ndim - 1] : 1));
    return SPPO_OK;
}

sppo_status sppo__tensor_shell(sppo_tensor **out, sppo_dtype dtype, sppo_device device,
                               sppo_layout layout, int ndim, const int64_t *shape,
                               const char *made_by) {
    sppo_status st = check_shape(made_by, dtype, ndim, shape);
    if (st) return st;
    sppo_tensor *t = spare;
    if (t) spare = t->grad;
    else t = malloc(sizeof *t);
    if (!t) return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, made_by, 0.0, 0.0, "");
    *t = (sppo_tensor){.refs = 1,
                       .users = 1,
                       .dtype = dtype,
                       .device = device,
                       .layout = layout,
                       .ndim = ndim,
                       .made_by = made_by};
    int64_t stride = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        t->shape[i] = shape[i];
        t->stride[i] = stride;
        stride *= shape[i];
    }
    *out = t;
    return SPPO_OK;
}

sppo_status sppo__tensor_fill(sppo_tensor *t, bool zero) {
    if (t->storage) return SPPO_OK;
    t->offset = 0;
    return sppo__storage_new(&t->storage, t->device, sppo_tensor_bytes(t), zero, t->made_by);
}

sppo_status sppo__tensor_make(sppo_tensor **out, sppo_dtype dtype, sppo_device device,
                              sppo_layout layout, int ndim, const int64_t *shape,
                              const char *made_by) {
    sppo_tensor *t;
    sppo_status st = sppo__tensor_shell(&t, dtype, device, layout, ndim, shape, made_by);
    if (st) return st;
    st = sppo__tensor_fill(t, true);
    if (st) {
        sppo_tensor_release(t);
        return st;
    }
    *out = t;
    return SPPO_OK;
}

sppo_status sppo_tensor_new(sppo_tensor **out, sppo_dtype dtype, sppo_device device, int ndim,
                            const int64_t *shape) {
    sppo_status st = sppo__device_open(device);
    if (st) return st;
    return sppo__tensor_make(out, dtype, device, SPPO_LAYOUT_ROWS, ndim, shape, "new");
}

void sppo__node_retain(sppo_tensor *t) {
    t->refs++;
}

void sppo__node_release(sppo_tensor *t) {
    if (--t->refs) return;
    sppo__storage_release(t->storage);
    if (t->grad) sppo_tensor_release(t->grad);
    t->grad = spare;
    spare = t;
}

void sppo_tensor_retain(sppo_tensor *t) {
    t->users++;
    t->refs++;
}

void sppo_tensor_release(sppo_tensor *t) {
    if (!t) return;
    if (--t->users == 0) {
        sppo__storage_release(t->storage);
        t->storage = NULL;
    }
    sppo__node_release(t);
}

sppo_dtype sppo_tensor_dtype(const sppo_tensor *t) {
    return t->dtype;
}

sppo_device sppo_tensor_device(const sppo_tensor *t) {
    return t->device;
}

sppo_layout sppo_tensor_layout(const sppo_tensor *t) {
    return t->layout;
}

int sppo_tensor_ndim(const sppo_tensor *t) {
    return t->ndim;
}

int64_t sppo_tensor_size(const sppo_tensor *t, int axis) {
    return axis >= 0 && axis < t->ndim ? t->shape[axis] : 1;
}

const char *sppo_tensor_made_by(const sppo_tensor *t) {
    return t->made_by;
}

/* Values are there, lie without gaps, and take `bytes`. */
static sppo_status check_values(const char *name, const sppo_tensor *t, int64_t bytes) {
    if (t->device == SPPO_DEVICE_META) return sppo__fail(SPPO_ERR_DEVICE, TEXT_META_VALUES, name);
    if (!t->storage) return sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, name, 0, t->made_by);
    if (!sppo__gap_free(t)) return sppo__fail(SPPO_ERR_SHAPE, TEXT_GAPS, name, sppo__shape_text(t));
    if (bytes != sppo_tensor_bytes(t))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BYTES, name, (long long)bytes,
                          (long long)sppo_tensor_bytes(t));
    return SPPO_OK;
}

sppo_status sppo_tensor_read(const sppo_tensor *t, void *dst, int64_t bytes) {
    sppo_status st = check_values("read", t, bytes);
    if (st) return st;
    return sppo__device_copy("read", SPPO_DEVICE_CPU, dst, t->device, sppo__raw(t), bytes);
}

/* After values came into t: what they are within, if they are the host's and all that the storage
 * holds; `values` NULL if they are not known. */
static void note_range(sppo_tensor *t, const int32_t *values) {
    sppo__storage *s = t->storage;
    int64_t count = sppo_tensor_count(t);
    s->ranged = values && t->dtype == SPPO_DTYPE_I32 && count && s->bytes == sppo_tensor_bytes(t);
    if (!s->ranged) return;
    s->lowest = s->highest = values[0];
    for (int64_t i = 1; i < count; i++) {
        if (values[i] < s->lowest) s->lowest = values[i];
        if (values[i] > s->highest) s->highest = values[i];
    }
}

sppo_status sppo_tensor_write(sppo_tensor *t, const void *src, int64_t bytes) {
    sppo_status st = check_values("write", t, bytes);
    if (st) return st;
    st = sppo__device_copy("write", t->device, sppo__raw(t), SPPO_DEVICE_CPU, src, bytes);
    note_range(t, !st && t->device == SPPO_DEVICE_CUDA ? src : NULL);
    return st;
}

void *sppo_tensor_data(sppo_tensor *t) {
    if (!t->storage || t->device != SPPO_DEVICE_CPU || !sppo__gap_free(t)) return NULL;
    return sppo__raw(t);
}

sppo_status sppo_tensor_copy(sppo_tensor *dst, const sppo_tensor *src) {
    if (dst->dtype != src->dtype || dst->layout != src->layout || !sppo__same_shape(dst, src))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_COPY_KIND, sppo__dtype_name(src->dtype),
                          sppo__shape_text(src), sppo__dtype_name(dst->dtype),
                          sppo__shape_text(dst));
    if (dst->device == SPPO_DEVICE_META && src->device == SPPO_DEVICE_META) return SPPO_OK;
    int64_t bytes = sppo_tensor_bytes(src);
    sppo_status st = check_values("copy", src, bytes);
    if (!st) st = check_values("copy", dst, bytes);
    if (!st && src->layout == SPPO_LAYOUT_PANELS && src->device != dst->device)
        st = sppo__fail(SPPO_ERR_DEVICE, TEXT_COPY_PANELS, sppo__device_name(src->device),
                        sppo__device_name(dst->device));
    if (st) return st;
    bool up = dst->device == SPPO_DEVICE_CUDA && src->device == SPPO_DEVICE_CPU;
    st = sppo__device_copy("copy", dst->device, sppo__raw(dst), src->device, sppo__raw(src), bytes);
    note_range(dst, up && !st ? sppo__raw(src) : NULL);
    return st;
}

sppo_status sppo__want_host(const char *name, const sppo_tensor *t) {
    if (t->device == SPPO_DEVICE_CPU) return SPPO_OK;
    if (t->device == SPPO_DEVICE_META) return sppo__fail(SPPO_ERR_DEVICE, TEXT_META_VALUES, name);
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_HOST_VALUES, name, sppo__device_name(t->device));
}

/* Four uniform numbers in (0, 1] for values 4 block .. 4 block + 3. */
static void uniforms(uint64_t seed, int64_t block, double u[4]) {
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), 0x74656e73, 0};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, bits[4];
    sppo__philox4x32(counter, key, bits);
    for (int i = 0; i < 4; i++) u[i] = ((double)bits[i] + 1) / 4294967296.0;
}

static void draw_uniform(float *x, int64_t n, double low, double high, uint64_t seed) {
    double u[4];
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) uniforms(seed, i / 4, u);
        x[i] = (float)(low + (high - low) * (1 - u[i % 4]));
    }
}

static void draw_normal(float *x, int64_t n, double mean, double deviation, uint64_t seed) {
    double u[4], z[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) {  // Box-Muller, two pairs a block
            uniforms(seed, i / 4, u);
            for (int p = 0; p < 4; p += 2) {
                double radius = sqrt(-2 * log(u[p])), angle = 6.283185307179586 * u[p + 1];
                z[p] = radius * cos(angle);
                z[p + 1] = radius * sin(angle);
            }
        }
        x[i] = (float)(mean + deviation * z[i % 4]);
    }
}

/* Drawn by the CPU for every device: the same values. */
static sppo_status draw(const char *name, sppo_tensor *t, double a, double b, uint64_t seed,
                        void (*fill)(float *x, int64_t n, double a, double b, uint64_t seed)) {
    if (t->dtype != SPPO_DTYPE_F32)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, name, "x", sppo__dtype_name(t->dtype),
                          "f32");
    if (t->device == SPPO_DEVICE_META) return SPPO_OK;
    int64_t bytes = sppo_tensor_bytes(t);
    sppo_status st = check_values(name, t, bytes);
    if (st) return st;
    if (t->device == SPPO_DEVICE_CPU) {
        fill(sppo__f32(t), sppo_tensor_count(t), a, b, seed);
        return SPPO_OK;
    }
    float *values = calloc(1, (size_t)bytes + 1);  // panels have padding, which is zero
    if (!values)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, name, (double)bytes / 1048576, 0.0, "");
    fill(values, sppo_tensor_count(t), a, b, seed);
    st = sppo_tensor_write(t, values, bytes);
    free(values);
    return st;
}

sppo_status sppo_tensor_uniform(sppo_tensor *t, double low, double high, uint64_t seed) {
    return draw("uniform", t, low, high, seed, draw_uniform);
}

sppo_status sppo_tensor_normal(sppo_tensor *t, double mean, double deviation, uint64_t seed) {
    return draw("normal", t, mean, deviation, seed, draw_normal);
}
