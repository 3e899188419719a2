/* safetensors_writer.c - writes a safetensors file tensor by tensor: the header is known before the
 * first value, so a model never has to be in memory twice. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "core/tensor.h"
#include "io/safetensors.h"

enum { ALIGN = 64, MOST_TENSORS = 65536 };

typedef struct announced {
    char *name;
    sppo_dtype dtype;
    int ndim;
    int64_t shape[SPPO_MAX_DIMS];
} announced;

struct sppo_safetensors_writer {
    char *path;
    int fd;
    json_t *header, *notes;
    announced *tensors;
    int64_t count, room, written, bytes;
    bool begun, failed;
};

static sppo_status fail_state(const sppo_safetensors_writer *w, const char *call,
                              const char *what) {
    return sppo__fail(SPPO_ERR_STATE, TEXT_ST_WRITER_STATE, w->path, call, what);
}

/* The failure is final: close removes the file. */
static sppo_status remember(sppo_safetensors_writer *w, sppo_status st) {
    if (st) w->failed = true;
    return st;
}

static void writer_free(sppo_safetensors_writer *w) {
    for (int64_t i = 0; i < w->count; i++) free(w->tensors[i].name);
    free(w->tensors);
    json_decref(w->header);
    json_decref(w->notes);
    if (w->fd >= 0) close(w->fd);
    free(w->path);
    free(w);
}

sppo_status sppo_safetensors_writer_new(sppo_safetensors_writer **out, const char *path) {
    sppo_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return sppo__fail_memory(path, (int64_t)sizeof *w);
    w->fd = -1;
    w->path = sppo__format("%s", path);
    w->header = json_object();
    w->notes = json_object();
    sppo_status st = SPPO_OK;
    if (!w->path || !w->header || !w->notes) st = sppo__fail_memory(path, (int64_t)strlen(path));
    if (!st) {
        w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (w->fd < 0) st = sppo__fail_os(path, "create");
    }
    if (st) {
        writer_free(w);
        return st;
    }
    *out = w;
    return SPPO_OK;
}

static sppo_status make_room(sppo_safetensors_writer *w) {
    if (w->count < w->room) return SPPO_OK;
    int64_t room = w->room ? 2 * w->room : 64;
    announced *tensors = realloc(w->tensors, sizeof *tensors * (size_t)room);
    if (!tensors) return sppo__fail_memory(w->path, (int64_t)sizeof *tensors * room);
    w->tensors = tensors;
    w->room = room;
    return SPPO_OK;
}

/* {"dtype": .., "shape": [..], "data_offsets": [start, end]}, or NULL when out of memory. */
static json_t *describe(const announced *a, int64_t start, int64_t end) {
    json_t *shape = json_array();
    for (int i = 0; shape && i < a->ndim; i++)
        if (json_array_append_new(shape, json_integer(a->shape[i]))) {
            json_decref(shape);
            shape = NULL;
        }
    if (!shape) return NULL;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", sppo__safetensors_dtype_name(a->dtype),
                     "shape", shape, "data_offsets", (json_int_t)start, (json_int_t)end);
}

sppo_status sppo_safetensors_writer_add(sppo_safetensors_writer *w, const char *name,
                                        sppo_dtype dtype, int ndim, const int64_t *shape) {
    if (w->begun) return fail_state(w, "add", "after begin");
    int64_t length = (int64_t)strlen(name);
    if (!sppo__name_valid(name, length, SPPO__ST_NAME) || !strcmp(name, "__metadata__"))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_ST_WRITER_NAME, w->path,
                          sppo__quoted(name, length), (int)SPPO__ST_NAME);
    if (json_object_get(w->header, name)) return fail_state(w, name, "added twice");
    if (!sppo__safetensors_dtype_name(dtype))
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_ST_WRITER_DTYPE, w->path, name,
                          sppo__dtype_name(dtype));
    if (w->count == MOST_TENSORS) return fail_state(w, "add", "after 65,536 tensors");
    sppo_tensor *checked;  // the one place that knows which shapes there can be
    sppo_status st = sppo__tensor_shell(&checked, dtype, SPPO_DEVICE_META, SPPO_LAYOUT_ROWS, ndim,
                                        shape, "safetensors");
    if (st) return st;
    int64_t end = 0;
    bool overflow = __builtin_add_overflow(w->bytes, sppo_tensor_bytes(checked), &end);
    sppo_tensor_release(checked);
    if (overflow) return sppo__fail_memory(w->path, INT64_MAX);
    st = make_room(w);
    if (st) return st;
    announced *a = &w->tensors[w->count];
    *a = (announced){.dtype = dtype, .ndim = ndim};
    if (ndim) memcpy(a->shape, shape, sizeof *shape * (size_t)ndim);
    if (!(a->name = sppo__format("%s", name))) return sppo__fail_memory(w->path, length);
    w->count++;
    json_t *entry = describe(a, w->bytes, end);
    if (!entry) return remember(w, sppo__fail_memory(w->path, length));
    if (json_object_set_new(w->header, name, entry))  // what else it refuses is not UTF-8
        return remember(w, sppo__fail(SPPO_ERR_ARGUMENT, TEXT_ST_WRITER_NAME, w->path,
                                      sppo__quoted(name, length), (int)SPPO__ST_NAME));
    w->bytes = end;
    return SPPO_OK;
}

