/* cudnn_checks.cpp - operations read from their descriptors, and which of them the fake cuDNN
 * refuses: what the manual forbids, and what NVIDIA's 9.19 says that it has no engine for. */

#include <set>

#include "cudnn.h"

namespace emu {

Tensor::Tensor(const Descriptor *d)
    : id(d->get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0)),
      type(d->get(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT)),
      is_virtual(d->get(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false)),
      by_value(d->get(CUDNN_ATTR_TENSOR_IS_BY_VALUE, false)), offsets(0) {
    for (int i = 0; i < 4; i++) {
        size[i] = d->get<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, 0, i);
        stride[i] = d->get<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, 0, i);
    }
    if (const Descriptor *o = d->at(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC)) offsets = Tensor(o).id;
}

Operation::Operation(const Descriptor *d)
    : type(d->type), mode(), reduction(), axis(-1), zeros(false) {
    auto add = [d](std::vector<Tensor> &to, cudnnBackendAttributeName_t name) {
        if (d->at(name)) to.emplace_back(d->at(name));
    };
    if (const Descriptor *how = d->at(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)) {
        mode = how->get(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
        axis = how->get<int64_t>(CUDNN_ATTR_POINTWISE_AXIS, -1);
    }
    if (const Descriptor *how = d->at(CUDNN_ATTR_OPERATION_REDUCTION_DESC))
        reduction = how->get(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_REDUCE_TENSOR_ADD);
    if (const Descriptor *how = d->at(CUDNN_ATTR_OPERATION_MATMUL_DESC))
        zeros = how->has(CUDNN_ATTR_MATMUL_PADDING_VALUE);
    for (auto name : {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                      CUDNN_ATTR_OPERATION_POINTWISE_TDESC, CUDNN_ATTR_OPERATION_REDUCTION_XDESC,
                      CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC,
                      CUDNN_ATTR_OPERATION_RESHAPE_XDESC})
        add(in, name);
    for (auto name : {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_ATTR_OPERATION_REDUCTION_YDESC,
                      CUDNN_ATTR_OPERATION_MATMUL_CDESC, CUDNN_ATTR_OPERATION_RESHAPE_YDESC})
        add(out, name);
    add(lengths[0], CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC);
    add(lengths[1], CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC);
    add(lengths[2], CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC);
}

/* ---- what is refused ---- */

static size_t operands(cudnnPointwiseMode_t mode) {
    switch (mode) {
    case CUDNN_POINTWISE_EXP:
    case CUDNN_POINTWISE_LOG:
    case CUDNN_POINTWISE_TANH_FWD:
    case CUDNN_POINTWISE_IDENTITY:
    case CUDNN_POINTWISE_GEN_INDEX: return 1;
    case CUDNN_POINTWISE_BINARY_SELECT: return 3;
    default: return 2;
    }
}

const char *wrong_with(const Operation &op) {
    const int64_t *a = op.in[0].size, *y = op.out[0].size;
    if (op.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) {
        const int64_t *b = op.in[1].size;
        if (a[3] != b[2] || a[2] != y[2] || b[3] != y[3]) return "the product's sizes differ";
        if (a[0] != y[0] || b[0] != y[0] || y[1] % a[1] || y[1] % b[1])
            return "the product's batches or heads differ";
    } else if (op.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
        if (op.in.size() < operands(op.mode)) return "an operand is missing";
        if (op.mode == CUDNN_POINTWISE_GEN_INDEX && op.axis < 0) return "no axis";
        for (const Tensor &x : op.in)
            for (int i = 0; i < 4; i++)
                if (x.size[i] != 1 && x.size[i] != y[i]) return "sizes do not broadcast";
    } else if (op.type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) {
        for (int i = 0; i < 4; i++)
            if (a[i] % y[i] || (i != 1 && y[i] != 1 && y[i] != a[i])) return "sizes do not reduce";
    } else if (a[0] * a[1] * a[2] * a[3] != y[0] * y[1] * y[2] * y[3]) return "sizes differ";
    return nullptr;
}

const char *wrong_with(const std::vector<Operation> &ops) {
    std::set<int64_t> made;
    for (const Operation &op : ops) {
        for (const Tensor &x : op.in)
            if (x.is_virtual && !made.count(x.id)) return "a virtual tensor that nothing makes";
        if (!made.insert(op.out[0].id).second) return "a tensor that is made twice";
    }
    return nullptr;
}

const char *unsupported(const std::vector<Operation> &ops, int capability) {
    int products = 0;
    bool log = false;
    int64_t D = ops[0].in[0].size[3];
    for (const Operation &op : ops) {
        products += op.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR;
        log = log || (op.out.size() && op.mode == CUDNN_POINTWISE_LOG);
        if (op.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR && products == 1)
            D = op.in[0].size[3];
    }
    bool backward = products > 2, packed = ops.back().out[0].offsets != 0;
    if (D % 8) return "Embedding dim per head for q and k is not a multiple of 8";
    if (!backward && !log) return "Dropout set of ops not configured correctly";
    if (backward && D > 128 && capability / 10 != 9)
        return "Embedding dim per head for q and k is not less than equal to 128";
    if (backward && packed && capability / 10 != 9)
        return "non-atomic bprop thd is not supported with SM80 style bprop kernel";
    return nullptr;
}

}  // namespace emu
