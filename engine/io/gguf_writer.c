/* gguf_writer.c - writes a GGUF file (version 3): metadata, then what its tensors are, then tensor
 * by tensor their values, so that a model never has to be in memory twice.
 *
 * Everything goes to PATH.tmp-<pid>, which close renames: PATH is a whole file or what it was. What
 * the reader would refuse (too many entries, too much text, names) is not written. */

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/tensor.h"
#include "io/gguf.h"

enum { ALIGN = 32, LONGEST_TENSOR_NAME = 63 };  // llama.cpp's GGML_MAX_NAME, less its NUL

/* What a metadata value can be: its number in the format, bytes, and the integers that fit. */
typedef struct kind {
    const char *name;
    uint32_t number;
    int bytes;
    double low, high;  // equal: any number
} kind;

enum { NUMBER_STRING = 8, NUMBER_ARRAY = 9 };

static const kind kinds[] = {
    {"u8", 0, 1, 0, 255},
    {"i8", 1, 1, -128, 127},
    {"u16", 2, 2, 0, 65535},
    {"i16", 3, 2, -32768, 32767},
    {"u32", 4, 4, 0, 4294967295.0},
    {"i32", 5, 4, -2147483648.0, 2147483647},
    {"f32", 6, 4, 0, 0},
    {"bool", 7, 1, 0, 1},
    {"string", NUMBER_STRING, 0, 0, 0},
    {"u64", 10, 8, 0, 0x1p53},
    {"i64", 11, 8, -0x1p53, 0x1p53},
    {"f64", 12, 8, 0, 0},
};

typedef struct buffer {
    unsigned char *bytes;
    int64_t size, room;
} buffer;

typedef struct announced {
    char *name;
    sppo_dtype dtype;
    int ndim;
    int64_t shape[SPPO_MAX_DIMS];
} announced;

typedef struct names {
    char **list;
    int64_t count, room;
} names;

struct sppo_gguf_writer {
    char *path, *temporary;
    int fd;
    buffer metadata, infos;
    names keys;
    announced *tensors;
    int64_t count, room, written, bytes;
    int64_t text;         // bytes of all names and strings, which the reader limits
    const kind *element;  // of the array that is being filled
    int64_t missing;      // its elements to come
    bool begun, failed;
};

/* ---- errors ---- */

static sppo_status fail_state(const sppo_gguf_writer *w, const char *call, const char *what) {
    return sppo__fail(SPPO_ERR_STATE, TEXT_ST_WRITER_STATE, w->path, call, what);
}

/* The failure is final: close removes what there is. */
static sppo_status remember(sppo_gguf_writer *w, sppo_status st) {
    if (st) w->failed = true;
    return st;
}

/* ---- bytes in memory ---- */

static sppo_status append(sppo_gguf_writer *w, buffer *b, const void *data, int64_t bytes) {
    if (bytes > b->room - b->size) {
        int64_t room = 2 * b->room + bytes + 4096;
        unsigned char *grown = realloc(b->bytes, (size_t)room);
        if (!grown) return remember(w, sppo__fail_memory(w->path, room));
        b->bytes = grown;
        b->room = room;
    }
    if (bytes) memcpy(b->bytes + b->size, data, (size_t)bytes);
    b->size += bytes;
    return SPPO_OK;
}

static sppo_status append_uint(sppo_gguf_writer *w, buffer *b, uint64_t x, int bytes) {
    unsigned char little[8];
    for (int i = 0; i < bytes; i++) little[i] = (unsigned char)(x >> 8 * i);
    return append(w, b, little, bytes);
}

static sppo_status append_text(sppo_gguf_writer *w, buffer *b, const char *text, int64_t length) {
    if (length > SPPO__GGUF_TEXT - w->text)
        return remember(w, sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_WRITER_TEXT, w->path,
                                      SPPO__GGUF_TEXT >> 20));
    w->text += length;
    sppo_status st = append_uint(w, b, (uint64_t)length, 8);
    return st ? st : append(w, b, text, length);
}

/* ---- making ---- */

static void writer_free(sppo_gguf_writer *w) {
    for (int64_t i = 0; i < w->count; i++) free(w->tensors[i].name);
    for (int64_t i = 0; i < w->keys.count; i++) free(w->keys.list[i]);
    free(w->tensors);
    free((void *)w->keys.list);
    free(w->metadata.bytes);
    free(w->infos.bytes);
    if (w->fd >= 0) close(w->fd);
    free(w->temporary);
    free(w->path);
    free(w);
}

/* A rename would replace a device or a pipe by a file. */
static sppo_status check_target(const char *path) {
    struct stat s;
    if (stat(path, &s) || S_ISREG(s.st_mode)) return SPPO_OK;
    return sppo__fail(SPPO_ERR_IO, TEXT_FILE_KIND, path,
                      S_ISDIR(s.st_mode) ? "a folder" : "not a regular file");
}

