/* gguf_fuzz.c - any bytes as a GGUF file: refused, or every getter and tensor works. */

#include <stddef.h>
#include <stdint.h>

#include "io/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sppo_gguf *g;
    if (sppo__gguf_parse(data, (int64_t)size, "fuzz.gguf", &g)) return 0;
    for (int64_t i = 0; i < sppo_gguf_tensor_count(g); i++) {
        sppo_tensor *t;
        if (!sppo_gguf_tensor(&t, g, sppo_gguf_tensor_name(g, i))) sppo_tensor_release(t);
    }
    for (int64_t i = 0; i < sppo_gguf_key_count(g); i++) {
        const char *text;
        int64_t length, integer;
        double number;
        unsigned sum = 0;
        SPPO_ASSERT(sppo_gguf_key_find(g, sppo_gguf_key_name(g, i)) == i);
        sppo_gguf_number(g, i, &number);
        sppo_gguf_integer(g, i, &integer);
        if (!sppo_gguf_string(g, i, &text, &length))
            for (int64_t k = 0; k < length; k++) sum += (unsigned char)text[k];
        for (int64_t j = 0; j < sppo_gguf_array_count(g, i); j++) {
            sppo_gguf_array_number(g, i, j, &number);
            if (!sppo_gguf_array_string(g, i, j, &text, &length))
                for (int64_t k = 0; k < length; k++) sum += (unsigned char)text[k];
        }
        SPPO_ASSERT(sum < UINT32_MAX);
    }
    sppo_gguf_close(g);
    return 0;
}
