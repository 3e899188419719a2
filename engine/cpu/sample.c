/* sample.c - draws one token for each row of logits, rows in parallel.
 *
 * Tokens are ranked by logit, ties by the lower id. top_k keeps the first k; top_p keeps the
 * shortest run of what top_k left that has at least the share top_p of its probability (one token
 * at least); min_p keeps what is at least min_p times as likely as the likeliest. So every filter
 * ends in a last kept token: only the few tokens that can be kept are ever put in order. The draw
 * walks the kept tokens by id.
 *
 * A weight is exp((logit - maximum) / temperature): 1 for the likeliest token. */

#include <float.h>
#include <stdlib.h>

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
    int64_t V, chunks;
    lse_part *part;  // [chunks]
    double *sum;     // [chunks] of weights
    float *weight;   // [V]; zeros behind, to a whole vector
    int32_t *heap;   // [V] ids
} row;

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

static void heapify(const float *x, int32_t *heap, int64_t count) {
    for (int64_t i = count / 2 - 1; i >= 0; i--) sift(x, heap, count, i);
}

static double sum_weights(row *r) {
    double total = 0;
    for (int64_t first = 0, c = 0; first < r->V; first += LSE_CHUNK, c++) {
        int64_t end = r->V - first < LSE_CHUNK ? r->V : first + LSE_CHUNK;
        vf sum = vset(0);
        for (int64_t i = first; i < end; i += VL) sum = sum + vload(r->weight + i);
        r->sum[c] = (double)vsum(sum);
        total += r->sum[c];
    }
    return total;
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

/* A weight such that the tokens that have at least as much make up `wanted` together; 0 if it would
 * be very small. */
static float weight_that_reaches(const row *r, double wanted) {
    enum { STEPS = 6 };
    static const float weight[STEPS] = {0x1p-3f, 0x1p-6f, 0x1p-9f, 0x1p-12f, 0x1p-15f, 0x1p-18f};
    vf sum[STEPS];
    for (int s = 0; s < STEPS; s++) sum[s] = vset(0);
    for (int64_t i = 0; i < r->V; i += VL) {
        vf w = vload(r->weight + i);
        for (int s = 0; s < STEPS; s++) sum[s] = sum[s] + vselect(w >= weight[s], w, vset(0));
    }
    // A margin for the rounding of these sums; too few would be found out and only cost time.
    for (int s = 0; s < STEPS; s++)
        if ((double)vsum(sum[s]) > wanted * 1.00001) return weight[s];
    return 0;
}

/* Ids whose value is at least `least`, into the heap; their number. */
static int64_t collect(row *r, const float *value, float least) {
    int64_t count = 0, i = 0;
    for (; i + VL <= r->V; i += VL) {
        if (!vany_at_least(vload(value + i), least)) continue;
        for (int64_t j = i; j < i + VL; j++) {
            r->heap[count] = (int32_t)j;
            count += value[j] >= least;
        }
    }
    for (; i < r->V; i++) {
        r->heap[count] = (int32_t)i;
        count += value[i] >= least;
    }
    return count;
}

/* Pops until a share of `total` has been taken or `most` tokens were; false if the heap was empty
 * before. The kept tokens lie from *left on. */
static bool take(const row *r, int64_t count, int64_t most, double wanted, int64_t *left) {
    double run = 0;
    for (int64_t taken = 1; count > 0; taken++) {
        run += (double)r->weight[pop(r->x, r->heap, &count)];
        if (taken == most || run >= wanted) {
            *left = count;
            return true;
        }
    }
    *left = 0;
    return false;
}

/* The first k tokens in rank, and of these the shortest run with a share of their weight. */
static int64_t keep_top_k(row *r, int64_t k, double share, int64_t *first) {
    int64_t count = collect(r, r->x, reached_by(r, k)), left;
    heapify(r->x, r->heap, count);
    take(r, count, k, (double)INFINITY, &left);
    double total = 0, run = 0;
    for (int64_t i = count - 1; i >= left; i--) total += (double)r->weight[r->heap[i]];
    *first = left;
    for (int64_t i = count - 1; i >= left && share < 1; i--) {
        run += (double)r->weight[r->heap[i]];
        *first = i;
        if (run >= share * total) break;
    }
    return count;
}

static int64_t keep_top_p(row *r, double wanted, int64_t *first) {
    float least = weight_that_reaches(r, wanted);
    for (;;) {
        int64_t count = collect(r, r->weight, least);
        heapify(r->x, r->heap, count);
        if (take(r, count, r->V, wanted, first) || least <= 0) return count;
        least = 0;
    }
}

static int by_id(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* A token of those that the filters keep. */
static int32_t draw_kept(row *r, const sppo_sample_options *o, double u) {
    int64_t first = 0, count;
    double share = (double)o->top_p;
    if (o->top_k > 0 && o->top_k < r->V) count = keep_top_k(r, o->top_k, share, &first);
    else if (share < 1) count = keep_top_p(r, share * sum_weights(r), &first);
    else count = collect(r, r->weight, o->min_p);
    int32_t *id = r->heap + first;
    count -= first;
    qsort(id, (size_t)count, sizeof *id, by_id);
    int64_t kept = 0;
    double total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (r->weight[id[i]] < o->min_p) continue;
        total += (double)r->weight[id[i]];
        id[kept++] = id[i];
    }
    double run = 0;
    for (int64_t i = 0; i < kept; i++) {
        run += (double)r->weight[id[i]];
        if (run > u * total) return id[i];
    }
    return id[kept - 1];
}

/* The token at which the running sum of weights, by id, passes u times their total. */
static int32_t draw(row *r, double u) {
    double target = u * sum_weights(r), run = 0;
    int64_t chunk = 0;
    for (int64_t c = 0; c < r->chunks; c++) {
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

static int32_t choose(row *r, float maximum, const sppo_sample_options *o, double u) {
    if (o->temperature == 0) return likeliest(r->x, r->V, maximum);
    vf shift = vset(maximum), share = vset(fminf(1 / o->temperature, FLT_MAX));
    for (int64_t i = 0; i < r->V; i += VL)
        vstore(r->weight + i, vexp((lse_load(r->x, i, r->V) - shift) * share));
    bool filtered = (o->top_k > 0 && o->top_k < r->V) || o->top_p < 1 || o->min_p > 0;
    return filtered ? draw_kept(r, o, u) : draw(r, u);
}

static void row_task(void *context, int64_t task, int thread) {
    const work *w = context;
    const struct sppo__sampling *s = w->s;
    char *scratch = sppo__scratch(thread);
    row r = {.x = w->logits + task * w->V, .V = w->V, .chunks = w->chunks};
    r.sum = (double *)scratch;
    r.part = (lse_part *)(r.sum + w->chunks);
    r.weight = (float *)(r.part + w->chunks);
    r.heap = (int32_t *)(r.weight + w->V + SAMPLE_PADDING);
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
    int32_t id = choose(&r, maximum, &s->options,
                        sppo_philox_uniform(s->seed, key[0], key[1], key[2], key[3]));
    s->ids[task] = id;
    s->logprobs[task] = r.x[id] - lse;
}

sppo_status KERNEL(sample)(sppo__call *c) {
    work w = {.s = c->sampling, .logits = sppo__f32(c->in[0]), .V = c->in[0]->shape[1]};
    w.chunks = lse_chunks(w.V);
    sppo__read_add(c->in[0]->shape[0] * w.V * (int64_t)sizeof(float));
    sppo_status st = sppo__scratch_reserve(sppo__workspace_sample(c).scratch);
    if (!st) sppo__parallel(c->in[0]->shape[0], row_task, &w);
    return st;
}
