/* sampler.h - what the sampler hands to its kernel. */

#ifndef SPPO_SAMPLER_H
#define SPPO_SAMPLER_H

#include "sppo.h"

struct sppo__sampling {
    sppo_sample_options options;
    uint64_t seed;
    const uint32_t *keys;  // four a row
    int32_t *ids;          // -1 where a row's logits are not usable
    float *logprobs;
};

#endif
