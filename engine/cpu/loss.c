/* loss.c - log-probs of given tokens: output projection, log-softmax and gather in one pass over
 * chunks of the vocabulary, and its gradients. No [n, V] is made.
 *
 * n rows of hidden, D columns, V rows of the weight; a chunk is 1024 of the vocabulary. */

#include "cpu/cpu.h"
#include "cpu/lse.h"
#include "cpu/panel.h"

enum { CHUNK_PANELS = LSE_CHUNK / 64, ROWS = HEAD_ROWS };

typedef struct head {
    int64_t n, D, V, chunks, row_blocks;
    sppo_dtype dtype;
    int64_t bytes;  // of one panel
    const char *panel;
    panel_rows hidden;
    const int32_t *target;
    float cap;  // 0: logits as they are
} head;

static head head_of(const sppo__call *c) {
    const sppo_tensor *hidden = c->in[0], *weight = c->in[1];
    head h = {.n = hidden->shape[0],
              .D = hidden->shape[1],
              .V = weight->shape[0],
              .dtype = weight->dtype,
              .panel = sppo__raw(weight),
              .hidden.x = sppo__f32(hidden),
              .target = sppo__i32(c->in[2]),
              .cap = c->f[0]};
    h.bytes = panel_bytes(h.dtype, h.D);
    h.chunks = lse_chunks(h.V);
    h.row_blocks = (h.n + ROWS - 1) / ROWS;
    return h;
}

/* The rows as logits_block reads them; to be followed by end. */
static sppo_status begin(head *h) {
    return h->dtype == SPPO_DTYPE_Q8_0 ? panel_quantize(&h->hidden, h->n, h->D, "token_logprob")
                                       : SPPO_OK;
}

static void end(head *h) {
    sppo__storage_release(h->hidden.memory);
}

/* Logits of `rows` rows from `row` on, for `panels` panels from `panel` on. */
static void logits_block(const head *h, int64_t row, int64_t rows, int64_t panel, int64_t panels,
                         float *logits, int64_t ld) {
    panel_rows hidden = panel_rows_from(&h->hidden, row, h->D);
    for (int64_t p = 0; p < panels; p++)
        panel_forward(h->dtype, h->panel + (panel + p) * h->bytes, NULL, rows, h->D, &hidden,
                      logits + p * 64, ld);
}

_Static_assert(sizeof(lse_part) == LSE_PART_BYTES, "ops/workspace.h counts these");

typedef struct forward {
    head h;
    float *picked;   // [n]: the target's logit
    lse_part *part;  // [n, chunks]
} forward;

static void forward_task(void *context, int64_t task, int thread) {
    const forward *f = context;
    const head *h = &f->h;
    float *logits = sppo__scratch(thread);
    int64_t chunk = task / h->row_blocks, row = task % h->row_blocks * ROWS;
    int64_t rows = h->n - row < ROWS ? h->n - row : ROWS, first = chunk * LSE_CHUNK;
    int64_t count = h->V - first < LSE_CHUNK ? h->V - first : LSE_CHUNK;
    logits_block(h, row, rows, chunk * CHUNK_PANELS, panel_count(count), logits, LSE_CHUNK);
    for (int64_t r = 0; r < rows; r++) {
        float *x = logits + r * LSE_CHUNK;
        for (int64_t i = 0; h->cap > 0 && i < count; i += VL)
            vstore(x + i, vsoftcap(vload(x + i), h->cap));
        int64_t at = h->target[row + r] - first;
        f->part[(row + r) * h->chunks + chunk] = lse_chunk(x, count);
        if (at >= 0 && at < count) f->picked[row + r] = x[at];
    }
}

/* in: hidden, weight, target; out: logprob, lse. */
sppo_status KERNEL(token_logprob)(sppo__call *c) {
    forward f = {.h = head_of(c), .picked = sppo__f32(c->out[0])};
    float *lse = sppo__f32(c->out[1]);
    head *h = &f.h;
    if (!h->n) return SPPO_OK;
    sppo__storage *parts;
    sppo_status st = sppo__work_new(&parts, SPPO_DEVICE_CPU, h->n * h->chunks * LSE_PART_BYTES,
                                    true, "token_logprob");
    if (st) return st;
    f.part = parts->data;
    st = sppo__scratch_reserve(ROWS * LSE_CHUNK * (int64_t)sizeof(float));
    if (!st) st = begin(h);
    if (!st) {
        sppo__parallel(h->chunks * h->row_blocks, forward_task, &f);
        for (int64_t r = 0; r < h->n; r++) {
            lse[r] = lse_merge(f.part + r * h->chunks, h->chunks);
            f.picked[r] -= lse[r];
        }
    }
    end(h);
    sppo__storage_release(parts);
    return st;
}

/* One group: some chunks of the vocabulary times some rows. Two regions each: first the gradients
 * of the logits, then what they add to hidden and weight. */
typedef struct backward {
    head h;
    const float *lse, *dout;
    float *dhidden, *dpanel;       // NULL where not wanted
    float *dlogits;                // [rows, width]
    int64_t row, rows, width;      // rows of the group; columns, a multiple of 64
    int64_t panel, panels, count;  // panels of the group, vocabulary in them
    int64_t pieces;                // chunks of the group
    int64_t logit_blocks;          // first region: blocks of ROWS rows
    int64_t row_block, row_blocks, dx_blocks, k_block, k_blocks;  // second region
} backward;

