/* gguf.c - GGUF files, versions 2 and 3: reading what is in them, and handing it out.
 *
 * One pass at open checks everything that the getters rely on; they do no more than index. Values
 * stay in the mapping. Memory taken at open is at most a small multiple of the file's size. */

#include "io/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "core/tensor.h"

enum {
    MOST_ENTRIES = SPPO__GGUF_ENTRIES,
    MOST_TEXT = SPPO__GGUF_TEXT,
    LONGEST_KEY = SPPO__GGUF_KEY,
    LONGEST_NAME = 1024,
    LARGEST_ALIGNMENT = 65536,
    DEFAULT_ALIGNMENT = 32
};

/* Types of metadata values, in the format's numbering. */
enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, TYPES };

static const struct {
    const char *name;
    int bytes;  // 0: of no fixed size
} kinds[TYPES] = {
    [U8] = {"u8", 1},   [I8] = {"i8", 1},         [U16] = {"u16", 2},     [I16] = {"i16", 2},
    [U32] = {"u32", 4}, [I32] = {"i32", 4},       [F32] = {"f32", 4},     [BOOL] = {"bool", 1},
    [U64] = {"u64", 8}, [STRING] = {"string", 0}, [ARRAY] = {"array", 0}, [I64] = {"i64", 8},
    [F64] = {"f64", 8},
};

typedef struct text {
    const unsigned char *bytes;
    int64_t length;
} text;

typedef struct entry {
    char *name;
    uint32_t type, element;       // element: of an array
    int64_t count;                // of an array, else 1
    int64_t at;                   // where the value starts, for errors
    const unsigned char *value;   // numbers, or the first of them
    const unsigned char **texts;  // strings: where each one's length stands
} entry;

typedef struct tensor {
    char *name;
    const sppo__gguf_type *type;
    int ndim;
    int64_t shape[SPPO_MAX_DIMS];  // row-major
    int64_t count;
    int64_t offset, bytes;  // from the file's start, once that of the data is known
    int64_t at;
} tensor;

struct sppo_gguf {
    char *path;
    sppo__map map;
    entry *entries;
    tensor *tensors;
    sppo__name *entry_names, *tensor_names;
    int64_t entry_count, tensor_count;
};

typedef struct reader {
    const char *path;
    const unsigned char *bytes;
    int64_t size, at;
    int64_t text_left;
} reader;

/* ---- reading ---- */

static uint64_t number_at(const unsigned char *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static sppo_status need(const reader *r, int64_t bytes, const char *what) {
    if (bytes <= r->size - r->at) return SPPO_OK;
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_CUT, r->path, what, (long long)bytes,
                      (long long)(r->size - r->at), (long long)r->at);
}

static sppo_status read_number(reader *r, int bytes, const char *what, uint64_t *x) {
    sppo_status st = need(r, bytes, what);
    if (st) return st;
    *x = number_at(r->bytes + r->at, bytes);
    r->at += bytes;
    return SPPO_OK;
}

/* A count of things of at least `least` bytes each, which therefore must fit into what is left. */
static sppo_status read_count(reader *r, const char *what, int least, int64_t most, int64_t *x) {
    uint64_t n;
    int64_t at = r->at;
    sppo_status st = read_number(r, 8, what, &n);
    if (st) return st;
    if (n > (uint64_t)most || n > (uint64_t)((r->size - r->at) / least))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_COUNT, r->path, (unsigned long long)n, what,
                          (long long)(r->size - r->at), (long long)at);
    *x = (int64_t)n;
    return SPPO_OK;
}

static sppo_status read_text(reader *r, const char *what, text *t) {
    int64_t at = r->at;
    uint64_t length;
    sppo_status st = read_number(r, 8, what, &length);
    if (st) return st;
    if (length > (uint64_t)(r->size - r->at))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_TEXT, r->path, what,
                          (unsigned long long)length, (long long)(r->size - r->at), (long long)at);
    t->length = (int64_t)length;
    if (t->length > r->text_left)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_TEXT, r->path, MOST_TEXT >> 20, (long long)at);
    r->text_left -= t->length;
    t->bytes = r->bytes + r->at;
    r->at += t->length;
    return SPPO_OK;
}

