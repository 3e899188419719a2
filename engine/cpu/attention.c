/* attention.c - forward attention over pages of 64 keys, with a running maximum and sum.
 *
 * A row meets its pages in one order: oldest ancestor first, each segment's pages from its first
 * token. Each page is merged by log-sum-exp into what the row has so far (merge_page), from the
 * row's first visible key to its last; a page of which it sees nothing is passed over. Nothing else
 * decides a row's bits: not its place in a block, the batch, the threads, nor whether pages come
 * from the store or were packed from the batch. */

#include "cpu/attention.h"

#include <math.h>

#include "core/error.h"

typedef struct attention {
    attention_sizes s;
    const sppo_segments *at;
    const float *q, *k, *v;
    float *out, *lse;
    float *pages;         // this layer's part of page 0
    const int32_t *next;  // page after each page; NULL where pages just count up
    int64_t page_stride, head_stride;
    int64_t chunk;  // tokens of a task; 0: a whole tree
} attention;

/* A thread's rows. */
typedef struct block {
    float *q;           // [rows][D], scaled
    float *score;       // [rows][64]
    float *sum_v;       // [rows][W], relative to exp(maximum)
    float *maximum;     // [rows]
    float *sum;         // [rows]
    float *highest;     // [rows] maximum after this page
    float *shrink;      // [rows] exp(old maximum - new maximum)
    int32_t *position;  // [tokens], with a window
} block;

static block block_at(const attention_sizes *s, float *scratch) {
    int64_t rows = attention_rows(s);
    block b;
    b.maximum = scratch;
    b.sum = b.maximum + rows;
    b.highest = b.sum + rows;
    b.shrink = b.highest + rows;
    b.position = (int32_t *)(b.shrink + rows);
    b.score = b.shrink + 2 * rows;
    b.sum_v = b.score + rows * SPPO_PAGE;
    b.q = b.sum_v + rows * s->W;
    return b;
}

static int32_t page_after(const attention *a, int32_t page) {
    return a->next ? a->next[page] : page + 1;
}

/* Keys [D][64] of a page; its values [64][W] follow. */
static float *page_keys(const attention *a, int32_t page, int64_t kv_head) {
    return a->pages + page * a->page_stride + kv_head * a->head_stride;
}

/* Writes a node's keys and values of this batch behind those it has. */
static void append(const attention *a, const sppo__node *node, int64_t kv_head) {
    int64_t D = a->s.D, W = a->s.W, stride = a->s.kv_heads * D;
    if (!node->count) return;
    int32_t page = (int32_t)node->page;
    for (int64_t i = node->offset / SPPO_PAGE; i > 0; i--) page = page_after(a, page);
    int64_t column = node->offset % SPPO_PAGE;
    for (int64_t done = 0; done < node->count; column = 0, page = page_after(a, page)) {
        int64_t count = SPPO_PAGE - column;
        if (count > node->count - done) count = node->count - done;
        float *keys = page_keys(a, page, kv_head), *values = keys + D * SPPO_PAGE;
        const float *k = a->k + (node->start + done) * stride + kv_head * D;
        const float *v = a->v + (node->start + done) * stride + kv_head * D;
        for (int64_t d = 0; d < D; d++)
            for (int64_t i = 0; i < count; i++)
                keys[d * SPPO_PAGE + column + i] = k[i * stride + d];
        // What pads a row reaches only sums that pad a row, which nothing reads.
        for (int64_t i = 0; i < count; i++)
            memcpy(values + (column + i) * W, v + i * stride, sizeof *v * (size_t)D);
        done += count;
    }
}

/* What a token of the block from `base` sees. */
static inline attention_keys sees(const block *b, const attention_sizes *s, const sppo__node *node,
                                  int64_t page, int64_t token, int64_t base) {
    return attention_sees(s, node, page, token, s->window ? b->position[token - base] : 0);
}

