/* cudnn.cpp - the part of cuDNN's backend API that the engine calls, with NVIDIA's prototypes.
 *
 * Descriptors keep what is set; a name that is not theirs, a wrong type, a value set after the end
 * and one that is missing at the end are refused, as the manual says. What a graph means is in
 * cudnn_interpreter.cpp. An engine is found for what NVIDIA's 9.19 says it has one for
 * (unsupported), and in f32, where it has none: a graph's arithmetic shows better there. */

#pragma GCC visibility push(default)  // found by name, as the real one's are
#include <cudnn_graph.h>
#pragma GCC visibility pop

#include <memory>
#include <string>

#include "block.h"
#include "cudnn.h"
#include "cudnn_rules.h"

namespace emu {

void run_later(std::function<void()> work);
bool within_memory(const void *p, size_t bytes);

enum { WORKSPACE = 256 };

static char handle;
static std::string last;
static cudnnCallback_t listener;

static cudnnStatus_t refuse(cudnnStatus_t status, const std::string &why) {
    last = why;
    return status;
}

static const Rule *rule_of(const Descriptor *d, int name) {
    for (const Rule &r : rules)
        if (r.name == name && r.owner == d->type) return &r;
    return nullptr;
}

/* The operations of a graph, read when it is ended: its descriptors may change no more. */
static std::vector<Operation> operations_of(const Descriptor *graph) {
    std::vector<Operation> ops;
    int64_t count = graph->attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).count;
    for (int64_t i = 0; i < count; i++)
        ops.emplace_back(graph->at(CUDNN_ATTR_OPERATIONGRAPH_OPS, i));
    return ops;
}

static const char *wrong_with(const Descriptor *d) {
    switch (d->type) {
    case OWNER(TENSOR):
        for (auto name : {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_STRIDES}) {
            if (d->attributes.at(name).count != 4) return "a tensor must have 4 sizes and strides";
            for (int i = 0; i < 4; i++)
                if (d->get<int64_t>(name, 0, i) < 1) return "a size or stride is below 1";
        }
        if (Tensor t(d); t.by_value && t.size[0] * t.size[1] * t.size[2] * t.size[3] != 1)
            return "a number is one value";
        return nullptr;
    case OWNER(OPERATION_POINTWISE):
    case OWNER(OPERATION_REDUCTION):
    case OWNER(OPERATION_MATMUL):
    case OWNER(OPERATION_RESHAPE): return wrong_with(Operation(d));
    case OWNER(OPERATIONGRAPH): return wrong_with(operations_of(d));
    case OWNER(VARIANT_PACK):
        if (d->attributes.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count !=
            d->attributes.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).count)
            return "as many ids as pointers are wanted";
        return nullptr;
    default: return nullptr;
    }
}

/* Whether an engine runs the heuristics' graph; else tells the listener why, in cuDNN's form. */
static bool runs(const Descriptor *heuristics) {
    const char *text = getenv("SPPO_EMU_CAPABILITY");
    const char *why =
        unsupported(operations_of(heuristics->at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)),
                    text && *text ? atoi(text) : 90);
    if (!why) return true;
    std::string line = std::string("CUDNN_STATUS_NOT_SUPPORTED; Reason: ") + why;
    line.append(2, '\0');
    if (listener) listener(CUDNN_SEV_WARNING, nullptr, nullptr, line.data());
    return false;
}

}  // namespace emu

using namespace emu;