static sppo_status read_name(reader *r, const char *what, int64_t longest, char **name) {
    int64_t at = r->at;
    text t;
    sppo_status st = read_text(r, what, &t);
    if (st) return st;
    if (!sppo__name_valid(t.bytes, t.length, longest))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_NAME, r->path, what,
                          sppo__quoted(t.bytes, t.length), (long long)longest, (long long)at);
    *name = malloc((size_t)t.length + 1);
    if (!*name) return sppo__fail_memory(r->path, t.length);
    memcpy(*name, t.bytes, (size_t)t.length);
    (*name)[t.length] = 0;
    return SPPO_OK;
}

/* ---- metadata ---- */

static sppo_status read_type(reader *r, const entry *e, uint32_t *type) {
    uint64_t x;
    int64_t at = r->at;
    sppo_status st = read_number(r, 4, "a type", &x);
    if (st) return st;
    if (x >= TYPES)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_KEY_TYPE, r->path,
                          sppo__quoted(e->name, (int64_t)strlen(e->name)), (unsigned long long)x,
                          (long long)at);
    *type = (uint32_t)x;
    return SPPO_OK;
}

static sppo_status read_texts(reader *r, entry *e) {
    e->texts = malloc(sizeof *e->texts * (size_t)(e->count ? e->count : 1));
    if (!e->texts) return sppo__fail_memory(r->path, (int64_t)sizeof *e->texts * e->count);
    for (int64_t i = 0; i < e->count; i++) {
        text t;
        e->texts[i] = r->bytes + r->at;
        sppo_status st = read_text(r, "a string", &t);
        if (st) return st;
    }
    return SPPO_OK;
}

static sppo_status read_numbers(reader *r, entry *e, uint32_t type) {
    e->value = r->bytes + r->at;
    int64_t bytes;
    if (__builtin_mul_overflow(e->count, (int64_t)kinds[type].bytes, &bytes)) bytes = INT64_MAX;
    sppo_status st = need(r, bytes, "a value");
    if (st) return st;
    for (int64_t i = 0; type == BOOL && i < e->count; i++)
        if (e->value[i] > 1)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_BOOL, r->path,
                              sppo__quoted(e->name, (int64_t)strlen(e->name)), e->value[i],
                              (long long)(r->at + i));
    r->at += bytes;
    return SPPO_OK;
}

static sppo_status read_entry(reader *r, entry *e) {
    sppo_status st = read_name(r, "a key", LONGEST_KEY, &e->name);
    if (!st) st = read_type(r, e, &e->type);
    if (st) return st;
    uint32_t type = e->type;
    e->at = r->at;
    e->count = 1;
    if (type == ARRAY) {
        st = read_type(r, e, &e->element);
        if (st) return st;
        type = e->element;
        if (type == ARRAY)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_NESTED, r->path,
                              sppo__quoted(e->name, (int64_t)strlen(e->name)), (long long)e->at);
        st = read_count(r, "array elements", type == STRING ? 8 : kinds[type].bytes, INT64_MAX,
                        &e->count);
        if (st) return st;
    }
    return type == STRING ? read_texts(r, e) : read_numbers(r, e, type);
}

/* ---- tensors ---- */

static sppo_status read_shape(reader *r, tensor *t) {
    uint64_t n;
    int64_t at = r->at;
    sppo_status st = read_number(r, 4, "a tensor", &n);
    if (st) return st;
    if (n < 1 || n > SPPO_MAX_DIMS)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_NDIM, r->path,
                          sppo__quoted(t->name, (int64_t)strlen(t->name)), (unsigned long long)n,
                          (long long)at);
    t->ndim = (int)n;
    t->count = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        at = r->at;
        st = read_number(r, 8, "a tensor", &n);
        if (st) return st;
        if (n < 1 || n > INT64_MAX || __builtin_mul_overflow(t->count, (int64_t)n, &t->count))
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_SIZE, r->path,
                              sppo__quoted(t->name, (int64_t)strlen(t->name)),
                              (unsigned long long)n, (long long)at);
        t->shape[i] = (int64_t)n;
    }
    return SPPO_OK;
}