sppo_status sppo_gguf_writer_new(sppo_gguf_writer **out, const char *path) {
    sppo_status st = check_target(path);
    if (st) return st;
    sppo_gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return sppo__fail_memory(path, (int64_t)sizeof *w);
    w->fd = -1;
    w->path = sppo__format("%s", path);
    w->temporary = sppo__format("%s.tmp-%d", path, (int)getpid());
    if (!w->path || !w->temporary) st = sppo__fail_memory(path, (int64_t)strlen(path));
    if (!st) {
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (w->fd < 0) st = sppo__fail_os(path, "create");
    }
    if (st) {
        writer_free(w);
        return st;
    }
    *out = w;
    return SPPO_OK;
}

/* ---- metadata ---- */

static const kind *kind_of(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kinds[i].name, name)) return &kinds[i];
    return NULL;
}

static sppo_status append_number(sppo_gguf_writer *w, const kind *k, const char *what,
                                 double value) {
    if (k->low < k->high && !(value >= k->low && value <= k->high && value == floor(value)))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_WRITER_NUMBER, w->path, what, k->name,
                          value);
    uint64_t bits = value < 0 ? (uint64_t)(int64_t)value : 0;
    if (k->low < k->high) {
        if (value >= 0) bits = (uint64_t)value;
    } else if (k->bytes == 4) {
        float f = (float)value;
        uint32_t half;
        memcpy(&half, &f, sizeof half);
        bits = half;
    } else {
        memcpy(&bits, &value, sizeof bits);
    }
    return append_uint(w, &w->metadata, bits, k->bytes);
}

static sppo_status remember_key(sppo_gguf_writer *w, const char *key) {
    names *n = &w->keys;
    if (n->count == n->room) {
        int64_t room = n->room ? 2 * n->room : 64;
        char **list = (char **)realloc((void *)n->list, sizeof *list * (size_t)room);
        if (!list) return remember(w, sppo__fail_memory(w->path, (int64_t)sizeof *list * room));
        n->list = list;
        n->room = room;
    }
    if (!(n->list[n->count] = sppo__format("%s", key)))
        return remember(w, sppo__fail_memory(w->path, (int64_t)strlen(key)));
    n->count++;
    return SPPO_OK;
}

/* The key, and the number of its value's type, with every check that all values need. */
static sppo_status begin_value(sppo_gguf_writer *w, const char *key, uint32_t number) {
    int64_t length = (int64_t)strlen(key);
    if (w->begun) return fail_state(w, key, "comes after begin");
    if (w->failed) return fail_state(w, key, "comes after a failure");
    if (w->missing) return fail_state(w, key, "comes before the last element of an array");
    if (w->keys.count == SPPO__GGUF_ENTRIES) return fail_state(w, key, "comes after 65,536 keys");
    if (!sppo__name_valid(key, length, SPPO__GGUF_KEY))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_WRITER_NAME, w->path,
                          sppo__quoted(key, length), "a key", (int)SPPO__GGUF_KEY);
    sppo_status st = remember_key(w, key);
    if (!st) st = append_text(w, &w->metadata, key, length);
    return st ? st : append_uint(w, &w->metadata, number, 4);
}

static sppo_status fail_kind(const sppo_gguf_writer *w, const char *key, const char *type) {
    return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_WRITER_KIND, w->path, key, type);
}

sppo_status sppo_gguf_writer_number(sppo_gguf_writer *w, const char *key, const char *type,
                                    double value) {
    const kind *k = kind_of(type);
    if (!k || !k->bytes) return fail_kind(w, key, type);
    sppo_status st = begin_value(w, key, k->number);
    return st ? st : remember(w, append_number(w, k, key, value));
}

sppo_status sppo_gguf_writer_string(sppo_gguf_writer *w, const char *key, const char *text,
                                    int64_t length) {
    sppo_status st = begin_value(w, key, NUMBER_STRING);
    return st ? st : append_text(w, &w->metadata, text, length);
}

sppo_status sppo_gguf_writer_array(sppo_gguf_writer *w, const char *key, const char *type,
                                   int64_t count) {
    const kind *k = kind_of(type);
    if (!k || count < 0) return fail_kind(w, key, type);
    sppo_status st = begin_value(w, key, NUMBER_ARRAY);
    if (!st) st = append_uint(w, &w->metadata, k->number, 4);
    if (!st) st = append_uint(w, &w->metadata, (uint64_t)count, 8);
    if (st) return st;
    w->element = k;
    w->missing = count;
    return SPPO_OK;
}

