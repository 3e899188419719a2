/* attention_parts.h - attention over a tree of segments as parts that a library's attention can
 * run: each text's own part, and for each node that others continue its prefix part, the rows of
 * all that continue it over its keys. The parts of a row are merged by their log-sum-exp; the
 * backward of each part takes the merged output and log-sum-exp.
 *
 * A part is a batch of padded texts of nearly one length: [texts, queries, heads, D] in bf16,
 * gathered from the batch's rows by a map, -1 for padding, and put back by it. */

#ifndef SPPO_CUDA_ATTENTION_PARTS_H
#define SPPO_CUDA_ATTENTION_PARTS_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Runs attention, or its backward, by cuDNN if that is wanted and can be; else *done is false. The
 * reason goes to stderr once. SPPO_CUDA_ATTENTION says what is wanted: own (also if it is not set),
 * cudnn, or auto, which differs where there is no cuDNN: an error for cudnn. */
sppo_status sppo__cuda_attention_by_parts(sppo__call *c, bool *done);
sppo_status sppo__cuda_attention_backward_by_parts(sppo__call *c, bool *done);

/* ---- attention_layout.c ---- */

typedef struct sppo__cuda_part {
    bool own;                          // else prefix
    int64_t texts, queries, keys;      // padded: powers of two
    int64_t query_map, key_map;        // where in the list: [texts * queries], [texts * keys]
    int64_t query_length, key_length;  // [texts]
} sppo__cuda_part;

typedef struct sppo__cuda_layout {
    sppo__cuda_part *part;  // a row's own part comes before its prefix parts
    int parts;
    int32_t *list;
    int64_t count;
} sppo__cuda_layout;

/* The parts of a batch without a store. The caller frees both arrays. */
sppo_status sppo__cuda_layout_of(const char *op, const sppo_segments *at, sppo__cuda_layout *out);

/* ---- attention_parts.cu: rows have `width` values; maps are on the device ---- */

/* dst [rows, width] in bf16 = the rows of src, f32, that the map names; zeros for -1. */
sppo_status sppo__cuda_gather(const sppo__call *c, void *dst, const float *src, const int32_t *map,
                              int64_t rows, int64_t width);

/* dst [texts, heads, queries] = lse [.., heads] of the rows that the map [texts * queries] names; 0
 * for -1. */
sppo_status sppo__cuda_gather_lse(const sppo__call *c, float *dst, const float *lse,
                                  const int32_t *map, const sppo__cuda_part *part, int64_t heads);

/* The part's o, bf16 [texts, queries, heads, D], and its log-sum-exp into out and lse: as they are
 * for an own part, merged with what is there for a prefix part. */
sppo_status sppo__cuda_merge(const sppo__call *c, const void *o, const float *part_lse,
                             const int32_t *map, const sppo__cuda_part *part, int64_t heads,
                             int64_t D, float *out, float *lse);

/* dst, f32, += src [rows, width], bf16, at the rows that the map names: each once. */
sppo_status sppo__cuda_add_gathered(const sppo__call *c, float *dst, const void *src,
                                    const int32_t *map, int64_t rows, int64_t width);

#ifdef __cplusplus
}
#endif

#endif
