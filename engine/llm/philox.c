/* philox.c - one uniform number from the counter-based generator of philox.h. */

#include "llm/philox.h"

#include "sppo.h"

double sppo_philox_uniform(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    uint32_t counter[4] = {a, b, c, d}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, bits[4];
    sppo__philox4x32(counter, key, bits);
    // 53 bits: what a double in [0, 1) can hold.
    return ((double)(bits[0] >> 5) * 67108864.0 + (double)(bits[1] >> 6)) / 9007199254740992.0;
}
