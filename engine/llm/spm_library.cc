/* spm_library.cc - the only C++ of the engine: SentencePiece behind C functions. Nothing is thrown
 * out of them. */

#include <sentencepiece_processor.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "llm/spm.h"

struct sppo__sp {
    sentencepiece::SentencePieceProcessor processor;
    std::vector<int> ids;
};

namespace {

void explain(sppo__sp_error *error, const char *text) {
    std::snprintf(error->text, sizeof error->text, "%s", text);
}

/* What `body` returns; `failed` and an error if something was thrown. */
template <typename Result, typename Body>
Result guarded(sppo__sp_error *error, Result failed, Body body) {
    try {
        return body();
    } catch (const std::exception &e) {
        explain(error, e.what());
    } catch (...) {
        explain(error, "unknown exception");
    }
    return failed;
}

}  // namespace

sppo__sp *sppo__sp_load(const char *model, size_t bytes, sppo__sp_error *error) {
    return guarded<sppo__sp *>(error, nullptr, [&]() -> sppo__sp * {
        std::unique_ptr<sppo__sp> p(new sppo__sp);
        const auto status = p->processor.LoadFromSerializedProto({model, bytes});
        if (status.ok()) return p.release();
        explain(error, status.ToString().c_str());
        return nullptr;
    });
}

void sppo__sp_free(sppo__sp *p) {
    delete p;
}

int sppo__sp_encode(sppo__sp *p, const char *text, size_t length, int32_t **ids, int64_t *count,
                    sppo__sp_error *error) {
    static_assert(sizeof(int) == sizeof(int32_t), "ids are int");
    return guarded<int>(error, -1, [&] {
        const auto status = p->processor.Encode(std::string_view(text, length), &p->ids);
        if (!status.ok()) {
            explain(error, status.ToString().c_str());
            return -1;
        }
        *ids = p->ids.data();
        *count = static_cast<int64_t>(p->ids.size());
        return 0;
    });
}

int sppo__sp_map_is_fair(const char *const *texts, const int32_t *lengths, int64_t count) {
    sppo__sp_error unused;
    return guarded<int>(&unused, 0, [&] {
        // Debian's build has this very map, of this hash.
        std::unordered_map<std::string_view, int> map;
        for (int64_t i = 0; i < count; i++) {
            const std::string_view text(texts[i], static_cast<size_t>(lengths[i]));
            map.emplace(text, 0);
            if (map.bucket_size(map.bucket(text)) > 64) return 0;
        }
        return 1;
    });
}
