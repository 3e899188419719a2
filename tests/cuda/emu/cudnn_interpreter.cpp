/* cudnn_interpreter.cpp - what a graph of cuDNN's operations computes: one after the other, in f32,
 * and rounded to bf16 where a tensor is bf16. It is our reading of the manual, not cuDNN's kernels.
 *
 * A value is kept whole, [batch, head, row, column], whether its tensor is virtual or not. Of
 * packed texts (ragged offsets) only the rows up to the next text's are read; what a product makes
 * for rows past its text's length is not stored, so that nobody can count on what lies there. */

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>

#include "block.h"
#include "cudnn.h"

namespace emu {

bool within_memory(const void *p, size_t bytes);

/* ---- values ---- */

struct Value {
    int64_t size[4];
    std::vector<float> at;
    std::vector<int64_t> rows;  // of each text, that a product made; empty: all

    explicit Value(const int64_t *of) : size{of[0], of[1], of[2], of[3]} {
        at.resize((size_t)(of[0] * of[1] * of[2] * of[3]));
    }
    Value() = default;
};

struct Machine {
    const std::map<int64_t, void *> &memory;
    const std::map<int64_t, float> &numbers;
    std::map<int64_t, Value> values;
};

static size_t bytes_of(cudnnDataType_t type) {
    return type == CUDNN_DATA_INT64 ? 8 : type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
}

static float read(const void *p, cudnnDataType_t type, int64_t i) {
    if (type == CUDNN_DATA_BFLOAT16)
        return __bfloat162float(static_cast<const __nv_bfloat16 *>(p)[i]);
    if (type == CUDNN_DATA_INT32) return (float)static_cast<const int32_t *>(p)[i];
    return static_cast<const float *>(p)[i];
}

static float rounded(float x, cudnnDataType_t type) {
    return type == CUDNN_DATA_BFLOAT16 ? __bfloat162float(__float2bfloat16_rn(x)) : x;
}

/* Where text b begins, and how many of its tokens there are before the next one's. Tokens are the
 * axis of the widest stride; of two, the later. */
struct Text {
    int64_t begin, tokens;
    int axis;
};

static Text text_of(const Machine &m, const Tensor &t, int64_t b) {
    int axis = 3;
    for (int i = 2; i >= 1; i--)
        if (t.stride[i] > t.stride[axis]) axis = i;
    if (!t.offsets) return {b * t.stride[0], t.size[axis], axis};
    const int64_t *offset = static_cast<const int64_t *>(m.memory.at(t.offsets));
    if (!within_memory(offset, (size_t)(b + 2) * sizeof *offset))
        fail("cuDNN: offsets are too few");
    return {offset[b], std::min(t.size[axis], (offset[b + 1] - offset[b]) / t.stride[axis]), axis};
}

/* Calls use(place in the value, place in memory, row) for all of text b. */
template <typename Use> static void each_of_text(const Tensor &t, int64_t b, Text text, Use use) {
    int64_t size[4] = {1, t.size[1], t.size[2], t.size[3]};
    size[text.axis] = text.tokens;
    for (int64_t h = 0; h < size[1]; h++)
        for (int64_t r = 0; r < size[2]; r++)
            for (int64_t c = 0; c < size[3]; c++)
                use(((b * t.size[1] + h) * t.size[2] + r) * t.size[3] + c,
                    text.begin + h * t.stride[1] + r * t.stride[2] + c * t.stride[3], r);
}

static void check_range(const Tensor &t, const char *p, int64_t place) {
    if (place < 0 || !within_memory(p + place * (int64_t)bytes_of(t.type), bytes_of(t.type)))
        fail("cuDNN: tensor %d reaches past its memory", (int)t.id);
}

static void check_text(const Tensor &t, const void *p, Text text) {
    int64_t last = text.begin;
    for (int i = 1; i < 4; i++)
        last += ((i == text.axis ? text.tokens : t.size[i]) - 1) * t.stride[i];
    if (text.tokens < 1) return;
    check_range(t, static_cast<const char *>(p), text.begin);
    check_range(t, static_cast<const char *>(p), last);
}

static Value load(const Machine &m, const Tensor &t) {
    Value v(t.size);
    const void *p = m.memory.at(t.id);
    for (int64_t b = 0; b < t.size[0]; b++) {
        Text text = text_of(m, t, b);
        check_text(t, p, text);
        each_of_text(t, b, text, [&](int64_t place, int64_t from, int64_t) {
            v.at[(size_t)place] = read(p, t.type, from);
        });
    }
    return v;
}

/* The value of a tensor: made before, a number, or in memory. */
static const Value &value_of(Machine &m, const Tensor &t) {
    auto found = m.values.find(t.id);
    if (found != m.values.end()) return found->second;
    if (!t.by_value) return m.values[t.id] = load(m, t);
    Value v(t.size);
    v.at[0] = m.numbers.at(t.id);
    return m.values[t.id] = v;
}

static void store(const Machine &m, const Tensor &t, const Value &v) {
    void *p = m.memory.at(t.id);
    for (int64_t b = 0; b < t.size[0]; b++) {
        Text text = text_of(m, t, b);
        int64_t rows = v.rows.empty() ? t.size[2] : v.rows[(size_t)b];
        if (text.axis == 2) text.tokens = std::min(text.tokens, rows);
        check_text(t, p, text);
        each_of_text(t, b, text, [&](int64_t place, int64_t to, int64_t row) {
            if (row >= rows) return;
            float x = v.at[(size_t)place];
            if (t.type == CUDNN_DATA_BFLOAT16)
                static_cast<__nv_bfloat16 *>(p)[to] = __float2bfloat16_rn(x);
            else static_cast<float *>(p)[to] = x;
        });
    }
}

/* ---- operations ---- */

static float pointwise(cudnnPointwiseMode_t mode, float x, float b, float choice) {
    switch (mode) {
    case CUDNN_POINTWISE_ADD: return x + b;
    case CUDNN_POINTWISE_SUB: return x - b;
    case CUDNN_POINTWISE_MUL: return x * b;
    case CUDNN_POINTWISE_DIV: return x / b;
    case CUDNN_POINTWISE_EXP: return expf(x);
    case CUDNN_POINTWISE_LOG: return logf(x);
    case CUDNN_POINTWISE_TANH_FWD: return tanhf(x);
    case CUDNN_POINTWISE_IDENTITY: return x;
    case CUDNN_POINTWISE_CMP_LT: return x < b;
    case CUDNN_POINTWISE_CMP_LE: return x <= b;
    case CUDNN_POINTWISE_CMP_GT: return x > b;
    case CUDNN_POINTWISE_CMP_GE: return x >= b;
    case CUDNN_POINTWISE_LOGICAL_AND: return x != 0 && b != 0;
    case CUDNN_POINTWISE_BINARY_SELECT: return choice != 0 ? x : b;
    default: fail("cuDNN: pointwise mode %d is not interpreted", (int)mode);
    }
}

/* Place in v of an index; sizes of 1 stand for all. */
static size_t broadcast(const Value &v, const int64_t *i) {
    int64_t place = 0;
    for (int k = 0; k < 4; k++) place = place * v.size[k] + (v.size[k] == 1 ? 0 : i[k]);
    return (size_t)place;
}

template <typename Use> static void each_index(const int64_t *size, Use use) {
    int64_t i[4];
    for (i[0] = 0; i[0] < size[0]; i[0]++)
        for (i[1] = 0; i[1] < size[1]; i[1]++)
            for (i[2] = 0; i[2] < size[2]; i[2]++)
                for (i[3] = 0; i[3] < size[3]; i[3]++) use(i);
}

static Value run_pointwise(Machine &m, const Operation &op) {
    Value y(op.out[0].size);
    const Value *in[3] = {};
    for (size_t i = 0; i < op.in.size(); i++) in[i] = &value_of(m, op.in[i]);
    if (in[0]->size[2] == y.size[2]) y.rows = in[0]->rows;
    size_t place = 0;
    each_index(y.size, [&](const int64_t *i) {
        float x = in[0]->at[broadcast(*in[0], i)];
        float b = in[1] ? in[1]->at[broadcast(*in[1], i)] : 0;
        float choice = in[2] ? in[2]->at[broadcast(*in[2], i)] : 0;
        y.at[place++] = op.mode == CUDNN_POINTWISE_GEN_INDEX ? (float)i[op.axis]
                                                             : pointwise(op.mode, x, b, choice);
    });
    return y;
}

/* Heads become fewer by groups of neighbours. */
static Value run_reduction(Machine &m, const Operation &op) {
    Value y(op.out[0].size);
    const Value &x = value_of(m, op.in[0]);
    bool maximum = op.reduction == CUDNN_REDUCE_TENSOR_MAX;
    if (x.size[2] == y.size[2]) y.rows = x.rows;
    std::fill(y.at.begin(), y.at.end(), maximum ? -INFINITY : 0.0f);
    size_t place = 0;
    each_index(x.size, [&](const int64_t *i) {
        int64_t to[4] = {i[0], i[1] / (x.size[1] / y.size[1]), i[2], i[3]};
        float &sum = y.at[broadcast(y, to)], value = x.at[place++];
        sum = maximum ? fmaxf(sum, value) : sum + value;
    });
    return y;
}

static int64_t length_of(Machine &m, const std::vector<Tensor> &lengths, int64_t b, int64_t all) {
    if (lengths.empty()) return all;
    return std::min(all, (int64_t)value_of(m, lengths[0]).at[(size_t)b]);
}

static Value run_product(Machine &m, const Operation &op) {
    const Value &a = value_of(m, op.in[0]), &b = value_of(m, op.in[1]);
    Value c(op.out[0].size);
    int64_t M = c.size[2], N = c.size[3], K = a.size[3];
    for (int64_t text = 0; text < c.size[0]; text++) {
        int64_t rows = length_of(m, op.lengths[0], text, M);
        int64_t columns = length_of(m, op.lengths[1], text, N);
        int64_t terms = length_of(m, op.lengths[2], text, K);
        if (!op.lengths[0].empty()) c.rows.push_back(rows);
        for (int64_t h = 0; h < c.size[1]; h++) {
            const float *of_a =
                &a.at[(size_t)((text * a.size[1] + h * a.size[1] / c.size[1]) * M * K)];
            const float *of_b =
                &b.at[(size_t)((text * b.size[1] + h * b.size[1] / c.size[1]) * K * N)];
            float *to = &c.at[(size_t)((text * c.size[1] + h) * M * N)];
            for (int64_t i = 0; i < rows; i++)
                for (int64_t k = 0; k < terms; k++)
                    for (int64_t j = 0; j < columns; j++)
                        to[i * N + j] += of_a[i * K + k] * of_b[k * N + j];
        }
    }
    return c;
}

/* x as its own strides lay it down, read by those of y. */
static Value run_reshape(Machine &m, const Operation &op) {
    const Value &x = value_of(m, op.in[0]);
    const Tensor &from = op.in[0], &to = op.out[0];
    std::map<int64_t, float> laid;
    Value y(to.size);
    size_t place = 0;
    auto address = [](const Tensor &t, const int64_t *i) {
        return i[0] * t.stride[0] + i[1] * t.stride[1] + i[2] * t.stride[2] + i[3] * t.stride[3];
    };
    each_index(from.size, [&](const int64_t *i) { laid[address(from, i)] = x.at[place++]; });
    place = 0;
    each_index(to.size, [&](const int64_t *i) {
        auto found = laid.find(address(to, i));
        if (found == laid.end()) fail("cuDNN: a reshape reads where nothing lies");
        y.at[place++] = found->second;
    });
    return y;
}

void interpret(const std::vector<Operation> &ops, const std::map<int64_t, void *> &memory,
               const std::map<int64_t, float> &numbers) {
    Machine m{memory, numbers, {}};
    for (const Operation &op : ops) {
        const Tensor &y = op.out[0];
        Value v = op.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR   ? run_pointwise(m, op)
                  : op.type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR ? run_reduction(m, op)
                  : op.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR    ? run_product(m, op)
                                                                            : run_reshape(m, op);
        for (float &x : v.at) x = rounded(x, y.type);
        if (!y.is_virtual) store(m, y, v);
        m.values[y.id] = std::move(v);
    }
}

}  // namespace emu
