/* sample.c - draws one token for each row of logits, rows in parallel.
 *
 * Tokens are ranked by logit, ties by the lower id. top_k keeps the first k; top_p keeps the
 * shortest run of what top_k left that has at least the share top_p of its probability (one token
 * at least); min_p keeps what is at least min_p times as likely as the likeliest. So every filter
 * ends in a last kept token, and no order beyond it is ever made. The draw walks the kept tokens by
 * id.
 *
 * A weight is exp((logit - maximum) / temperature): 1 for the likeliest token. */

#include "cpu/cpu.h"
#include "cpu/lse.h"
#include "llm/sampler.h"

typedef struct work {
    const struct sppo__sampling *s;
    const float *logits;
    int64_t V, chunks;
} work;

/* Scratch of one row. */
typedef struct row {
    const float *x;  // [V] logits
    int64_t V;
    lse_part *part;  // [chunks]
    double *sum;     // [chunks] of weights
    float *weight;   // [V], 0 for what is filtered out
    int32_t *heap;   // [V] ids
} row;

static int64_t scratch_bytes(int64_t V, int64_t chunks) {
    return chunks * (int64_t)(sizeof(double) + sizeof(lse_part)) +
           (V + VL) * (int64_t)sizeof(float) + V * (int64_t)sizeof(int32_t);
}

