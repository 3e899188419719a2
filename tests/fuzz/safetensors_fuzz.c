/* safetensors_fuzz.c - any bytes as a safetensors file: refused, or every tensor can be read. */

#include <stddef.h>
#include <stdint.h>

#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sppo_safetensors *s;
    if (sppo__safetensors_parse(data, (int64_t)size, "fuzz.safetensors", &s)) return 0;
    for (int64_t i = 0; i < sppo_safetensors_count(s); i++) {
        sppo_tensor *t;
        const char *name = sppo_safetensors_name(s, i);
        SPPO_ASSERT(sppo_safetensors_find(s, name) == i);
        if (!sppo_safetensors_tensor(&t, s, name)) sppo_tensor_release(t);
    }
    sppo_safetensors_metadata(s, "format");
    sppo_safetensors_close(s);
    return 0;
}
