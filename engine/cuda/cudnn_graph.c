/* cudnn_graph.c - cuDNN's descriptors: tensors, operations, graphs. */

#include "cuda/cudnn_graph.h"

#include <string.h>

enum { ALIGNMENT = 16 };  // bytes, of what lies in memory

void sppo__graph_new(sppo__graph *g) {
    memset(g, 0, sizeof *g);
    g->next_virtual = GRAPH_FIRST_VIRTUAL;
}

void sppo__graph_free(sppo__graph *g) {
    while (g->made_count) sppo__cudnn.destroy(g->made[--g->made_count]);
}

static bool note(sppo__graph *g, cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS) return true;
    g->status = status;
    sppo__cudnn.last_error(g->text, sizeof g->text);
    for (char *c = g->text; *c; c++)
        if (*c == '\n') *c = ' ';
    return false;
}

cudnnBackendDescriptor_t sppo__graph_make(sppo__graph *g, cudnnBackendDescriptorType_t type,
                                          const char *what) {
    cudnnBackendDescriptor_t d = NULL;
    if (g->status != CUDNN_STATUS_SUCCESS) return NULL;
    SPPO_ASSERT(g->made_count < GRAPH_DESCRIPTORS);
    g->failed = what;
    if (note(g, sppo__cudnn.create(type, &d))) g->made[g->made_count++] = d;
    return d;
}

void sppo__graph_set(sppo__graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (g->status == CUDNN_STATUS_SUCCESS) note(g, sppo__cudnn.set(d, name, type, count, values));
}

static void set_descriptor(sppo__graph *g, cudnnBackendDescriptor_t d,
                           cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
    sppo__graph_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void sppo__graph_finish(sppo__graph *g, cudnnBackendDescriptor_t d) {
    if (g->status == CUDNN_STATUS_SUCCESS) note(g, sppo__cudnn.finalize(d));
}

void sppo__graph_get(sppo__graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t wanted, int64_t *count,
                     void *values) {
    if (g->status == CUDNN_STATUS_SUCCESS)
        note(g, sppo__cudnn.get(d, name, type, wanted, count, values));
}

void sppo__graph_execute(sppo__graph *g, cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                         cudnnBackendDescriptor_t memory) {
    if (g->status == CUDNN_STATUS_SUCCESS) {
        g->failed = "a plan's run";
        note(g, sppo__cudnn.execute(handle, plan, memory));
    }
}

sppo_status sppo__graph_result(const sppo__graph *g, const char *op) {
    if (g->status == CUDNN_STATUS_SUCCESS) return SPPO_OK;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDNN, op, g->failed,
                      sppo__cudnn.status_text(g->status), g->text);
}

sppo__graph_sizes sppo__graph_rows(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (sppo__graph_sizes){{a, b, c, d}, {b * c * d, c * d, d, 1}};
}

sppo__graph_sizes sppo__graph_turned(sppo__graph_sizes s) {
    return (sppo__graph_sizes){{s.size[0], s.size[1], s.size[3], s.size[2]},
                               {s.stride[0], s.stride[1], s.stride[3], s.stride[2]}};
}

/* ---- tensors ---- */

typedef enum place { STORED, NUMBER, VIRTUAL } place;

static sppo__graph_tensor make_tensor(sppo__graph *g, int64_t id, place where, cudnnDataType_t type,
                                      sppo__graph_sizes s, const sppo__graph_tensor *offsets) {
    int64_t alignment = ALIGNMENT;
    bool yes = true;
    cudnnBackendDescriptor_t d = sppo__graph_make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "a tensor");
    sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, s.size);
    sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, s.stride);
    sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    if (where == VIRTUAL)
        sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (where == NUMBER)
        sppo__graph_set(g, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (offsets) set_descriptor(g, d, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, offsets->descriptor);
    sppo__graph_finish(g, d);
    return (sppo__graph_tensor){d, s, type};
}

sppo__graph_tensor sppo__graph_stored(sppo__graph *g, sppo__sdpa_role role, cudnnDataType_t type,
                                      sppo__graph_sizes sizes, const sppo__graph_tensor *offsets) {
    g->roles |= 1u << role;
    return make_tensor(g, role, STORED, type, sizes, offsets);
}

sppo__graph_tensor sppo__graph_number(sppo__graph *g, sppo__sdpa_role role, cudnnDataType_t type) {
    g->roles |= 1u << role;
    return make_tensor(g, role, NUMBER, type, sppo__graph_rows(1, 1, 1, 1), NULL);
}