/* The page's largest score of each row, and the shrinking of what the row has so far. */
static void raise_maxima(block *b, const attention_sizes *s, const sppo__node *node, int64_t page,
                         int64_t width, int64_t first, int64_t last, int64_t base) {
    for (int64_t token = first; token < last; token++) {
        attention_keys keys = sees(b, s, node, page, token, base);
        for (int64_t r = (token - base) * s->G; r < (token - base + 1) * s->G; r++) {
            float *score = b->score + r * SPPO_PAGE;
            for (int64_t i = 0; s->cap > 0 && i < width; i += VL)
                vstore(score + i, vsoftcap(vload(score + i), s->cap));
            for (int64_t i = 0; i < keys.begin; i++) score[i] = -INFINITY;
            for (int64_t i = keys.end; i < width; i++) score[i] = -INFINITY;
            vf m = vload(score);
            for (int64_t i = VL; i < width; i += VL) m = vmax(m, vload(score + i));
            float highest = vmaximum(m);
            b->highest[r] = highest > b->maximum[r] ? highest : b->maximum[r];
        }
    }
    // Whole vectors: the lanes of other rows are not used.
    int64_t rows = (last - base) * s->G;
    for (int64_t r = (first - base) * s->G / VL * VL; r < rows; r += VL)
        vstore(b->shrink + r, vexp(vload(b->maximum + r) - vload(b->highest + r)));
}

/* Scores become weights relative to the new maximum. */
static void weigh(block *b, const attention_sizes *s, int64_t width, int64_t first_row,
                  int64_t last_row) {
    for (int64_t r = first_row; r < last_row; r++) {
        float *score = b->score + r * SPPO_PAGE;
        vf highest = vset(b->highest[r]), sum = vset(0.0f);
        for (int64_t i = 0; i < width; i += VL) {
            vf p = vexp(vload(score + i) - highest);
            vstore(score + i, p);
            sum = sum + p;
        }
        float shrink = b->shrink[r];
        b->sum[r] = sfma(b->sum[r], shrink, vsum(sum));
        b->maximum[r] = b->highest[r];
        float *sum_v = b->sum_v + r * s->W;
        for (int64_t i = 0; i < s->W; i += VL) vstore(sum_v + i, vload(sum_v + i) * vset(shrink));
    }
}

/* Merges page `page` of a node into the rows of tokens first .. last of the block from `base`, each
 * of which sees some of it. */
static void merge_page(block *b, const attention_sizes *s, const sppo__node *node, int64_t page,
                       const float *keys, int64_t first, int64_t last, int64_t base) {
    const float *values = keys + s->D * SPPO_PAGE;
    int64_t row = (first - base) * s->G, end = (last - base) * s->G;
    int64_t width = 0;  // columns that some row sees, in whole vectors of any instruction set
    for (int64_t token = first; token < last; token++) {
        int64_t visible = sees(b, s, node, page, token, base).end;
        if (visible > width) width = visible;
    }
    width = (width + 15) / 16 * 16;
    tile_f32_narrow(width, end - row, s->D, b->q + row * s->D, s->D, keys, SPPO_PAGE,
                    b->score + row * SPPO_PAGE, SPPO_PAGE);
    raise_maxima(b, s, node, page, width, first, last, base);
    weigh(b, s, width, row, end);
    // A product for each run of tokens that see the same keys: a masked value is never read.
    for (int64_t token = first; token < last;) {
        attention_keys seen = sees(b, s, node, page, token, base), next;
        int64_t from = token;
        do {
            if (++token == last) break;
            next = sees(b, s, node, page, token, base);
        } while (next.begin == seen.begin && next.end == seen.end);
        row = (from - base) * s->G;
        for (int64_t w = 0; w < s->W; w += SPPO_PANEL)
            tile_f32((token - from) * s->G, seen.end - seen.begin,
                     b->score + row * SPPO_PAGE + seen.begin, SPPO_PAGE, 1,
                     values + seen.begin * s->W + w, s->W, b->sum_v + row * s->W + w, s->W, true);
    }
}

