/* cudnn_library.h - the functions of libcudnn that are called, found at run time: a program without
 * it runs on. */

#ifndef SPPO_CUDNN_LIBRARY_H
#define SPPO_CUDNN_LIBRARY_H

#include <cudnn_graph.h>

typedef struct sppo__cudnn_library {
    size_t (*version)(void);
    const char *(*status_text)(cudnnStatus_t status);
    void (*last_error)(char *text, size_t room);
    cudnnStatus_t (*set_callback)(unsigned mask, void *data, cudnnCallback_t call);
    cudnnStatus_t (*open)(cudnnHandle_t *handle);
    cudnnStatus_t (*set_stream)(cudnnHandle_t handle, cudaStream_t stream);
    cudnnStatus_t (*create)(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out);
    cudnnStatus_t (*destroy)(cudnnBackendDescriptor_t descriptor);
    cudnnStatus_t (*finalize)(cudnnBackendDescriptor_t descriptor);
    cudnnStatus_t (*set)(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type, int64_t count, const void *values);
    cudnnStatus_t (*get)(cudnnBackendDescriptor_t const descriptor,
                         cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         int64_t wanted, int64_t *count, void *values);
    cudnnStatus_t (*execute)(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                             cudnnBackendDescriptor_t values);
} sppo__cudnn_library;

extern sppo__cudnn_library sppo__cudnn;

/* NULL once the functions above are there, else why not; looked for once. The library is the file
 * that SPPO_CUDNN names, else what the program has of it already, else libcudnn.so.9. */
const char *sppo__cudnn_load(void);

/* Forgets what cuDNN said, and the reasons it has given since. Heuristics that find no engine are
 * no error to it: why stands in its warnings alone. */
void sppo__cudnn_listen(void);
const char *sppo__cudnn_heard(void);

#endif