static sppo_status read_tensor(reader *r, tensor *t) {
    uint64_t number, offset;
    t->at = r->at;
    sppo_status st = read_name(r, "a tensor name", LONGEST_NAME, &t->name);
    if (!st) st = read_shape(r, t);
    int64_t at = r->at;
    if (!st) st = read_number(r, 4, "a tensor", &number);
    if (st) return st;
    const char *name = sppo__quoted(t->name, (int64_t)strlen(t->name));
    t->type = sppo__gguf_type_of((uint32_t)number);
    if (!t->type)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_TENSOR_TYPE, r->path, name,
                          (unsigned long long)number, (long long)at);
    if (t->shape[t->ndim - 1] % t->type->values)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_BLOCKS, r->path, name,
                          (long long)t->shape[t->ndim - 1], t->type->values, t->type->name,
                          (long long)at);
    at = r->at;
    st = read_number(r, 8, "a tensor", &offset);
    if (st) return st;
    if (offset > INT64_MAX ||
        __builtin_mul_overflow(t->count / t->type->values, (int64_t)t->type->bytes, &t->bytes))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_OUTSIDE, r->path, name, (long long)r->size,
                          (long long)at);
    t->offset = (int64_t)offset;
    return SPPO_OK;
}

/* ---- the whole ---- */

static sppo_status alignment_of(const sppo_gguf *g, int64_t *alignment) {
    int64_t i = sppo_gguf_key_find(g, "general.alignment");
    *alignment = DEFAULT_ALIGNMENT;
    if (i < 0) return SPPO_OK;
    sppo_status st = sppo_gguf_integer(g, i, alignment);
    if (st) return st;
    if (*alignment < 1 || *alignment > LARGEST_ALIGNMENT || *alignment & (*alignment - 1))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_ALIGNMENT, g->path, (long long)*alignment,
                          (long long)g->entries[i].at);
    return SPPO_OK;
}

static int by_offset(const void *a, const void *b) {
    const tensor *x = *(tensor *const *)a, *y = *(tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static sppo_status check_overlap(const sppo_gguf *g) {
    if (!g->tensor_count) return SPPO_OK;
    tensor **order = malloc(sizeof *order * (size_t)g->tensor_count);
    if (!order) return sppo__fail_memory(g->path, (int64_t)sizeof *order * g->tensor_count);
    for (int64_t i = 0; i < g->tensor_count; i++) order[i] = &g->tensors[i];
    qsort(order, (size_t)g->tensor_count, sizeof *order, by_offset);
    sppo_status st = SPPO_OK;
    for (int64_t i = 1; !st && i < g->tensor_count; i++) {
        const tensor *a = order[i - 1], *b = order[i];
        if (a->offset + a->bytes > b->offset)
            st = sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_OVERLAP, g->path,
                            sppo__quoted(a->name, (int64_t)strlen(a->name)),
                            sppo__quoted(b->name, (int64_t)strlen(b->name)), (long long)b->offset);
    }
    free(order);
    return st;
}

/* Tensors lie inside the data, which starts at the next multiple of the alignment. */
static sppo_status place_tensors(sppo_gguf *g, int64_t end_of_header) {
    int64_t alignment;
    sppo_status st = alignment_of(g, &alignment);
    if (st) return st;
    int64_t start = (end_of_header + alignment - 1) & -alignment;
    for (int64_t i = 0; i < g->tensor_count; i++) {
        tensor *t = &g->tensors[i];
        const char *name = sppo__quoted(t->name, (int64_t)strlen(t->name));
        if (t->offset % alignment)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_UNALIGNED, g->path, name,
                              (long long)t->offset, (long long)alignment, (long long)t->at);
        int64_t end;
        if (__builtin_add_overflow(t->offset, start, &t->offset) ||
            __builtin_add_overflow(t->offset, t->bytes, &end) || end > g->map.size)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_OUTSIDE, g->path, name,
                              (long long)g->map.size, (long long)t->at);
    }
    return check_overlap(g);
}

