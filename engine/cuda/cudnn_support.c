/* cudnn_support.c - which engines run a graph on a device, at hand or only described.
 *
 * Heuristics say what runs: a graph that nothing runs is no error to them but an empty list. */

#include <stdio.h>
#include <string.h>

#include "cuda/cudnn_graph.h"

enum { MOST_ENGINES = 16 };

static sppo_status need_library(void) {
    const char *why = sppo__cudnn_load();
    return why ? sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDNN_MISSING, "cudnn", why) : SPPO_OK;
}

sppo_status sppo__sdpa_version(int *major, int *minor, int *patch) {
    sppo_status st = need_library();
    if (st) return st;
    int version = (int)sppo__cudnn.version();
    *major = version / 10000;
    *minor = version / 100 % 100;
    *patch = version % 100;
    return SPPO_OK;
}

/* A device by its properties, or if NULL the handle's. */
static cudnnBackendDescriptor_t make_device(sppo__graph *g, const char *json,
                                            cudnnHandle_t handle) {
    cudnnBackendDescriptor_t d =
        sppo__graph_make(g, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "the device's properties");
    if (json)
        sppo__graph_set(g, d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                        (int64_t)strlen(json), json);
    else sppo__graph_set(g, d, CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    sppo__graph_finish(g, d);
    return d;
}

/* How many configurations run the graph; the one that is thought fastest becomes g->engine. What is
 * counted first are candidates: only those that are asked for are tried. */
static int64_t ask(sppo__graph *g, cudnnBackendDescriptor_t graph) {
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    cudnnBackendAttributeName_t results = CUDNN_ATTR_ENGINEHEUR_RESULTS;
    cudnnBackendDescriptor_t engine[MOST_ENGINES];
    int64_t candidates = 0, count = 0;
    cudnnBackendDescriptor_t d =
        sppo__graph_make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "the heuristics");
    sppo__graph_set(g, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                    &graph);
    sppo__graph_set(g, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    sppo__graph_set(g, d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                    &g->device);
    sppo__graph_finish(g, d);
    sppo__graph_get(g, d, results, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &candidates, NULL);
    if (candidates > MOST_ENGINES) candidates = MOST_ENGINES;
    for (int64_t i = 0; i < candidates; i++)
        engine[i] = sppo__graph_make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "an engine");
    if (candidates)
        sppo__graph_get(g, d, results, CUDNN_TYPE_BACKEND_DESCRIPTOR, candidates, &count, engine);
    g->engine = count ? engine[0] : NULL;
    return count;
}

int64_t sppo__graph_find_engine(sppo__graph *g, const sppo__sdpa_shape *shape, const char *json,
                                cudnnHandle_t handle, char *reason, size_t room) {
    sppo__graph_new(g);
    sppo__cudnn_listen();
    g->device = make_device(g, json, handle);
    sppo__graph_sdpa(g, shape);
    int64_t engines = ask(g, sppo__graph_end(g));
    const char *heard = sppo__cudnn_heard();
    if (!engines) snprintf(reason, room, "%s", *heard ? heard : "cuDNN gives no reason");
    return engines;
}

sppo_status sppo__sdpa_support_of(const char *device, const sppo__sdpa_shape *shape,
                                  sppo__sdpa_support *out) {
    sppo_status st = need_library();
    if (st) return st;
    sppo__graph g;
    int64_t got = 0;
    *out = (sppo__sdpa_support){.workspace = -1};
    out->engines =
        (int)sppo__graph_find_engine(&g, shape, device, NULL, out->reason, sizeof out->reason);
    if (out->engines)
        sppo__graph_get(&g, g.engine, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                        &got, &out->workspace);
    st = sppo__graph_result(&g, "cudnn");
    sppo__graph_free(&g);
    return st;
}