sppo_status sppo_safetensors_writer_note(sppo_safetensors_writer *w, const char *key,
                                         const char *value) {
    if (w->begun) return fail_state(w, "note", "after begin");
    if (json_object_set_new(w->notes, key, json_string(value)))
        return fail_state(w, "note", "is not UTF-8");
    return SPPO_OK;
}

/* Length, header, and blanks up to a multiple of 64 bytes. */
static sppo_status write_header(sppo_safetensors_writer *w, const char *text) {
    size_t length = strlen(text);
    size_t padded = (8 + length + ALIGN - 1) / ALIGN * ALIGN - 8;
    if (padded > SPPO__ST_HEADER) return fail_state(w, "begin", "with a header beyond 100 MB");
    unsigned char *block = malloc(8 + padded);
    if (!block) return sppo__fail_memory(w->path, (int64_t)padded);
    for (int i = 0; i < 8; i++) block[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    memcpy(block + 8, text, length);
    memset(block + 8 + length, ' ', padded - length);
    sppo_status st = sppo__write_all(w->fd, w->path, block, (int64_t)(8 + padded));
    free(block);
    return st;
}

sppo_status sppo_safetensors_writer_begin(sppo_safetensors_writer *w) {
    if (w->begun) return fail_state(w, "begin", "after begin");
    json_t *whole = json_object();
    int bad = !whole;
    if (!bad && json_object_size(w->notes)) bad = json_object_set(whole, "__metadata__", w->notes);
    if (!bad) bad = json_object_update(whole, w->header);
    char *text = bad ? NULL : json_dumps(whole, JSON_COMPACT);
    json_decref(whole);
    if (!text) return remember(w, sppo__fail_memory(w->path, w->count * 128));
    sppo_status st = write_header(w, text);
    free(text);
    w->begun = true;
    return remember(w, st);
}

sppo_status sppo_safetensors_writer_write(sppo_safetensors_writer *w, const char *name,
                                          const sppo_tensor *t) {
    if (!w->begun) return fail_state(w, "write", "before begin");
    if (w->failed) return fail_state(w, "write", "after a failure");
    if (w->written == w->count) return fail_state(w, "write", "after the last tensor");
    const announced *a = &w->tensors[w->written];
    if (strcmp(name, a->name))
        return sppo__fail(SPPO_ERR_STATE, TEXT_ST_WRITER_ORDER, w->path, name, a->name);
    if (t->dtype != a->dtype || t->layout != SPPO_LAYOUT_ROWS || t->ndim != a->ndim ||
        (t->ndim && memcmp(t->shape, a->shape, sizeof a->shape[0] * (size_t)t->ndim)))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_ST_WRITER_TENSOR, w->path, name,
                          sppo__dtype_name(t->dtype), sppo__shape_text(t),
                          t->layout == SPPO_LAYOUT_ROWS ? "rows" : "panels",
                          sppo__dtype_name(a->dtype), sppo__dims_text(a->ndim, a->shape));
    sppo_status st = sppo__want_host("safetensors", t);
    if (st) return st;
    if (!t->storage) return sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, "safetensors", 0, t->made_by);
    if (!sppo__gap_free(t))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_GAPS, "safetensors", sppo__shape_text(t));
    st = sppo__write_all(w->fd, w->path, sppo__raw(t), sppo_tensor_bytes(t));
    if (!st) w->written++;
    return remember(w, st);
}

sppo_status sppo_safetensors_writer_close(sppo_safetensors_writer *w) {
    if (!w) return SPPO_OK;
    sppo_status st = SPPO_OK;
    if (w->failed) st = fail_state(w, "close", "after a failure; the file was removed");
    else if (!w->begun || w->written < w->count)
        st = sppo__fail(SPPO_ERR_STATE, TEXT_ST_WRITER_MISSING, w->path, (long long)w->written,
                        (long long)w->count);
    else st = sppo__sync(w->fd, w->path);
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) && !st) st = sppo__fail_os(w->path, "close");
    if (st) unlink(w->path);
    writer_free(w);
    return st;
}