static sppo_status index_names(const sppo_gguf *g, sppo__name **out, int64_t count, bool tensors) {
    sppo__name *names = malloc(sizeof *names * (size_t)(count ? count : 1));
    if (!names) return sppo__fail_memory(g->path, (int64_t)sizeof *names * count);
    for (int64_t i = 0; i < count; i++)
        names[i] = (sppo__name){tensors ? g->tensors[i].name : g->entries[i].name, i};
    *out = names;
    int64_t twice = sppo__names_sort(names, count);
    if (twice < 0) return SPPO_OK;
    const char *name = tensors ? g->tensors[twice].name : g->entries[twice].name;
    int64_t at = tensors ? g->tensors[twice].at : g->entries[twice].at;
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_TWICE, g->path, tensors ? "tensor" : "key",
                      // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
                      sppo__quoted(name, (int64_t)strlen(name)), (long long)at);
}

static sppo_status read_header(reader *r, int64_t *tensors, int64_t *entries) {
    uint64_t magic, version;
    sppo_status st = read_number(r, 4, "the header", &magic);
    if (!st && memcmp(r->bytes, "GGUF", 4))
        st = sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_MAGIC, r->path, sppo__quoted(r->bytes, 4));
    if (!st) st = read_number(r, 4, "the header", &version);
    if (!st && version != 2 && version != 3)
        st = sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_VERSION, r->path, (unsigned long long)version);
    if (!st) st = read_count(r, "tensors", 32, MOST_ENTRIES, tensors);
    if (!st) st = read_count(r, "metadata keys", 13, MOST_ENTRIES, entries);
    return st;
}

static sppo_status parse(sppo_gguf *g) {
    reader r = {
        .path = g->path, .bytes = g->map.bytes, .size = g->map.size, .text_left = MOST_TEXT};
    int64_t tensors, entries;
    sppo_status st = read_header(&r, &tensors, &entries);
    if (st) return st;
    g->entries = calloc((size_t)entries + 1, sizeof *g->entries);
    g->tensors = calloc((size_t)tensors + 1, sizeof *g->tensors);
    if (!g->entries || !g->tensors)
        return sppo__fail_memory(g->path, entries * (int64_t)sizeof *g->entries +
                                              tensors * (int64_t)sizeof *g->tensors);
    // Counts grow as entries are read, so that close frees what there is after a failure.
    while (!st && g->entry_count < entries) st = read_entry(&r, &g->entries[g->entry_count++]);
    while (!st && g->tensor_count < tensors) st = read_tensor(&r, &g->tensors[g->tensor_count++]);
    if (!st) st = index_names(g, &g->entry_names, g->entry_count, false);
    if (!st) st = index_names(g, &g->tensor_names, g->tensor_count, true);
    if (!st) st = place_tensors(g, r.at);
    return st;
}

/* Takes the map over, whether it fails or not. */
static sppo_status from_map(sppo_gguf **out, sppo__map map, const char *path) {
    sppo_gguf *g = calloc(1, sizeof *g);
    if (!g) {
        sppo__map_close(&map);
        return sppo__fail_memory(path, (int64_t)sizeof *g);
    }
    g->map = map;
    g->path = sppo__format("%s", path);
    sppo_status st = g->path ? parse(g) : sppo__fail_memory(path, (int64_t)strlen(path));
    if (st) {
        sppo_gguf_close(g);
        return st;
    }
    *out = g;
    return SPPO_OK;
}

sppo_status sppo__gguf_parse(const void *bytes, int64_t size, const char *name, sppo_gguf **out) {
    return from_map(out, (sppo__map){.bytes = bytes, .size = size, .fd = -1}, name);
}

sppo_status sppo_gguf_open(sppo_gguf **out, const char *path) {
    sppo__map map;
    sppo_status st = sppo__map_open(&map, path);
    return st ? st : from_map(out, map, path);
}