/* The same for tokens of which some see nothing of the page, being too far behind it. */
static void merge_seen(block *b, const attention_sizes *s, const sppo__node *node, int64_t page,
                       const float *keys, int64_t first, int64_t last, int64_t base) {
    for (int64_t token = first, from; token < last;) {
        for (; token < last; token++) {
            attention_keys k = sees(b, s, node, page, token, base);
            if (k.begin < k.end) break;
        }
        for (from = token; token < last; token++) {
            attention_keys k = sees(b, s, node, page, token, base);
            if (k.begin == k.end) break;
        }
        if (from < token) merge_page(b, s, node, page, keys, from, token, base);
    }
}

static void start_rows(const attention *a, block *b, int64_t kv_head, int first, int last,
                       int64_t lo, int64_t hi) {
    const attention_sizes *s = &a->s;
    int64_t rows = attention_rows(s), r = 0;
    for (int64_t i = 0; i < rows; i++) {
        b->maximum[i] = b->highest[i] = -INFINITY;
        b->sum[i] = 0;
    }
    memset(b->sum_v, 0, sizeof *b->sum_v * (size_t)((hi - lo) * s->G * s->W));
    if (s->window) attention_positions(a->at, first, last, lo, hi, b->position);
    attention_run run;
    while (attention_next_run(a->at, &first, last, lo, hi, &run))
        for (; run.begin < run.end; run.begin++, run.row++) {
            const float *q = a->q + (run.row * s->heads + kv_head * s->G) * s->D;
            float *dst = b->q + r * s->D;
            for (int64_t i = 0; i < s->G * s->D; i++) dst[i] = q[i] * s->scale;
            r += s->G;
        }
}

static void finish_rows(const attention *a, const block *b, int64_t kv_head, int first, int last,
                        int64_t lo, int64_t hi) {
    const attention_sizes *s = &a->s;
    int64_t r = 0;
    attention_run run;
    while (attention_next_run(a->at, &first, last, lo, hi, &run))
        for (; run.begin < run.end; run.begin++, run.row++)
            for (int64_t g = 0; g < s->G; g++, r++) {
                int64_t head = run.row * s->heads + kv_head * s->G + g;
                float share = 1.0f / b->sum[r], *out = a->out + head * s->D;
                for (int64_t i = 0; i < s->D; i++) out[i] = b->sum_v[r * s->W + i] * share;
                a->lse[head] = b->maximum[r] + logf(b->sum[r]);
            }
}

/* Tokens lo .. hi (tree order) of the tree of nodes first .. last, for one kv head. */
static void attend(const attention *a, block *b, int64_t kv_head, int first, int last, int64_t lo,
                   int64_t hi) {
    start_rows(a, b, kv_head, first, last, lo, hi);
    for (int n = first; n < last; n++) {
        const sppo__node *node = &a->at->node[n];
        int64_t begin = node->begin > lo ? node->begin : lo;
        int64_t end = node->end < hi ? node->end : hi;
        int64_t pages = (node->offset + node->count + SPPO_PAGE - 1) / SPPO_PAGE;
        int32_t page = (int32_t)node->page;
        for (int64_t i = 0; i < pages; i++, page = page_after(a, page)) {
            int64_t seeing = attention_first(&a->s, node, i, begin);
            if (seeing >= end) break;
            const float *keys = page_keys(a, page, kv_head);
            if (a->s.window) merge_seen(b, &a->s, node, i, keys, seeing, end, lo);
            else merge_page(b, &a->s, node, i, keys, seeing, end, lo);
        }
    }
    finish_rows(a, b, kv_head, first, last, lo, hi);
}

/* The tokens of a node are read by no task but the one that has tokens lo .. hi. */
static bool private_to(const sppo__node *node, int64_t lo, int64_t hi) {
    return node->end == node->begin + node->count && node->begin >= lo && node->end <= hi;
}

static int64_t chunks(const attention *a, int64_t tree) {
    const sppo__node *root = &a->at->node[a->at->tree[tree]];
    return (root->end - root->begin + a->chunk - 1) / a->chunk;
}

