/* later.c - one launch that waits for the op behind it.
 *
 * What a decode step costs beside its weights is launches, and an op alone does not know who reads
 * its output. So the launch of some ops (rms_norm, add, rope, swiglu, geglu, attention) waits. The
 * next op may take it into its own kernel (rms_norm an add, rope a rope), or a product may ask it to
 * write its values in bf16 too, which saves a pass over them. Whatever else uses the stream sends it
 * off first: everything gets the stream from sppo__cuda_stream, each time anew. Bits are the same as
 * without waiting: sums and roundings stay where they were. */

#include <string.h>

#include "cuda/cuda.h"
#include "cuda/device.h"

static struct {
    sppo__op op;
    const void *out;  // NULL: nothing waits
    int64_t count;
    sppo__cuda_launch launch;
    _Alignas(16) char arguments[SPPO_CUDA_LATER_BYTES];
} later;

/* Memory that the engine released while something waited. */
enum { KEPT = 32 };
static struct {
    void *data;
    int64_t bytes;
} kept[KEPT];
static int kept_count;

static sppo__cuda_launch take(void) {
    sppo__cuda_launch launch = later.out ? later.launch : NULL;
    later.out = NULL;
    return launch;
}

/* The launch asks for the stream, which is to find nothing that waits. */
static void send(void *rounded) {
    sppo__cuda_launch launch = take();
    int count = kept_count;
    if (launch) launch(later.arguments, rounded);
    kept_count = 0;
    for (int i = 0; i < count; i++) sppo__cuda.give(kept[i].data, kept[i].bytes);
}

void sppo__cuda_flush(void) {
    if (later.out) send(NULL);
}

bool sppo__cuda_keeps(void *data, int64_t bytes) {
    if (later.out && kept_count == KEPT) sppo__cuda_flush();
    if (!later.out) return false;
    kept[kept_count].data = data;
    kept[kept_count++].bytes = bytes;
    return true;
}

sppo_status sppo__cuda_later(const sppo__call *c, sppo__cuda_launch launch, const void *arguments,
                             size_t bytes) {
    sppo__cuda_flush();
    if (sppo__cuda_synchronous()) {
        launch(arguments, NULL);
        return sppo__cuda_launched(c);
    }
    memcpy(later.arguments, arguments, bytes);
    later.op = c->op;
    later.launch = launch;
    later.count = sppo_tensor_count(c->out[0]);
    later.out = sppo__raw(c->out[0]);
    return SPPO_OK;
}

const void *sppo__cuda_waiting(sppo__op op) {
    return later.out && later.op == op ? later.arguments : NULL;
}

void sppo__cuda_taken(void) {
    take();
}

bool sppo__cuda_rounds(const void *x, int64_t count, void *rounded) {
    if (!later.out || later.out != x || later.count != count || later.op == SPPO_OP_ADD ||
        later.op == SPPO_OP_ROPE)
        return false;
    send(rounded);
    return true;
}