static bool ahead(const float *x, int32_t a, int32_t b) {
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

/* Restores the heap (the first in rank on top) below place i. */
static void sift(const float *x, int32_t *heap, int64_t count, int64_t i) {
    int32_t moved = heap[i];
    for (int64_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && ahead(x, heap[child + 1], heap[child])) child++;
        if (!ahead(x, heap[child], moved)) break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* Takes the first in rank off; the places from `count` on hold what was taken, last first. */
static int32_t pop(const float *x, int32_t *heap, int64_t *count) {
    int32_t top = heap[0];
    heap[0] = heap[--*count];
    heap[*count] = top;
    sift(x, heap, *count, 0);
    return top;
}

static void sum_weights(row *r) {
    for (int64_t first = 0, c = 0; first < r->V; first += LSE_CHUNK, c++) {
        int64_t end = r->V - first < LSE_CHUNK ? r->V : first + LSE_CHUNK;
        vf sum = vset(0);
        for (int64_t i = first; i < end; i += VL) sum = sum + vload(r->weight + i);
        r->sum[c] = (double)vsum(sum);
    }
}

static double total_weight(const row *r, int64_t chunks) {
    double total = 0;
    for (int64_t c = 0; c < chunks; c++) total += r->sum[c];
    return total;
}

static void heapify(const float *x, int32_t *heap, int64_t count) {
    for (int64_t i = count / 2 - 1; i >= 0; i--) sift(x, heap, count, i);
}

/* A logit that the first k tokens in rank reach: the k-th of a small part of all. */
static float reached_by(row *r, int64_t k) {
    int64_t count = 4 * k < LSE_CHUNK ? LSE_CHUNK : 4 * k;
    if (count > r->V / 2) return -INFINITY;
    for (int64_t i = 0; i < count; i++) r->heap[i] = (int32_t)i;
    heapify(r->x, r->heap, count);
    for (int64_t i = 1; i < k; i++) pop(r->x, r->heap, &count);
    return r->x[r->heap[0]];
}

/* The last token that top_k and top_p keep. */
static int32_t last_kept(row *r, const sppo_sample_options *o, double total) {
    bool top_k = o->top_k > 0 && o->top_k < r->V;
    double share = (double)o->top_p;
    /* Tokens lighter than this weigh at most (1 - top_p) / 2 together, and all weigh at least 1:
     * the run that top_p keeps ends before them. */
    float least = top_k ? 0 : (float)((1 - share) / 2 / (double)r->V);
    float bound = top_k ? reached_by(r, o->top_k) : -INFINITY;
    int64_t count = 0;
    for (int64_t i = 0; i < r->V; i++) {
        r->heap[count] = (int32_t)i;
        count += (r->weight[i] > least) & (r->x[i] >= bound);
    }
    heapify(r->x, r->heap, count);
    int64_t all = count;
    if (top_k) {
        total = 0;
        for (int64_t i = 0; i < o->top_k && count > 0; i++)
            total += (double)r->weight[pop(r->x, r->heap, &count)];
        if (share >= 1) return r->heap[count];
        // The first k lie behind the heap, from the end on.
        double run = 0;
        for (int64_t i = all - 1; i >= count; i--) {
            run += (double)r->weight[r->heap[i]];
            if (run >= share * total) return r->heap[i];
        }
        return r->heap[count];
    }
    double run = 0;
    for (int32_t id;;) {
        id = pop(r->x, r->heap, &count);
        run += (double)r->weight[id];
        if (run >= share * total || count == 0) return id;
    }
}

/* Zero weight for all that rank behind `last` (-1: for none) or weigh less than min_p. */
static void drop_filtered(row *r, int32_t last, float min_p) {
    float limit = last < 0 ? -INFINITY : r->x[last];
    for (int32_t i = 0; i < r->V; i++) {
        bool kept = (r->x[i] > limit || (r->x[i] == limit && i <= last)) && r->weight[i] >= min_p;
        r->weight[i] = kept ? r->weight[i] : 0;
    }
}

/* The token at which the running sum of weights, by id, passes u times their total. */
static int32_t draw(const row *r, int64_t chunks, double u) {
    double target = u * total_weight(r, chunks), run = 0;
    int64_t chunk = 0;
    for (int64_t c = 0; c < chunks; c++) {
        if (r->sum[c] <= 0) continue;
        chunk = c;
        if (run + r->sum[c] > target) break;
        run += r->sum[c];
    }
    int64_t first = chunk * LSE_CHUNK, id = first;
    int64_t end = r->V - first < LSE_CHUNK ? r->V : first + LSE_CHUNK;
    for (int64_t i = first; i < end; i++) {
        if (r->weight[i] <= 0) continue;
        id = i;
        run += (double)r->weight[i];
        if (run > target) break;
    }
    return (int32_t)id;
}

static int32_t likeliest(const float *x, int64_t V, float maximum) {
    for (int64_t i = 0; i < V; i++)
        if (x[i] == maximum) return (int32_t)i;
    return -1;
}

static int32_t choose(row *r, int64_t chunks, float maximum, const sppo_sample_options *o,
                      double u) {
    if (o->temperature == 0) return likeliest(r->x, r->V, maximum);
    vf shift = vset(maximum), temperature = vset(o->temperature);
    for (int64_t i = 0; i < r->V; i += VL)
        vstore(r->weight + i, vexp((lse_load(r->x, i, r->V) - shift) / temperature));
    sum_weights(r);
    bool cut = (o->top_k > 0 && o->top_k < r->V) || o->top_p < 1;
    if (cut || o->min_p > 0) {
        drop_filtered(r, cut ? last_kept(r, o, total_weight(r, chunks)) : -1, o->min_p);
        sum_weights(r);
    }
    return draw(r, chunks, u);
}

static void row_task(void *context, int64_t task, int thread) {
    const work *w = context;
    const struct sppo__sampling *s = w->s;
    char *scratch = sppo__scratch(thread);
    row r = {.x = w->logits + task * w->V, .V = w->V};
    r.sum = (double *)scratch;
    r.part = (lse_part *)(r.sum + w->chunks);
    r.weight = (float *)(r.part + w->chunks);
    r.heap = (int32_t *)(r.weight + w->V + VL);
    float maximum = -INFINITY;
    for (int64_t c = 0; c < w->chunks; c++) {
        int64_t first = c * LSE_CHUNK;
        r.part[c] = lse_chunk(r.x + first, w->V - first < LSE_CHUNK ? w->V - first : LSE_CHUNK);
        if (r.part[c].maximum > maximum) maximum = r.part[c].maximum;
    }
    float lse = lse_merge(r.part, w->chunks);
    s->ids[task] = -1;
    if (!isfinite(lse)) return;
    const uint32_t *key = s->keys + 4 * task;
    int32_t id = choose(&r, w->chunks, maximum, &s->options,
                        sppo_philox_uniform(s->seed, key[0], key[1], key[2], key[3]));
    s->ids[task] = id;
    s->logprobs[task] = r.x[id] - lse;
}

sppo_status KERNEL(sample)(sppo__call *c) {
    work w = {.s = c->sampling, .logits = sppo__f32(c->in[0]), .V = c->in[0]->shape[1]};
    w.chunks = (w.V + LSE_CHUNK - 1) / LSE_CHUNK;
    sppo_status st = sppo__scratch_reserve(scratch_bytes(w.V, w.chunks));
    if (!st) sppo__parallel(c->in[0]->shape[0], row_task, &w);
    return st;
}