static void dlogits_task(void *context, int64_t task, int thread) {
    (void)thread;
    const backward *b = context;
    const head *h = &b->h;
    int64_t piece = task / b->logit_blocks, row = task % b->logit_blocks * ROWS;
    int64_t rows = b->rows - row < ROWS ? b->rows - row : ROWS, first = piece * LSE_CHUNK;
    int64_t columns = b->width - first < LSE_CHUNK ? b->width - first : LSE_CHUNK;
    float *block = b->dlogits + row * b->width + first;
    logits_block(h, b->row + row, rows, b->panel + piece * CHUNK_PANELS, columns / 64, block,
                 b->width);
    for (int64_t r = 0; r < rows; r++) {
        float *x = block + r * b->width, g = b->dout[b->row + row + r], slope = 1;
        vf shift = vset(b->lse[b->row + row + r]), scale = vset(-g);
        int64_t at = h->target[b->row + row + r] - b->panel * 64 - first;
        bool here = at >= 0 && at < columns;
        if (h->cap > 0) {
            float at_target = here ? stanh(x[at] / h->cap) : 0;
            slope = 1 - at_target * at_target;
            for (int64_t i = 0; i < columns; i += VL) {
                vf t = vtanh(vload(x + i) / vset(h->cap));
                vf p = vexp(vset(h->cap) * t - shift);
                vstore(x + i, scale * p * (vset(1) - t * t));
            }
        } else {
            for (int64_t i = 0; i < columns; i += VL)
                vstore(x + i, scale * vexp(vload(x + i) - shift));
        }
        if (here) x[at] += g * slope;
    }
}

static void gradient_task(void *context, int64_t task, int thread) {
    const backward *b = context;
    const head *h = &b->h;
    float *scratch = sppo__scratch(thread);
    int64_t dx_tasks = b->row_blocks * b->dx_blocks;
    if (task < dx_tasks) {
        int64_t row = task / b->dx_blocks * b->row_block, k = task % b->dx_blocks * 64;
        int64_t rows = b->rows - row < b->row_block ? b->rows - row : b->row_block;
        panel_dx(h->dtype, h->panel + b->panel * h->bytes, b->count, h->D, k, rows,
                 b->dlogits + row * b->width, b->width, b->dhidden + (b->row + row) * h->D,
                 scratch);
        return;
    }
    task -= dx_tasks;
    int64_t p = task / b->k_blocks, k = task % b->k_blocks * b->k_block;
    int64_t count = h->D - k < b->k_block ? h->D - k : b->k_block;
    int64_t columns = b->count - p * 64 < 64 ? b->count - p * 64 : 64;
    panel_dweight(b->rows, k, count, h->hidden.x + b->row * h->D, h->D, b->dlogits + p * 64,
                  b->width, columns, b->dpanel + (b->panel + p) * 64 * h->D, scratch);
}

static void run_group(backward *b) {
    const head *h = &b->h;
    b->logit_blocks = (b->rows + ROWS - 1) / ROWS;
    sppo__parallel(b->pieces * b->logit_blocks, dlogits_task, b);
    int64_t tasks = 0;
    b->row_blocks = b->dx_blocks = 0;
    if (b->dhidden) {
        b->dx_blocks = panel_count(h->D);
        panel_cut(b->rows, 96, PANEL_ROWS, b->dx_blocks, &b->row_block, &b->row_blocks);
        tasks = b->row_blocks * b->dx_blocks;
    }
    if (b->dpanel) {
        panel_cut(h->D, 96, PANEL_ROWS, b->panels, &b->k_block, &b->k_blocks);
        tasks += b->panels * b->k_blocks;
    }
    sppo__parallel(tasks, gradient_task, b);
}

/* in: hidden, weight, target, lse, dout; out: dhidden, dweight. Values are added over the
 * vocabulary and over rows in order, whatever the groups. */
sppo_status KERNEL(token_logprob_backward)(sppo__call *c) {
    backward b = {.h = head_of(c), .lse = sppo__f32(c->in[3]), .dout = sppo__f32(c->in[4])};
    head *h = &b.h;
    if (c->out[0]) b.dhidden = sppo__f32(c->out[0]);
    if (c->out[1]) b.dpanel = sppo__f32(c->out[1]);
    if (!h->n || !h->D || (!b.dhidden && !b.dpanel)) return SPPO_OK;
    int64_t most_rows = h->n < HEAD_GROUP_ROWS ? h->n : HEAD_GROUP_ROWS;
    int64_t most_chunks = head_group_chunks(most_rows, h->chunks);
    sppo__storage *dlogits;
    sppo_status st =
        sppo__work_new(&dlogits, SPPO_DEVICE_CPU, most_rows * most_chunks * LSE_CHUNK * 4, true,
                       "token_logprob_backward");
    if (st) return st;
    b.dlogits = dlogits->data;
    st = sppo__scratch_reserve(PANEL_SCRATCH_DX * (int64_t)sizeof(float));
    if (!st) st = begin(h);
    for (b.row = 0; b.row < h->n && !st; b.row += most_rows) {
        b.rows = h->n - b.row < most_rows ? h->n - b.row : most_rows;
        for (int64_t chunk = 0; chunk < h->chunks; chunk += most_chunks) {
            b.pieces = h->chunks - chunk < most_chunks ? h->chunks - chunk : most_chunks;
            b.panel = chunk * CHUNK_PANELS;
            b.count = h->V - b.panel * 64 < b.pieces * LSE_CHUNK ? h->V - b.panel * 64
                                                                 : b.pieces * LSE_CHUNK;
            b.panels = panel_count(b.count);
            b.width = b.panels * 64;
            run_group(&b);
        }
    }
    end(h);
    sppo__storage_release(dlogits);
    return st;
}