void sppo_gguf_close(sppo_gguf *g) {
    if (!g) return;
    for (int64_t i = 0; i < g->entry_count; i++) {
        free(g->entries[i].name);
        free((void *)g->entries[i].texts);
    }
    for (int64_t i = 0; i < g->tensor_count; i++) free(g->tensors[i].name);
    free(g->entries);
    free(g->tensors);
    free(g->entry_names);
    free(g->tensor_names);
    sppo__map_close(&g->map);
    free(g->path);
    free(g);
}

/* ---- tensors handed out ---- */

static const tensor *tensor_at(const sppo_gguf *g, int64_t i) {
    return i >= 0 && i < g->tensor_count ? &g->tensors[i] : NULL;
}

int64_t sppo_gguf_tensor_count(const sppo_gguf *g) {
    return g->tensor_count;
}

const char *sppo_gguf_tensor_name(const sppo_gguf *g, int64_t i) {
    const tensor *t = tensor_at(g, i);
    return t ? t->name : NULL;
}

const char *sppo_gguf_tensor_type(const sppo_gguf *g, int64_t i) {
    const tensor *t = tensor_at(g, i);
    return t ? t->type->name : NULL;
}

int sppo_gguf_tensor_ndim(const sppo_gguf *g, int64_t i) {
    const tensor *t = tensor_at(g, i);
    return t ? t->ndim : 0;
}

int64_t sppo_gguf_tensor_size(const sppo_gguf *g, int64_t i, int axis) {
    const tensor *t = tensor_at(g, i);
    return t && axis >= 0 && axis < t->ndim ? t->shape[axis] : 1;
}

int64_t sppo_gguf_tensor_find(const sppo_gguf *g, const char *name) {
    return sppo__names_find(g->tensor_names, g->tensor_count, name);
}

sppo_status sppo_gguf_tensor(sppo_tensor **out, sppo_gguf *g, const char *name) {
    const tensor *t = tensor_at(g, sppo_gguf_tensor_find(g, name));
    if (!t) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_FILE_NO_TENSOR, g->path, name);
    if (!t->type->unpack)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_NOT_READ, g->path,
                          sppo__quoted(name, (int64_t)strlen(name)), t->type->name,
                          (long long)t->offset);
    sppo_status st = sppo__map_check(&g->map, g->path);
    sppo_tensor *x;
    if (!st)
        st = sppo__tensor_shell(&x, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, SPPO_LAYOUT_ROWS, t->ndim,
                                t->shape, "gguf");
    if (st) return st;
    st = sppo__tensor_fill(x, false);
    if (st) {
        sppo_tensor_release(x);
        return st;
    }
    t->type->unpack(g->map.bytes + t->offset, t->count, sppo__f32(x));
    *out = x;
    return SPPO_OK;
}

/* ---- metadata handed out ---- */

int64_t sppo_gguf_key_count(const sppo_gguf *g) {
    return g->entry_count;
}

const char *sppo_gguf_key_name(const sppo_gguf *g, int64_t i) {
    return i >= 0 && i < g->entry_count ? g->entries[i].name : NULL;
}

const char *sppo_gguf_key_type(const sppo_gguf *g, int64_t i) {
    return i >= 0 && i < g->entry_count ? kinds[g->entries[i].type].name : NULL;
}

int64_t sppo_gguf_key_find(const sppo_gguf *g, const char *name) {
    return sppo__names_find(g->entry_names, g->entry_count, name);
}

static sppo_status entry_at(const sppo_gguf *g, int64_t i, const entry **e) {
    if (i < 0 || i >= g->entry_count)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_KEY, g->path, (long long)i,
                          (long long)g->entry_count);
    *e = &g->entries[i];
    return SPPO_OK;
}

static sppo_status wrong_type(const sppo_gguf *g, const entry *e, const char *wanted) {
    const char *name = sppo__quoted(e->name, (int64_t)strlen(e->name));
    if (e->type == ARRAY)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_ARRAY, g->path, name, kinds[e->element].name,
                          wanted, (long long)e->at);
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_GGUF_WANTED, g->path, name, kinds[e->type].name, wanted,
                      (long long)e->at);
}