extern "C" {

size_t cudnnGetVersion(void) {
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_BAD_PARAM         ? "CUDNN_STATUS_BAD_PARAM"
           : status == CUDNN_STATUS_NOT_INITIALIZED ? "CUDNN_STATUS_NOT_INITIALIZED"
                                                    : "CUDNN_STATUS_NOT_SUPPORTED";
}

void cudnnGetLastErrorString(char *text, size_t room) {
    snprintf(text, room, "%s", last.c_str());
}

cudnnStatus_t cudnnSetCallback(unsigned, void *, cudnnCallback_t call) {
    listener = call;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *out) {
    *out = reinterpret_cast<cudnnHandle_t>(&handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) {
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out) {
    *out = new Descriptor{type, false, {}};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    delete static_cast<Descriptor *>(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values) {
    Descriptor *d = static_cast<Descriptor *>(descriptor);
    const Rule *rule = rule_of(d, name);
    if (!rule)
        return refuse(CUDNN_STATUS_BAD_PARAM,
                      "attribute " + std::to_string(name) + " is of another descriptor");
    if (d->finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized");
    if (rule->type != type || count < 1 || !values)
        return refuse(CUDNN_STATUS_BAD_PARAM,
                      "attribute " + std::to_string(name) + " has another type");
    const char *bytes = static_cast<const char *>(values);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < count; i++) {
            auto *other = static_cast<Descriptor *const *>(values)[i];
            if (!other || !other->finalized)
                return refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor that is not finalized");
        }
    d->attributes[name] = {type, count,
                           std::vector<char>(bytes, bytes + (size_t)count * rule->bytes)};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    Descriptor *d = static_cast<Descriptor *>(descriptor);
    for (const Rule &r : rules)
        if (r.owner == d->type && r.needed && !d->has(r.name))
            return refuse(CUDNN_STATUS_BAD_PARAM,
                          "attribute " + std::to_string(r.name) + " is not set");
    const char *why = wrong_with(d);
    if (why) return refuse(CUDNN_STATUS_BAD_PARAM, why);
    d->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

/* Results of heuristics become configurations that the caller has made; one more is counted than
 * given, as the real ones count what they have not tried yet. */
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t wanted, int64_t *count,
                                       void *values) {
    Descriptor *d = static_cast<Descriptor *>(descriptor);
    if (!d->finalized)
        return refuse(CUDNN_STATUS_NOT_INITIALIZED, "the descriptor is not finalized");
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && d->type == OWNER(EXECUTION_PLAN)) {
        *static_cast<int64_t *>(values) = WORKSPACE;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    if (name != CUDNN_ATTR_ENGINEHEUR_RESULTS || d->type != OWNER(ENGINEHEUR))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED,
                      "attribute " + std::to_string(name) + " is not kept");
    *count = wanted ? runs(d) : 2;
    if (wanted && *count) {
        Descriptor *config = *static_cast<Descriptor **>(values);
        Descriptor *graph = d->at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        config->attributes[CUDNN_ATTR_OPERATIONGRAPH_OPS] =
            graph->attributes[CUDNN_ATTR_OPERATIONGRAPH_OPS];
        config->finalized = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t used, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
    const Descriptor *p = static_cast<Descriptor *>(plan), *v = static_cast<Descriptor *>(pack);
    if (reinterpret_cast<char *>(used) != &handle || !p->finalized || !v->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM, "no handle, or something is not finalized");
    auto ops = std::make_shared<std::vector<Operation>>(
        operations_of(p->at(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)));
    std::map<int64_t, void *> memory;
    std::map<int64_t, float> numbers;
    for (int64_t i = 0; i < v->attributes.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count; i++)
        memory[v->get<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 0, i)] =
            v->get<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, nullptr, i);
    void *workspace = v->get<void *>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
    if (!on_device(workspace) || !within_memory(workspace, WORKSPACE))
        fail("cuDNN: the workspace is not device memory");
    for (const Operation &op : *ops) {
        std::vector<Tensor> all = op.in;
        all.insert(all.end(), op.out.begin(), op.out.end());
        for (const auto &l : op.lengths) all.insert(all.end(), l.begin(), l.end());
        for (const Tensor &t : all) {
            if (t.is_virtual) continue;
            void *at = memory.count(t.id) ? memory[t.id] : nullptr;
            if (!at)
                return refuse(CUDNN_STATUS_BAD_PARAM,
                              "tensor " + std::to_string(t.id) + " has no memory");
            if (!t.by_value && ((uintptr_t)at % 16 || !on_device(at)))
                fail("cuDNN: tensor %d is not aligned device memory in use", (int)t.id);
            if (!t.by_value) continue;
            numbers[t.id] = t.type == CUDNN_DATA_INT32 ? (float)*static_cast<int32_t *>(at)
                                                       : *static_cast<float *>(at);
        }
    }
    counts.launches++;
    run_later([=] {
        memset(workspace, 0xff, WORKSPACE);
        interpret(*ops, memory, numbers);
    });
    return CUDNN_STATUS_SUCCESS;
}
}
