/* rope.h - the frequencies that every device's kernel turns by. */

#ifndef SPPO_ROPE_H
#define SPPO_ROPE_H

#include <stdint.h>

enum { SPPO_ROPE_HALF = 128 };  // largest D / 2

/* [half] frequencies for the numbers f of a rope call (ops/rope.c); borrowed until the next call.
 * Rounded to f32 where Hugging Face's Llama rounds them: at position 100,000 one rounding of a
 * frequency moves an angle by 0.006. */
const float *sppo__rope_frequencies(const float *f, int64_t half);

#endif