static void attention_task(void *context, int64_t task, int thread) {
    const attention *a = context;
    int64_t kv_head = task % a->s.kv_heads, tree = task / a->s.kv_heads, chunk = 0;
    if (a->chunk) {
        chunk = tree;
        for (tree = 0; chunk >= chunks(a, tree); tree++) chunk -= chunks(a, tree);
    }
    int first = a->at->tree[tree], last = a->at->tree[tree + 1];
    const sppo__node *root = &a->at->node[first];
    int64_t lo = root->begin + chunk * a->chunk, hi = root->end;
    if (a->chunk && hi - lo > a->chunk) hi = lo + a->chunk;
    for (int n = first; n < last; n++)
        if (!a->chunk || private_to(&a->at->node[n], lo, hi)) append(a, &a->at->node[n], kv_head);
    block b = block_at(&a->s, sppo__scratch(thread));
    for (; lo < hi; lo += a->s.block)
        attend(a, &b, kv_head, first, last, lo, lo + a->s.block < hi ? lo + a->s.block : hi);
}

/* Where the pages are: the store's for this layer, or room for this call's keys. */
static sppo_status place_pages(attention *a, int64_t layer, sppo__storage **packed) {
    const sppo_kv *kv = a->at->kv;
    a->head_stride = sppo__kv_head_floats(a->s.D);
    if (kv) {
        a->pages = (float *)kv->storage->data + layer * a->s.kv_heads * a->head_stride;
        a->page_stride = kv->page_stride;
        a->next = kv->next;
        return SPPO_OK;
    }
    a->page_stride = a->s.kv_heads * a->head_stride;
    sppo_status st = sppo__work_new(packed, SPPO_DEVICE_CPU, a->at->pages * a->page_stride * 4,
                                    false, "attention");
    if (!st) a->pages = (*packed)->data;
    return st;
}

/* Too few trees to go round: cuts them into chunks of tokens, and stores what several chunks read.
 * Returns the number of chunks. */
static int64_t cut_trees(attention *a) {
    int64_t wanted = 4 * sppo_threads() / a->s.kv_heads + 1, tasks = 0;
    a->chunk = (a->at->tokens + wanted - 1) / wanted;
    if (a->chunk > a->s.block) a->chunk = a->s.block;
    if (a->chunk < 1) a->chunk = 1;
    for (int t = 0; t < a->at->trees; t++) {
        const sppo__node *root = &a->at->node[a->at->tree[t]];
        for (int n = a->at->tree[t]; n < a->at->tree[t + 1]; n++) {
            const sppo__node *node = &a->at->node[n];
            int64_t lo = root->begin + (node->begin - root->begin) / a->chunk * a->chunk;
            if (private_to(node, lo, lo + a->chunk)) continue;
            for (int64_t h = 0; h < a->s.kv_heads; h++) append(a, node, h);
        }
        tasks += chunks(a, t);
    }
    return tasks;
}

sppo_status KERNEL(attention)(sppo__call *c) {
    attention a = {.s = sppo__attention_sizes(c),
                   .at = c->at,
                   .q = sppo__f32(c->in[0]),
                   .k = sppo__f32(c->in[1]),
                   .v = sppo__f32(c->in[2]),
                   .out = sppo__f32(c->out[0]),
                   .lse = sppo__f32(c->out[1])};
    sppo__storage *packed = NULL;
    sppo_status st = sppo__scratch_reserve(attention_block_floats(&a.s) * 4);
    if (!st) st = place_pages(&a, c->i[0], &packed);
    if (st) return st;
    int64_t keys = sppo__attention_seen(a.at, a.s.window);
    sppo__read_add(4 * a.s.D * (a.at->tokens * a.s.heads + 2 * keys * a.s.kv_heads));
    int64_t tasks = a.at->trees;
    if (tasks * a.s.kv_heads < 4 * sppo_threads()) tasks = cut_trees(&a);
    sppo__parallel(tasks * a.s.kv_heads, attention_task, &a);
    sppo__storage_release(packed);
    return SPPO_OK;
}