static sppo_status take_element(sppo_gguf_writer *w, bool string) {
    if (!w->missing) return fail_state(w, "an element", "without an array that wants one");
    if ((w->element->number == NUMBER_STRING) != string)
        return fail_state(w, "an element", "of another type than its array");
    w->missing--;
    return SPPO_OK;
}

sppo_status sppo_gguf_writer_element(sppo_gguf_writer *w, double value) {
    sppo_status st = take_element(w, false);
    return st ? st : remember(w, append_number(w, w->element, "an element", value));
}

sppo_status sppo_gguf_writer_element_string(sppo_gguf_writer *w, const char *text, int64_t length) {
    sppo_status st = take_element(w, true);
    return st ? st : append_text(w, &w->metadata, text, length);
}

/* ---- tensors ---- */

/* GGML's number for a dtype. */
static uint32_t type_number(sppo_dtype dtype) {
    switch (dtype) {
    case SPPO_DTYPE_F16: return 1;
    case SPPO_DTYPE_Q8_0: return 8;
    case SPPO_DTYPE_I32: return 26;
    case SPPO_DTYPE_BF16: return 30;
    default: return 0;
    }
}

static sppo_status make_room(sppo_gguf_writer *w) {
    if (w->count < w->room) return SPPO_OK;
    int64_t room = w->room ? 2 * w->room : 64;
    announced *tensors = realloc(w->tensors, sizeof *tensors * (size_t)room);
    if (!tensors) return sppo__fail_memory(w->path, (int64_t)sizeof *tensors * room);
    w->tensors = tensors;
    w->room = room;
    return SPPO_OK;
}

/* Its bytes rounded up to where the next tensor starts; an error for a shape that no file has. */
static sppo_status padded_bytes(const sppo_gguf_writer *w, const announced *a, int64_t *bytes) {
    sppo_tensor *checked;  // the one place that knows which shapes there can be
    sppo_status st = sppo__tensor_shell(&checked, a->dtype, SPPO_DEVICE_META, SPPO_LAYOUT_ROWS,
                                        a->ndim, a->shape, "gguf");
    if (st) return st;
    int64_t exact = sppo_tensor_bytes(checked);
    sppo_tensor_release(checked);
    if (!exact)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_GGUF_WRITER_EMPTY, w->path,
                          sppo__dims_text(a->ndim, a->shape));
    if (__builtin_add_overflow(exact, ALIGN - 1, bytes)) return sppo__fail_memory(w->path, exact);
    *bytes &= -ALIGN;
    return SPPO_OK;
}

/* Name, number of axes, sizes with the last axis first, type, offset. */
static sppo_status describe(sppo_gguf_writer *w, const announced *a) {
    sppo_status st = append_text(w, &w->infos, a->name, (int64_t)strlen(a->name));
    if (!st) st = append_uint(w, &w->infos, (uint64_t)a->ndim, 4);
    for (int i = a->ndim - 1; !st && i >= 0; i--)
        st = append_uint(w, &w->infos, (uint64_t)a->shape[i], 8);
    if (!st) st = append_uint(w, &w->infos, type_number(a->dtype), 4);
    return st ? st : append_uint(w, &w->infos, (uint64_t)w->bytes, 8);
}

sppo_status sppo_gguf_writer_add(sppo_gguf_writer *w, const char *name, sppo_dtype dtype, int ndim,
                                 const int64_t *shape) {
    int64_t length = (int64_t)strlen(name), bytes = 0, end = 0;
    if (w->begun) return fail_state(w, name, "comes after begin");
    if (w->failed) return fail_state(w, name, "comes after a failure");
    if (w->count == SPPO__GGUF_ENTRIES) return fail_state(w, name, "comes after 65,536 tensors");
    if (!sppo__name_valid(name, length, LONGEST_TENSOR_NAME))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_WRITER_NAME, w->path,
                          sppo__quoted(name, length), "a tensor", (int)LONGEST_TENSOR_NAME);
    if (ndim < 1 || ndim > SPPO_MAX_DIMS) return sppo__fail(SPPO_ERR_SHAPE, TEXT_NDIM, name, ndim);
    announced a = {.dtype = dtype, .ndim = ndim};
    memcpy(a.shape, shape, sizeof *shape * (size_t)ndim);
    sppo_status st = padded_bytes(w, &a, &bytes);
    if (!st && __builtin_add_overflow(w->bytes, bytes, &end))
        st = sppo__fail_memory(w->path, INT64_MAX);
    if (!st) st = make_room(w);
    if (!st && !(a.name = sppo__format("%s", name))) st = sppo__fail_memory(w->path, length);
    if (st) return st;
    w->tensors[w->count++] = a;
    st = describe(w, &a);
    if (!st) w->bytes = end;
    return st;
}

