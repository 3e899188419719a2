// llama_ids.cpp - token ids from llama.cpp: llama_ids VOCABULARY.gguf < TEXTS > IDS.
//
// TEXTS: for each text its number of bytes, a line feed, and the bytes. IDS: a line a text. Nothing
// is read as a special token, none is added. Built by vocabularies.py.

#include <cstdio>
#include <vector>

#include "llama.h"

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    llama_model *model = llama_model_load_from_file(argv[1], params);
    if (!model) return std::fprintf(stderr, "%s: llama.cpp does not load it\n", argv[1]), 1;
    const llama_vocab *vocabulary = llama_model_get_vocab(model);
    int bytes;
    while (std::scanf("%d", &bytes) == 1) {
        std::getchar();
        std::vector<char> text(bytes);
        std::vector<llama_token> ids(bytes + 16);
        if (std::fread(text.data(), 1, bytes, stdin) != (size_t)bytes) return 1;
        int count = llama_tokenize(vocabulary, text.data(), bytes, ids.data(), (int)ids.size(),
                                   false, false);
        if (count < 0) return std::fprintf(stderr, "%d ids, %d bytes\n", -count, bytes), 1;
        for (int i = 0; i < count; i++) std::printf(i ? " %d" : "%d", ids[i]);
        std::putchar('\n');
    }
    llama_model_free(model);
}
