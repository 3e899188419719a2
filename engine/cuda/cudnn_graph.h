/* cudnn_graph.h - a graph of cuDNN's operations while it is made. The first failure is kept and
 * makes every later call do nothing, so a builder is one run of calls without checks. */

#ifndef SPPO_CUDNN_GRAPH_H
#define SPPO_CUDNN_GRAPH_H

#include "cuda/cudnn_library.h"
#include "cuda/cudnn_sdpa.h"

enum { GRAPH_DESCRIPTORS = 256, GRAPH_OPS = 64, GRAPH_FIRST_VIRTUAL = 100 };

typedef struct sppo__graph {
    cudnnBackendDescriptor_t made[GRAPH_DESCRIPTORS];  // all of them, in the order of making
    cudnnBackendDescriptor_t op[GRAPH_OPS];
    int made_count, ops;
    int64_t next_virtual;             // id of the next tensor that is never in memory
    uint32_t roles;                   // bit r: the graph has role r
    cudnnBackendDescriptor_t device;  // its properties
    cudnnBackendDescriptor_t engine;  // the configuration that is thought fastest, NULL: none
    cudnnStatus_t status;
    const char *failed;  // what was being made then
    char text[300];      // what cuDNN said
} sppo__graph;

typedef struct sppo__graph_sizes {
    int64_t size[4], stride[4];  // batch, head, row, column
} sppo__graph_sizes;

typedef struct sppo__graph_tensor {
    cudnnBackendDescriptor_t descriptor;  // NULL: none, where one is optional
    sppo__graph_sizes sizes;
    cudnnDataType_t type;
} sppo__graph_tensor;

void sppo__graph_new(sppo__graph *g);

/* Gives all descriptors back. */
void sppo__graph_free(sppo__graph *g);

/* Descriptors of any kind: made, an attribute set, finalized. */
cudnnBackendDescriptor_t sppo__graph_make(sppo__graph *g, cudnnBackendDescriptorType_t type,
                                          const char *what);
void sppo__graph_set(sppo__graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t count, const void *values);
void sppo__graph_finish(sppo__graph *g, cudnnBackendDescriptor_t d);

/* `wanted` values of an attribute; with 0 how many there are, in *count. */
void sppo__graph_get(sppo__graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t wanted, int64_t *count,
                     void *values);

void sppo__graph_execute(sppo__graph *g, cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                         cudnnBackendDescriptor_t memory);

/* SPPO_OK, or SPPO_ERR_DEVICE with what failed and cuDNN's words. */
sppo_status sppo__graph_result(const sppo__graph *g, const char *op);

/* Rows first: the last size is that of neighbours in memory. */
sppo__graph_sizes sppo__graph_rows(int64_t a, int64_t b, int64_t c, int64_t d);

/* Rows and columns exchanged; the memory stays. */
sppo__graph_sizes sppo__graph_turned(sppo__graph_sizes s);

/* A tensor in memory (`offsets` for packed ones, or NULL), a number of the host's, and one that is
 * never in memory. */
sppo__graph_tensor sppo__graph_stored(sppo__graph *g, sppo__sdpa_role role, cudnnDataType_t type,
                                      sppo__graph_sizes sizes, const sppo__graph_tensor *offsets);
sppo__graph_tensor sppo__graph_number(sppo__graph *g, sppo__sdpa_role role, cudnnDataType_t type);
sppo__graph_tensor sppo__graph_virtual(sppo__graph *g, cudnnDataType_t type,
                                       sppo__graph_sizes sizes, const sppo__graph_tensor *offsets);

/* y = mode(x, b, choice), value by value in the type `math`; b and choice may be NULL. `axis` is
 * for GEN_INDEX, -1 without. */
typedef struct sppo__graph_pointwise {
    cudnnPointwiseMode_t mode;
    cudnnDataType_t math;
    int64_t axis;
    const sppo__graph_tensor *x, *b, *choice, *y;
} sppo__graph_pointwise;

void sppo__graph_point(sppo__graph *g, const sppo__graph_pointwise *p);

/* mode(x, b) in f32, never in memory. */
sppo__graph_tensor sppo__graph_one(sppo__graph *g, cudnnPointwiseMode_t mode, sppo__graph_tensor x);
sppo__graph_tensor sppo__graph_two(sppo__graph *g, cudnnPointwiseMode_t mode, sppo__graph_tensor x,
                                   sppo__graph_tensor b);

/* y = the sum or maximum of x over those sizes that are 1 in y; over heads, to fewer of them. */
void sppo__graph_reduce(sppo__graph *g, cudnnReduceTensorOp_t how, sppo__graph_tensor x,
                        sppo__graph_tensor y);

/* c = a b; of each text only its own M rows, N columns and K terms, where lengths are given. */
typedef struct sppo__graph_product {
    sppo__graph_tensor a, b, c;
    const sppo__graph_tensor *M, *N, *K;  // i32 [batch], NULL: all
    bool zeros;                           // beyond them are zeros
} sppo__graph_product;

void sppo__graph_multiply(sppo__graph *g, const sppo__graph_product *p);

/* y = the values of x as other sizes and strides see them. */
void sppo__graph_reshape(sppo__graph *g, sppo__graph_tensor x, sppo__graph_tensor y);

/* Adds the operations of attention. */
void sppo__graph_sdpa(sppo__graph *g, const sppo__sdpa_shape *shape);

/* The finished graph of all operations. */
cudnnBackendDescriptor_t sppo__graph_end(sppo__graph *g);

/* A new graph of the shape and the number of engine configurations that run it, on the device that
 * `json` describes or, if NULL, on the handle's. 0: cuDNN's reason goes to `reason`. */
int64_t sppo__graph_find_engine(sppo__graph *g, const sppo__sdpa_shape *shape, const char *json,
                                cudnnHandle_t handle, char *reason, size_t room);

#endif
