/* safetensors.c - one safetensors file: 8 bytes of header length, the header in JSON, the values.
 * An index over several files is resolved in Lua; writing is in safetensors_writer.c. */

#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "core/tensor.h"
#include "io/json.h"

enum { MOST_VALUES = 2 << 20 };  // commas, colons and brackets of a header: about 100,000 tensors

/* Every dtype of the format has a size; few are read. */
static const struct {
    const char *name;
    int bytes;
    int dtype;  // -1: not read
} dtypes[] = {
    {"F32", 4, SPPO_DTYPE_F32},
    {"BF16", 2, SPPO_DTYPE_BF16},
    {"F16", 2, SPPO_DTYPE_F16},
    {"I32", 4, SPPO_DTYPE_I32},
    {"BOOL", 1, -1},
    {"U8", 1, -1},
    {"I8", 1, -1},
    {"F8_E5M2", 1, -1},
    {"F8_E4M3", 1, -1},
    {"F8_E8M0", 1, -1},
    {"I16", 2, -1},
    {"U16", 2, -1},
    {"U32", 4, -1},
    {"F64", 8, -1},
    {"I64", 8, -1},
    {"U64", 8, -1},
};

typedef struct tensor {
    const char *name;  // in the header's tree
    int kind;          // of dtypes
    int ndim;
    int64_t shape[SPPO_MAX_DIMS];
    int64_t start, end;  // from the file's start
} tensor;

struct sppo_safetensors {
    char *path;
    sppo__map map;
    json_t *header;
    tensor *tensors;
    sppo__name *names;
    int64_t count;
};

const char *sppo__safetensors_dtype_name(sppo_dtype dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (dtypes[i].dtype == (int)dtype) return dtypes[i].name;
    return NULL;
}

/* ---- the header ---- */

static sppo_status fail_entry(const sppo_safetensors *s, const char *name, const char *what) {
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_ENTRY, s->path,
                      sppo__quoted(name, (int64_t)strlen(name)), what);
}

static sppo_status read_dtype(const sppo_safetensors *s, const json_t *v, tensor *t) {
    const char *text = json_string_value(v);
    if (!text) return fail_entry(s, t->name, "no dtype");
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        t->kind = (int)i;
        if (!strcmp(text, dtypes[i].name)) return SPPO_OK;
    }
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_DTYPE, s->path,
                      sppo__quoted(t->name, (int64_t)strlen(t->name)),
                      sppo__quoted(text, (int64_t)strlen(text)));
}

/* Sizes, and the bytes that they take. */
static sppo_status read_shape(const sppo_safetensors *s, const json_t *v, tensor *t,
                              int64_t *bytes) {
    if (!json_is_array(v)) return fail_entry(s, t->name, "no shape");
    if (json_array_size(v) > SPPO_MAX_DIMS) return fail_entry(s, t->name, "more than 4 dimensions");
    t->ndim = (int)json_array_size(v);
    *bytes = dtypes[t->kind].bytes;
    int64_t nonzero = *bytes;  // sizes beside a 0 must not overflow either
    for (int i = 0; i < t->ndim; i++) {
        const json_t *size = json_array_get(v, (size_t)i);
        t->shape[i] = json_integer_value(size);
        if (!json_is_integer(size) || t->shape[i] < 0)
            return fail_entry(s, t->name, "a size that is not a whole number");
        *bytes = t->shape[i] ? *bytes : 0;
        if (__builtin_mul_overflow(nonzero, t->shape[i] ? t->shape[i] : 1, &nonzero))
            return fail_entry(s, t->name, "sizes whose product is beyond 2^63");
    }
    if (*bytes) *bytes = nonzero;
    return SPPO_OK;
}

static sppo_status read_place(const sppo_safetensors *s, const json_t *v, int64_t data, tensor *t,
                              int64_t bytes) {
    const json_t *start = json_array_get(v, 0), *end = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(start) || !json_is_integer(end))
        return fail_entry(s, t->name, "no data_offsets");
    t->start = json_integer_value(start);
    t->end = json_integer_value(end);
    if (t->start < 0 || t->end < t->start || t->end > s->map.size - data)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_OUTSIDE, s->path,
                          sppo__quoted(t->name, (int64_t)strlen(t->name)), (long long)s->map.size,
                          8LL);
    t->start += data;
    t->end += data;
    if (t->end - t->start != bytes)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_BYTES, s->path,
                          sppo__quoted(t->name, (int64_t)strlen(t->name)), dtypes[t->kind].name,
                          sppo__dims_text(t->ndim, t->shape), (long long)bytes,
                          (long long)(t->end - t->start), (long long)t->start);
    return SPPO_OK;
}

