/* shape.c - dtypes, sizes, strides, and their text. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/tensor.h"

const char *sppo__dtype_name(sppo_dtype dtype) {
    switch (dtype) {
    case SPPO_DTYPE_F32: return "f32";
    case SPPO_DTYPE_BF16: return "bf16";
    case SPPO_DTYPE_F16: return "f16";
    case SPPO_DTYPE_Q8_0: return "q8_0";
    case SPPO_DTYPE_I32: return "i32";
    }
    return "?";
}

int64_t sppo__dtype_bytes(sppo_dtype dtype, int64_t count) {
    switch (dtype) {
    case SPPO_DTYPE_F32:
    case SPPO_DTYPE_I32: return count * 4;
    case SPPO_DTYPE_BF16:
    case SPPO_DTYPE_F16: return count * 2;
    case SPPO_DTYPE_Q8_0: return count / 32 * 34;
    }
    return 0;
}

const char *sppo__dims_text(int ndim, const int64_t *shape) {
    static _Thread_local char ring[4][96];
    static _Thread_local int turn;
    char *text = ring[turn++ & 3];
    size_t used = (size_t)snprintf(text, sizeof ring[0], "[");
    for (int i = 0; i < ndim; i++)
        used += (size_t)snprintf(text + used, sizeof ring[0] - used, "%s%" PRId64, i ? ", " : "",
                                 shape[i]);
    snprintf(text + used, sizeof ring[0] - used, "]");
    return text;
}

const char *sppo__shape_text(const sppo_tensor *t) {
    return sppo__dims_text(t->ndim, t->shape);
}

bool sppo__same_shape(const sppo_tensor *a, const sppo_tensor *b) {
    return a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, sizeof a->shape[0] * (size_t)a->ndim) == 0;
}

bool sppo__gap_free(const sppo_tensor *t) {
    int64_t expected = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] == 0) return true;
        if (t->shape[i] != 1 && t->stride[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}

int64_t sppo__columns(const sppo_tensor *t) {
    return t->ndim ? t->shape[t->ndim - 1] : 1;
}

int64_t sppo__rows(const sppo_tensor *t) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < t->ndim; i++) rows *= t->shape[i];
    return rows;
}

int64_t sppo_tensor_count(const sppo_tensor *t) {
    return sppo__rows(t) * sppo__columns(t);
}

int64_t sppo__value_bytes(sppo_dtype dtype, sppo_layout layout, int ndim, const int64_t *shape) {
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) count *= shape[i];
    if (layout == SPPO_LAYOUT_ROWS) return sppo__dtype_bytes(dtype, count);
    // Panels of 64 rows; q8_0 keeps one f16 scale for 32 values along K in each row.
    int64_t rows = (shape[0] + SPPO_PANEL - 1) / SPPO_PANEL * SPPO_PANEL, K = shape[1];
    if (dtype == SPPO_DTYPE_Q8_0) return rows * K + rows * (K / 32) * 2;
    return sppo__dtype_bytes(dtype, rows * K);
}

int64_t sppo_tensor_bytes(const sppo_tensor *t) {
    return sppo__value_bytes(t->dtype, t->layout, t->ndim, t->shape);
}