static double to_double(uint32_t type, const unsigned char *p) {
    uint64_t bits = number_at(p, kinds[type].bytes);
    float f;
    double d;
    uint32_t half = (uint32_t)bits;
    switch (type) {
    case I8: return (double)(int8_t)bits;
    case I16: return (double)(int16_t)bits;
    case I32: return (double)(int32_t)bits;
    case I64: return (double)(int64_t)bits;
    case F32: memcpy(&f, &half, sizeof f); return (double)f;
    case F64: memcpy(&d, &bits, sizeof d); return d;
    default: return (double)bits;
    }
}

sppo_status sppo_gguf_number(const sppo_gguf *g, int64_t i, double *value) {
    const entry *e = NULL;
    sppo_status st = entry_at(g, i, &e);
    if (st) return st;
    if (!kinds[e->type].bytes) return wrong_type(g, e, "a number");
    *value = to_double(e->type, e->value);
    return SPPO_OK;
}

sppo_status sppo_gguf_integer(const sppo_gguf *g, int64_t i, int64_t *value) {
    const entry *e = NULL;
    sppo_status st = entry_at(g, i, &e);
    if (st) return st;
    if (!kinds[e->type].bytes || e->type == F32 || e->type == F64)
        return wrong_type(g, e, "an integer");
    uint64_t bits = number_at(e->value, kinds[e->type].bytes);
    if (e->type == U64 && bits > INT64_MAX) return wrong_type(g, e, "an integer below 2^63");
    switch (e->type) {
    case I8: *value = (int8_t)bits; break;
    case I16: *value = (int16_t)bits; break;
    case I32: *value = (int32_t)bits; break;
    default: *value = (int64_t)bits;
    }
    return SPPO_OK;
}

static void give_text(const unsigned char *at, const char **bytes, int64_t *length) {
    *length = (int64_t)number_at(at, 8);
    *bytes = (const char *)at + 8;
}

sppo_status sppo_gguf_string(const sppo_gguf *g, int64_t i, const char **bytes, int64_t *length) {
    const entry *e = NULL;
    sppo_status st = entry_at(g, i, &e);
    if (st) return st;
    if (e->type != STRING) return wrong_type(g, e, "a string");
    give_text(e->texts[0], bytes, length);
    return SPPO_OK;
}

int64_t sppo_gguf_array_count(const sppo_gguf *g, int64_t i) {
    if (i < 0 || i >= g->entry_count || g->entries[i].type != ARRAY) return -1;
    return g->entries[i].count;
}

const char *sppo_gguf_array_type(const sppo_gguf *g, int64_t i) {
    return sppo_gguf_array_count(g, i) < 0 ? NULL : kinds[g->entries[i].element].name;
}

/* Key i is an array and has an element j. */
static sppo_status element_at(const sppo_gguf *g, int64_t i, int64_t j, const entry **e) {
    sppo_status st = entry_at(g, i, e);
    if (st) return st;
    if ((*e)->type != ARRAY) return wrong_type(g, *e, "an array");
    if (j < 0 || j >= (*e)->count)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_GGUF_ELEMENT, g->path, (long long)j,
                          sppo__quoted((*e)->name, (int64_t)strlen((*e)->name)),
                          (long long)(*e)->count);
    return SPPO_OK;
}

sppo_status sppo_gguf_array_number(const sppo_gguf *g, int64_t i, int64_t j, double *value) {
    const entry *e = NULL;
    sppo_status st = element_at(g, i, j, &e);
    if (st) return st;
    if (e->element == STRING) return wrong_type(g, e, "an array of numbers");
    *value = to_double(e->element, e->value + j * kinds[e->element].bytes);
    return SPPO_OK;
}

sppo_status sppo_gguf_array_string(const sppo_gguf *g, int64_t i, int64_t j, const char **bytes,
                                   int64_t *length) {
    const entry *e = NULL;
    sppo_status st = element_at(g, i, j, &e);
    if (st) return st;
    if (e->element != STRING) return wrong_type(g, e, "an array of strings");
    give_text(e->texts[j], bytes, length);
    return SPPO_OK;
}