static sppo_status read_tensor(const sppo_safetensors *s, const char *name, const json_t *v,
                               int64_t data, tensor *t) {
    int64_t bytes = 0, length = (int64_t)strlen(name);
    t->name = name;
    if (!sppo__name_valid(name, length, SPPO__ST_NAME))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_NAME, s->path, "a tensor name",
                          sppo__quoted(name, length), (long long)SPPO__ST_NAME, 8LL);
    if (!json_is_object(v)) return fail_entry(s, name, "not an object");
    sppo_status st = read_dtype(s, json_object_get(v, "dtype"), t);
    if (!st) st = read_shape(s, json_object_get(v, "shape"), t, &bytes);
    if (!st) st = read_place(s, json_object_get(v, "data_offsets"), data, t, bytes);
    return st;
}

static sppo_status read_metadata(const sppo_safetensors *s, json_t *v) {
    const char *key;
    json_t *value;
    if (!json_is_object(v))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_METADATA, s->path, "'__metadata__'");
    json_object_foreach(v, key, value) {
        if (!json_is_string(value))
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_METADATA, s->path,
                              sppo__quoted(key, (int64_t)strlen(key)));
    }
    return SPPO_OK;
}

/* ---- the whole ---- */

static int by_start(const void *a, const void *b) {
    const tensor *x = *(tensor *const *)a, *y = *(tensor *const *)b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The tensors cover the data exactly: nothing can hide between them. */
static sppo_status check_cover(const sppo_safetensors *s, int64_t data) {
    tensor **order = malloc(sizeof *order * (size_t)(s->count + 1));
    if (!order) return sppo__fail_memory(s->path, (int64_t)sizeof *order * s->count);
    for (int64_t i = 0; i < s->count; i++) order[i] = &s->tensors[i];
    if (s->count) qsort(order, (size_t)s->count, sizeof *order, by_start);
    sppo_status st = SPPO_OK;
    int64_t covered = data;
    for (int64_t i = 0; !st && i < s->count; i++) {
        const tensor *t = order[i];
        if (t->start < covered)
            st = sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_OVERLAP, s->path,
                            sppo__quoted(order[i - 1]->name, (int64_t)strlen(order[i - 1]->name)),
                            sppo__quoted(t->name, (int64_t)strlen(t->name)), (long long)t->start);
        else if (t->start > covered)
            st = sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_HOLE, s->path, (long long)covered,
                            (long long)t->start, (long long)covered);
        covered = t->end;
    }
    if (!st && covered != s->map.size)
        st = sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_HOLE, s->path, (long long)covered,
                        (long long)s->map.size, (long long)covered);
    free(order);
    return st;
}

static sppo_status read_header(sppo_safetensors *s, int64_t *data) {
    const unsigned char *p = s->map.bytes;
    if (s->map.size < 8)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_CUT, s->path, "the header", 8LL,
                          (long long)s->map.size, 0LL);
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) length |= (uint64_t)p[i] << 8 * i;
    if (length < 2 || length > SPPO__ST_HEADER || (int64_t)length > s->map.size - 8)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_HEADER, s->path, (long long)length,
                          (long long)SPPO__ST_HEADER, (long long)s->map.size);
    if (p[8] != '{')
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_BRACE, s->path, sppo__quoted(p + 8, 1));
    sppo__json_error e;
    s->header = sppo__json_parse((const char *)p + 8, (int64_t)length, 4, MOST_VALUES, 0, &e);
    if (!s->header)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_JSON, s->path, e.text, (long long)(8 + e.at));
    *data = 8 + (int64_t)length;
    return SPPO_OK;
}

