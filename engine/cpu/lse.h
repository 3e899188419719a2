/* lse.h - log-sum-exp of a row of logits, in chunks of 1024 of the vocabulary: the one order that
 * `token_logprob` and the sampler share, so that both get the same bits. */

#ifndef SPPO_LSE_H
#define SPPO_LSE_H

#include "cpu/simd.h"
#include "ops/workspace.h"

typedef struct lse_part {
    float maximum;
    float sum;  // of exp(x - maximum)
} lse_part;

/* VL values from x[i] on; -inf past `count`. */
static inline vf lse_load(const float *x, int64_t i, int64_t count) {
    if (i + VL <= count) return vload(x + i);
    float lane[VL];
    for (int j = 0; j < VL; j++) lane[j] = i + j < count ? x[i + j] : -INFINITY;
    return vload(lane);
}

/* One chunk of `count` <= LSE_CHUNK values. A NaN makes the sum NaN; if all are -inf it is 0. */
static inline lse_part lse_chunk(const float *x, int64_t count) {
    vf top = vset(-INFINITY);
    for (int64_t i = 0; i < count; i += VL) top = vmax(lse_load(x, i, count), top);
    float maximum = vmaximum(top);
    vf shift = vset(maximum == -INFINITY ? 0 : maximum);
    vf sum = vset(0);
    for (int64_t i = 0; i < count; i += VL) sum = sum + vexp(lse_load(x, i, count) - shift);
    return (lse_part){maximum, vsum(sum)};
}

/* Chunks in order; -inf if there is nothing but -inf. */
static inline float lse_merge(const lse_part *part, int64_t count) {
    float maximum = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++)
        if (part[i].maximum > maximum) maximum = part[i].maximum;
    float shift = maximum == -INFINITY ? 0 : maximum;
    for (int64_t i = 0; i < count; i++) {
        // A chunk of nothing but -inf adds its sum, 0 or NaN.
        float scale = part[i].maximum == -INFINITY ? 1 : sexp(part[i].maximum - shift);
        sum = sfma(part[i].sum, scale, sum);
    }
    return shift + logf(sum);
}

#endif
