/* embed.c - rows of a table, in rows or in panels (a head's table that also embeds). */

#include "cpu/cpu.h"
#include "cpu/panel.h"
#include "cpu/simd.h"

enum { COLUMNS = 64 };  // columns in a task of the backward pass

/* One row of the table as f32. */
static void gather(const sppo_tensor *w, int64_t row, float *dst) {
    int64_t K = w->shape[1];
    if (w->layout == SPPO_LAYOUT_ROWS) {
        if (w->dtype == SPPO_DTYPE_F32) {
            memcpy(dst, sppo__f32(w) + row * K, (size_t)K * sizeof *dst);
        } else if (w->dtype == SPPO_DTYPE_BF16) {
            const uint16_t *src = (const uint16_t *)sppo__raw(w) + row * K;
            for (int64_t k = 0; k < K; k++) dst[k] = bf16_to_f32(src[k]);
        } else {  // q8_0: blocks of an f16 scale and 32 bytes
            const char *block = (const char *)sppo__raw(w) + row * (K / 32) * 34;
            for (int64_t k = 0; k < K; k += 32, block += 34) {
                uint16_t half;
                memcpy(&half, block, sizeof half);
                for (int j = 0; j < 32; j++)
                    dst[k + j] = f16_to_f32(half) * (float)((const int8_t *)block)[2 + j];
            }
        }
        return;
    }
    int64_t lane = row % SPPO_PANEL;
    const char *panel = (const char *)sppo__raw(w) + row / SPPO_PANEL * panel_bytes(w->dtype, K);
    if (w->dtype == SPPO_DTYPE_F32) {
        for (int64_t k = 0; k < K; k++) dst[k] = ((const float *)panel)[k * 64 + lane];
    } else if (w->dtype == SPPO_DTYPE_BF16) {
        for (int64_t k = 0; k < K; k++)
            dst[k] = bf16_to_f32(((const uint16_t *)panel)[panel_bf16_at(k, lane)]);
    } else {
        for (int64_t k = 0; k < K; k += 32, panel += Q8_BLOCK) {
            uint16_t half;
            memcpy(&half, panel + lane * 2, sizeof half);
            const uint8_t *q = (const uint8_t *)panel + 128;
            for (int j = 0; j < 32; j++)
                dst[k + j] = f16_to_f32(half) * (float)(q[q8_at(j, lane)] - Q8_BIAS);
        }
    }
}

static void forward(void *context, int64_t task, int thread) {
    (void)thread;
    sppo__call *c = context;
    int64_t K = c->in[0]->shape[1], n = c->in[1]->shape[0];
    for (int64_t i = task * 32; i < n && i < (task + 1) * 32; i++)
        gather(c->in[0], sppo__i32(c->in[1])[i], sppo__f32(c->out[0]) + i * K);
}

sppo_status KERNEL(embed)(sppo__call *c) {
    const sppo_tensor *w = c->in[0];
    sppo__read_add(c->in[1]->shape[0] * (4 + sppo__dtype_bytes(w->dtype, w->shape[1])));
    sppo__parallel((c->in[1]->shape[0] + 31) / 32, forward, c);
    return SPPO_OK;
}

/* A task owns some columns of the gradient: repeated tokens add up in the order of the batch. */
static void backward(void *context, int64_t task, int thread) {
    (void)thread;
    sppo__call *c = context;
    sppo_tensor *dw = c->out[0];
    int64_t K = dw->shape[1], n = c->in[1]->shape[0];
    bool panels = dw->layout == SPPO_LAYOUT_PANELS;
    int64_t first = task * COLUMNS, last = first + COLUMNS < K ? first + COLUMNS : K;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = sppo__i32(c->in[1])[i];
        const float *dy = sppo__f32(c->in[0]) + i * K;
        float *at = sppo__f32(dw) +
                    (panels ? row / SPPO_PANEL * SPPO_PANEL * K + row % SPPO_PANEL : row * K);
        int64_t step = panels ? SPPO_PANEL : 1;
        for (int64_t k = first; k < last; k++) at[k * step] += dy[k];
    }
}

sppo_status KERNEL(embed_backward)(sppo__call *c) {
    sppo__parallel((c->out[0]->shape[1] + COLUMNS - 1) / COLUMNS, backward, c);
    return SPPO_OK;
}