static sppo_status parse(sppo_safetensors *s) {
    int64_t data = 0;
    sppo_status st = read_header(s, &data);
    if (st) return st;
    size_t most = json_object_size(s->header);
    s->tensors = calloc(most + 1, sizeof *s->tensors);
    s->names = calloc(most + 1, sizeof *s->names);
    if (!s->tensors || !s->names)
        return sppo__fail_memory(s->path, (int64_t)(most * sizeof *s->tensors));
    const char *key;
    json_t *value;
    json_object_foreach(s->header, key, value) {
        if (!strcmp(key, "__metadata__")) {
            st = read_metadata(s, value);
        } else {
            st = read_tensor(s, key, value, data, &s->tensors[s->count]);
            s->names[s->count] = (sppo__name){key, s->count};
            s->count++;
        }
        if (st) return st;
    }
    sppo__names_sort(s->names, s->count);  // jansson refused names that are there twice
    return check_cover(s, data);
}

/* Takes the map over, whether it fails or not. */
static sppo_status from_map(sppo_safetensors **out, sppo__map map, const char *path) {
    sppo_safetensors *s = calloc(1, sizeof *s);
    if (!s) {
        sppo__map_close(&map);
        return sppo__fail_memory(path, (int64_t)sizeof *s);
    }
    s->map = map;
    s->path = sppo__format("%s", path);
    sppo_status st = s->path ? parse(s) : sppo__fail_memory(path, (int64_t)strlen(path));
    if (st) {
        sppo_safetensors_close(s);
        return st;
    }
    *out = s;
    return SPPO_OK;
}

sppo_status sppo__safetensors_parse(const void *bytes, int64_t size, const char *name,
                                    sppo_safetensors **out) {
    return from_map(out, (sppo__map){.bytes = bytes, .size = size, .fd = -1}, name);
}

sppo_status sppo_safetensors_open(sppo_safetensors **out, const char *path) {
    sppo__map map;
    sppo_status st = sppo__map_open(&map, path);
    return st ? st : from_map(out, map, path);
}

void sppo_safetensors_close(sppo_safetensors *s) {
    if (!s) return;
    json_decref(s->header);
    free(s->tensors);
    free(s->names);
    sppo__map_close(&s->map);
    free(s->path);
    free(s);
}

/* ---- handing out ---- */

static const tensor *tensor_at(const sppo_safetensors *s, int64_t i) {
    return i >= 0 && i < s->count ? &s->tensors[i] : NULL;
}

int64_t sppo_safetensors_count(const sppo_safetensors *s) {
    return s->count;
}

const char *sppo_safetensors_name(const sppo_safetensors *s, int64_t i) {
    const tensor *t = tensor_at(s, i);
    return t ? t->name : NULL;
}

const char *sppo_safetensors_dtype(const sppo_safetensors *s, int64_t i) {
    const tensor *t = tensor_at(s, i);
    return t ? dtypes[t->kind].name : NULL;
}

int sppo_safetensors_ndim(const sppo_safetensors *s, int64_t i) {
    const tensor *t = tensor_at(s, i);
    return t ? t->ndim : 0;
}

int64_t sppo_safetensors_size(const sppo_safetensors *s, int64_t i, int axis) {
    const tensor *t = tensor_at(s, i);
    return t && axis >= 0 && axis < t->ndim ? t->shape[axis] : 1;
}

int64_t sppo_safetensors_find(const sppo_safetensors *s, const char *name) {
    return sppo__names_find(s->names, s->count, name);
}

const char *sppo_safetensors_metadata(const sppo_safetensors *s, const char *key) {
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}

sppo_status sppo_safetensors_tensor(sppo_tensor **out, sppo_safetensors *s, const char *name) {
    const tensor *t = tensor_at(s, sppo_safetensors_find(s, name));
    if (!t) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_FILE_NO_TENSOR, s->path, name);
    if (dtypes[t->kind].dtype < 0)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_ST_NOT_READ, s->path,
                          sppo__quoted(name, (int64_t)strlen(name)), dtypes[t->kind].name,
                          (long long)t->start);
    sppo_status st = sppo__map_check(&s->map, s->path);
    sppo_tensor *x;
    if (!st)
        st = sppo__tensor_shell(&x, (sppo_dtype)dtypes[t->kind].dtype, SPPO_DEVICE_CPU,
                                SPPO_LAYOUT_ROWS, t->ndim, t->shape, "safetensors");
    if (st) return st;
    st = sppo__tensor_fill(x, false);
    if (!st) st = sppo_tensor_write(x, s->map.bytes + t->start, t->end - t->start);
    if (st) {
        sppo_tensor_release(x);
        return st;
    }
    *out = x;
    return SPPO_OK;
}