/* ---- the file ---- */

static sppo_status check_twice(const sppo_gguf_writer *w, bool tensors) {
    int64_t count = tensors ? w->count : w->keys.count;
    sppo__name *list = malloc(sizeof *list * (size_t)(count ? count : 1));
    if (!list) return sppo__fail_memory(w->path, (int64_t)sizeof *list * count);
    for (int64_t i = 0; i < count; i++)
        list[i] = (sppo__name){tensors ? w->tensors[i].name : w->keys.list[i], i};
    int64_t twice = sppo__names_sort(list, count);
    free(list);
    if (twice < 0) return SPPO_OK;
    return fail_state(w, tensors ? w->tensors[twice].name : w->keys.list[twice], "added twice");
}

static sppo_status write_padding(sppo_gguf_writer *w, int64_t after) {
    static const unsigned char zeros[ALIGN];
    return sppo__write_all(w->fd, w->path, zeros, -after & (ALIGN - 1));
}

static sppo_status write_header(sppo_gguf_writer *w) {
    buffer head = {.bytes = NULL};
    sppo_status st = append(w, &head, "GGUF", 4);
    if (!st) st = append_uint(w, &head, 3, 4);
    if (!st) st = append_uint(w, &head, (uint64_t)w->count, 8);
    if (!st) st = append_uint(w, &head, (uint64_t)w->keys.count, 8);
    if (!st) st = sppo__write_all(w->fd, w->path, head.bytes, head.size);
    free(head.bytes);
    if (!st) st = sppo__write_all(w->fd, w->path, w->metadata.bytes, w->metadata.size);
    if (!st) st = sppo__write_all(w->fd, w->path, w->infos.bytes, w->infos.size);
    return st ? st : write_padding(w, 24 + w->metadata.size + w->infos.size);
}

sppo_status sppo_gguf_writer_begin(sppo_gguf_writer *w) {
    if (w->begun) return fail_state(w, "begin", "after begin");
    if (w->failed) return fail_state(w, "begin", "after a failure");
    if (w->missing) return fail_state(w, "begin", "before the last element of an array");
    sppo_status st = check_twice(w, false);
    if (!st) st = check_twice(w, true);
    if (!st) st = write_header(w);
    w->begun = true;
    return remember(w, st);
}

sppo_status sppo_gguf_writer_write(sppo_gguf_writer *w, const char *name, const sppo_tensor *t) {
    if (!w->begun) return fail_state(w, "write", "before begin");
    if (w->failed) return fail_state(w, "write", "after a failure");
    if (w->written == w->count) return fail_state(w, "write", "after the last tensor");
    const announced *a = &w->tensors[w->written];
    if (strcmp(name, a->name))
        return sppo__fail(SPPO_ERR_STATE, TEXT_ST_WRITER_ORDER, w->path, name, a->name);
    if (t->dtype != a->dtype || t->layout != SPPO_LAYOUT_ROWS || t->ndim != a->ndim ||
        memcmp(t->shape, a->shape, sizeof a->shape[0] * (size_t)t->ndim))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_ST_WRITER_TENSOR, w->path, name,
                          sppo__dtype_name(t->dtype), sppo__shape_text(t),
                          t->layout == SPPO_LAYOUT_ROWS ? "rows" : "panels",
                          sppo__dtype_name(a->dtype), sppo__dims_text(a->ndim, a->shape));
    sppo_status st = sppo__want_host("gguf", t);
    if (st) return st;
    if (!t->storage) return sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, "gguf", 0, t->made_by);
    if (!sppo__gap_free(t))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_GAPS, "gguf", sppo__shape_text(t));
    st = sppo__write_all(w->fd, w->path, sppo__raw(t), sppo_tensor_bytes(t));
    if (!st) st = write_padding(w, sppo_tensor_bytes(t));
    if (!st) w->written++;
    return remember(w, st);
}

sppo_status sppo_gguf_writer_close(sppo_gguf_writer *w) {
    if (!w) return SPPO_OK;
    sppo_status st = SPPO_OK;
    if (w->failed) st = fail_state(w, "close", "after a failure; nothing was written");
    else if (!w->begun || w->written < w->count)
        st = sppo__fail(SPPO_ERR_STATE, TEXT_ST_WRITER_MISSING, w->path, (long long)w->written,
                        (long long)w->count);
    else st = sppo__sync(w->fd, w->path);
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) && !st) st = sppo__fail_os(w->path, "close");
    if (!st && rename(w->temporary, w->path)) st = sppo__fail_os(w->path, "rename to");
    if (st) unlink(w->temporary);
    else st = sppo__sync_parent(w->path);
    writer_free(w);
    return st;
}
