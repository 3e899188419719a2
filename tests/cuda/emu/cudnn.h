/* cudnn.h - between the fake cuDNN's descriptors and the interpreter of its graphs. */

#ifndef SPPO_EMU_CUDNN_H
#define SPPO_EMU_CUDNN_H

#include <cudnn_graph.h>

#include <map>
#include <vector>

namespace emu {

struct Attribute {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<char> bytes;
};

struct Descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalized;
    std::map<int, Attribute> attributes;

    bool has(cudnnBackendAttributeName_t name) const {
        return attributes.count(name) != 0;
    }
    /* Value i of an attribute; `otherwise` where it is not set. */
    template <typename T>
    T get(cudnnBackendAttributeName_t name, T otherwise, int64_t i = 0) const {
        auto found = attributes.find(name);
        if (found == attributes.end() || i >= found->second.count) return otherwise;
        T value;
        __builtin_memcpy(&value, found->second.bytes.data() + (size_t)i * sizeof value,
                         sizeof value);
        return value;
    }
    Descriptor *at(cudnnBackendAttributeName_t name, int64_t i = 0) const {
        return static_cast<Descriptor *>(get<cudnnBackendDescriptor_t>(name, nullptr, i));
    }
};

/* A tensor's descriptor, read. */
struct Tensor {
    int64_t id, size[4], stride[4];
    cudnnDataType_t type;
    bool is_virtual, by_value;
    int64_t offsets;  // id of the tensor that has them, 0: none

    explicit Tensor(const Descriptor *d);
};

struct Operation {
    cudnnBackendDescriptorType_t type;
    cudnnPointwiseMode_t mode;
    cudnnReduceTensorOp_t reduction;
    int64_t axis;
    bool zeros;                      // a product's padding value is 0
    std::vector<Tensor> in;          // a pointwise operation's x, b, choice; a product's a, b
    std::vector<Tensor> out;         // one
    std::vector<Tensor> lengths[3];  // a product's M, N, K: none or one

    explicit Operation(const Descriptor *d);
};

/* What is wrong with an operation, or with all of them together; NULL: nothing. */
const char *wrong_with(const Operation &op);
const char *wrong_with(const std::vector<Operation> &ops);

/* Why no engine runs the graph on a GPU of this compute capability (90: sm_90); NULL: one does. */
const char *unsupported(const std::vector<Operation> &ops, int capability);

/* Runs the operations in order: `memory` has device pointers by tensor id, `numbers` what lay on
 * the host when the graph was started. */
void interpret(const std::vector<Operation> &ops, const std::map<int64_t, void *> &memory,
               const std::map<int64_t, float> &numbers);

}  // namespace emu

#endif