sppo__graph_tensor sppo__graph_virtual(sppo__graph *g, cudnnDataType_t type,
                                       sppo__graph_sizes sizes, const sppo__graph_tensor *offsets) {
    return make_tensor(g, g->next_virtual++, VIRTUAL, type, sizes, offsets);
}

/* ---- operations ---- */

static void add_op(sppo__graph *g, cudnnBackendDescriptor_t op) {
    sppo__graph_finish(g, op);
    if (g->status != CUDNN_STATUS_SUCCESS) return;
    SPPO_ASSERT(g->ops < GRAPH_OPS);
    g->op[g->ops++] = op;
}

void sppo__graph_point(sppo__graph *g, const sppo__graph_pointwise *p) {
    cudnnBackendDescriptor_t how =
        sppo__graph_make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "a pointwise operation");
    sppo__graph_set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &p->mode);
    sppo__graph_set(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &p->math);
    if (p->axis >= 0)
        sppo__graph_set(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &p->axis);
    sppo__graph_finish(g, how);
    cudnnBackendDescriptor_t op =
        sppo__graph_make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, "a pointwise operation");
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, p->x->descriptor);
    if (p->b) set_descriptor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, p->b->descriptor);
    if (p->choice)
        set_descriptor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, p->choice->descriptor);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, p->y->descriptor);
    add_op(g, op);
}

sppo__graph_tensor sppo__graph_one(sppo__graph *g, cudnnPointwiseMode_t mode,
                                   sppo__graph_tensor x) {
    sppo__graph_tensor y = sppo__graph_virtual(g, CUDNN_DATA_FLOAT, x.sizes, NULL);
    sppo__graph_point(g, &(sppo__graph_pointwise){mode, CUDNN_DATA_FLOAT, -1, &x, NULL, NULL, &y});
    return y;
}

sppo__graph_tensor sppo__graph_two(sppo__graph *g, cudnnPointwiseMode_t mode, sppo__graph_tensor x,
                                   sppo__graph_tensor b) {
    sppo__graph_tensor y = sppo__graph_virtual(g, CUDNN_DATA_FLOAT, x.sizes, NULL);
    sppo__graph_point(g, &(sppo__graph_pointwise){mode, CUDNN_DATA_FLOAT, -1, &x, &b, NULL, &y});
    return y;
}

void sppo__graph_reduce(sppo__graph *g, cudnnReduceTensorOp_t how, sppo__graph_tensor x,
                        sppo__graph_tensor y) {
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t d =
        sppo__graph_make(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, "a reduction");
    sppo__graph_set(g, d, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1,
                    &how);
    sppo__graph_set(g, d, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &math);
    sppo__graph_finish(g, d);
    cudnnBackendDescriptor_t op =
        sppo__graph_make(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, "a reduction");
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, d);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x.descriptor);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y.descriptor);
    add_op(g, op);
}

void sppo__graph_multiply(sppo__graph *g, const sppo__graph_product *p) {
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    double zero = 0;
    cudnnBackendDescriptor_t d = sppo__graph_make(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR, "a product");
    sppo__graph_set(g, d, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &math);
    if (p->zeros)
        sppo__graph_set(g, d, CUDNN_ATTR_MATMUL_PADDING_VALUE, CUDNN_TYPE_DOUBLE, 1, &zero);
    sppo__graph_finish(g, d);
    cudnnBackendDescriptor_t op =
        sppo__graph_make(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, "a product");
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, d);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, p->a.descriptor);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, p->b.descriptor);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, p->c.descriptor);
    if (p->M)
        set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, p->M->descriptor);
    if (p->N)
        set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, p->N->descriptor);
    if (p->K)
        set_descriptor(g, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, p->K->descriptor);
    add_op(g, op);
}

void sppo__graph_reshape(sppo__graph *g, sppo__graph_tensor x, sppo__graph_tensor y) {
    cudnnBackendDescriptor_t op =
        sppo__graph_make(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, "a reshape");
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x.descriptor);
    set_descriptor(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y.descriptor);
    add_op(g, op);
}

/* No handle: the graph is then the same for a GPU at hand and for one that is only described. */
cudnnBackendDescriptor_t sppo__graph_end(sppo__graph *g) {
    cudnnBackendDescriptor_t d =
        sppo__graph_make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "the graph");
    sppo__graph_set(g, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->ops,
                    g->op);
    sppo__graph_finish(g, d);
    return d;
}
