/* graph.c - a decode step as one CUDA graph.
 *
 * Between begin and end of a step (an arena's, core/storage.c) what the ops put on the stream is
 * captured on a second one. Whatever waits ends the capture: the graph goes to the first stream with
 * one launch. An executable graph is kept for each number of nodes and takes over the addresses,
 * sizes and numbers of the next step (cudaGraphExecUpdate), so nothing in it grows old: where pages
 * moved, rows ended or weights lie elsewhere, the update says so to it; where the update fails, as
 * when cuBLAS chose other kernels, it is made anew. The graph holds no memory: what is taken during a
 * capture comes from the first stream, which runs nothing meanwhile; what is given back serves the
 * same step again, as in an arena, and goes back behind the graph.
 *
 * Off with SPPO_CUDA_GRAPHS=0 or SPPO_SYNC=1. The process's first step is never captured: it sizes
 * tables and loads kernels. */

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"
#include "cuda/device.h"

enum { GRAPHS = 8 };

static struct {
    size_t nodes;
    cudaGraphExec_t graph;
} kept[GRAPHS];
static int next_kept;  // the one to be replaced next
static cudaStream_t side;
static bool capturing, warm;

/* Given back during the capture. */
typedef struct block {
    void *data;
    int64_t bytes;
} block;
static block *blocks;
static int block_count, block_room;

static bool wanted(void) {
    const char *text = getenv("SPPO_CUDA_GRAPHS");
    return !(text && !strcmp(text, "0")) && !sppo__cuda_synchronous();
}

cudaStream_t sppo__cuda_capturing(void) {
    return capturing ? side : NULL;
}

sppo_status sppo__cuda_step_begin(void) {
    if (!wanted()) return SPPO_OK;
    if (!warm) {
        warm = true;
        return SPPO_OK;
    }
    sppo__cuda_flush();  // from before the step
    cudaError_t e = cudaSuccess;
    if (!side) e = cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking);
    if (e == cudaSuccess) e = cudaStreamBeginCapture(side, cudaStreamCaptureModeRelaxed);
    capturing = e == cudaSuccess;
    return sppo__cuda_result("decode step", e);
}

bool sppo__cuda_recycles(void *data, int64_t bytes) {
    if (!capturing) return false;
    if (block_count == block_room) {
        int room = block_room ? 2 * block_room : 64;
        block *more = realloc(blocks, (size_t)room * sizeof *more);
        if (!more) {  // the memory may go once the graph is sent off
            sppo__cuda_submit();
            return false;
        }
        blocks = more;
        block_room = room;
    }
    blocks[block_count++] = (block){data, bytes};
    return true;
}

void *sppo__cuda_recycled(int64_t bytes) {
    for (int i = 0; capturing && i < block_count; i++) {
        if (blocks[i].bytes != bytes) continue;
        void *data = blocks[i].data;
        blocks[i] = blocks[--block_count];
        return data;
    }
    return NULL;
}

/* The executable graph for `graph`, whose nodes are `nodes`. */
static cudaError_t prepare(cudaGraph_t graph, size_t nodes, cudaGraphExec_t *out) {
    int i = 0;
    while (i < GRAPHS && kept[i].nodes != nodes) i++;
    if (i < GRAPHS) {
        cudaGraphExecUpdateResultInfo why;
        *out = kept[i].graph;
        if (cudaGraphExecUpdate(*out, graph, &why) == cudaSuccess) return cudaSuccess;
        cudaGetLastError();
    } else {
        i = next_kept;
        next_kept = (next_kept + 1) % GRAPHS;
    }
    if (kept[i].nodes) cudaGraphExecDestroy(kept[i].graph);
    kept[i].nodes = 0;
    cudaError_t e = cudaGraphInstantiate(out, graph, 0);
    if (e != cudaSuccess) return e;
    kept[i].nodes = nodes;
    kept[i].graph = *out;
    return cudaSuccess;
}

cudaError_t sppo__cuda_submit(void) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t ready;
    size_t nodes = 0;
    if (!capturing) return cudaSuccess;
    sppo__cuda_flush();  // belongs to the step
    capturing = false;
    cudaError_t e = cudaStreamEndCapture(side, &graph);
    if (e == cudaSuccess) e = cudaGraphGetNodes(graph, NULL, &nodes);
    if (e == cudaSuccess && nodes) e = prepare(graph, nodes, &ready);
    if (e == cudaSuccess && nodes) e = cudaGraphLaunch(ready, sppo__cuda_stream());
    if (graph) cudaGraphDestroy(graph);
    int count = block_count;
    block_count = 0;
    for (int i = 0; i < count; i++) sppo__cuda.give(blocks[i].data, blocks[i].bytes);
    return e;
}

sppo_status sppo__cuda_step_end(void) {
    return sppo__cuda_result("decode step", sppo__cuda_submit());
}
