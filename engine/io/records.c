/* records.c - files of records that survive a kill: what was appended whole stays, what was not is
 * cut off. What is in a record is the caller's.
 *
 * File: "sppo-rec", u32 version, u32 zero, then records. Record: u32 length, u32 CRC-32C of the
 * payload, u32 CRC-32C of these 8 bytes, payload. All little-endian. The header has a checksum of
 * its own, because a damaged length would look like a torn tail and cost every record after it.
 *
 * Torn is what an interrupted append can leave, at the end of the file only: a record that the file
 * ends inside of; a last record whose payload does not match (the file grew before its bytes
 * reached the disk); nothing but zeros (likewise). Everything else that does not match is damage,
 * an error. So after a power failure at most the records since the last sync are lost, and if more
 * than one was written since then, the file may be refused: sync after each that matters. */

#include "io/records.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PREFIX = 16,          // bytes before the first record
    HEADER = 12,          // bytes of a record before its payload
    LARGEST = 256 << 20,  // bytes of a payload
    BUFFER = 1 << 20,     // bytes gathered before they are written
    VERSION = 1
};

static const char MAGIC[8] = {'s', 'p', 'p', 'o', '-', 'r', 'e', 'c'};

struct sppo_records {
    char *path;
    int fd;
    bool writable, broken;
    sppo__scan scan;
    unsigned char *pending;  // appended, not yet written; they belong at the file's end
    int64_t pending_bytes, pending_room;
    unsigned char *payload;  // the record last read
    int64_t payload_room;
};

/* ---- checksum ---- */

static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t x = i;
        for (int bit = 0; bit < 8; bit++) x = x & 1 ? x >> 1 ^ 0x82f63b78 : x >> 1;
        table[i] = x;
    }
}

uint32_t sppo__crc32c(uint32_t crc, const void *data, int64_t bytes) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_table);
    const unsigned char *p = data;
    crc = ~crc;
    for (int64_t i = 0; i < bytes; i++) crc = crc >> 8 ^ table[(crc ^ p[i]) & 255];
    return ~crc;
}

static uint32_t u32_at(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(unsigned char *p, uint32_t x) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(x >> 8 * i);
}

static void put_prefix(unsigned char p[PREFIX]) {
    memcpy(p, MAGIC, sizeof MAGIC);
    put_u32(p + 8, VERSION);
    put_u32(p + 12, 0);
}

/* ---- scanning ---- */

static sppo_status note_start(sppo__scan *s, int64_t at, const char *name) {
    if (s->count + 1 >= s->room) {
        int64_t room = s->room ? 2 * s->room : 256;
        int64_t *starts = realloc(s->starts, sizeof *starts * (size_t)room);
        if (!starts) return sppo__fail_memory(name, (int64_t)sizeof *starts * room);
        s->starts = starts;
        s->room = room;
    }
    s->starts[s->count] = at;
    return SPPO_OK;
}

static bool all_zero(const unsigned char *p, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++)
        if (p[i]) return false;
    return true;
}

/* The record at `at`: *end is where the next one starts, or `at` itself if it is torn. */
static sppo_status scan_record(const unsigned char *p, int64_t size, int64_t at, int64_t index,
                               const char *name, int64_t *end) {
    *end = at;
    if (size - at < HEADER) return SPPO_OK;
    const unsigned char *h = p + at;
    if (sppo__crc32c(0, h, 8) != u32_at(h + 8)) {
        if (all_zero(h, size - at)) return SPPO_OK;
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_HEADER, name, (long long)index, (long long)at);
    }
    int64_t length = u32_at(h);
    if (length > LARGEST)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_LENGTH, name, (long long)index,
                          (long long)length, (long long)LARGEST, (long long)at);
    int64_t next = at + HEADER + length;
    if (next > size) return SPPO_OK;
    if (sppo__crc32c(0, h + HEADER, length) != u32_at(h + 4)) {
        if (next == size) return SPPO_OK;
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_PAYLOAD, name, (long long)index, (long long)at);
    }
    *end = next;
    return SPPO_OK;
}

sppo_status sppo__records_scan(const void *bytes, int64_t size, const char *name,
                               sppo__scan *scan) {
    const unsigned char *p = bytes;
    unsigned char prefix[PREFIX];
    put_prefix(prefix);
    *scan = (sppo__scan){0};
    sppo_status st = note_start(scan, PREFIX, name);
    if (st) return st;
    if (size < PREFIX) {  // killed while it was made
        if (size && memcmp(p, prefix, (size_t)size) && !all_zero(p, size))
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_MAGIC, name, sppo__quoted(p, size));
        scan->torn = size;
        return SPPO_OK;
    }
    if (all_zero(p, size)) {
        scan->torn = size;
        return SPPO_OK;
    }
    if (memcmp(p, MAGIC, sizeof MAGIC))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_MAGIC, name, sppo__quoted(p, sizeof MAGIC));
    if (memcmp(p, prefix, PREFIX))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_VERSION, name,
                          (unsigned long long)u32_at(p + 8));
    int64_t at = PREFIX;
    for (;;) {
        int64_t end;
        st = scan_record(p, size, at, scan->count, name, &end);
        if (st) return st;
        if (end == at) break;
        scan->count++;
        at = end;
        st = note_start(scan, at, name);
        if (st) return st;
    }
    scan->torn = size - at;
    return SPPO_OK;
}

static int64_t end_of(const sppo_records *r) {
    return r->scan.starts[r->scan.count];
}

/* ---- opening ---- */

static void records_free(sppo_records *r) {
    if (r->fd >= 0) close(r->fd);
    free(r->scan.starts);
    free(r->pending);
    free(r->payload);
    free(r->path);
    free(r);
}

static sppo_status scan_file(sppo_records *r) {
    sppo__map map;
    sppo_status st = sppo__map_open(&map, r->path);
    if (st) return st;
    st = sppo__records_scan(map.bytes, map.size, r->path, &r->scan);
    // A file without its prefix is a new one.
    bool fresh = !st && (map.size < PREFIX || (!r->scan.count && r->scan.torn == map.size));
    sppo__map_close(&map);
    if (st || !r->writable) return st;
    if (fresh) {
        unsigned char prefix[PREFIX];
        put_prefix(prefix);
        if (ftruncate(r->fd, 0)) return sppo__fail_os(r->path, "truncate");
        st = sppo__write_all(r->fd, r->path, prefix, PREFIX);
        return st ? st : sppo__sync_parent(r->path);
    }
    if (r->scan.torn && ftruncate(r->fd, end_of(r))) return sppo__fail_os(r->path, "truncate");
    return SPPO_OK;
}

sppo_status sppo_records_open(sppo_records **out, const char *path, int writable) {
    sppo_records *r = calloc(1, sizeof *r);
    if (!r) return sppo__fail_memory(path, (int64_t)sizeof *r);
    r->writable = writable;
    r->path = sppo__format("%s", path);
    int flags = writable ? O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW : O_RDONLY;
    r->fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0666);
    sppo_status st = SPPO_OK;
    if (r->fd < 0) st = sppo__fail_os(path, "open");
    else if (!r->path) st = sppo__fail_memory(path, (int64_t)strlen(path));
    else st = scan_file(r);
    if (st) {
        records_free(r);
        return st;
    }
    *out = r;
    return SPPO_OK;
}

int64_t sppo_records_count(const sppo_records *r) {
    return r->scan.count;
}

int64_t sppo_records_torn(const sppo_records *r) {
    return r->scan.torn;
}

/* ---- writing ---- */

/* Forgets what cannot be on the disk whole. */
static void cut_back(sppo_records *r) {
    int64_t written = end_of(r) - r->pending_bytes;
    while (r->scan.count && end_of(r) > written) r->scan.count--;
    r->pending_bytes = 0;
    if (ftruncate(r->fd, end_of(r))) r->broken = true;
}

static sppo_status flush(sppo_records *r) {
    if (!r->pending_bytes) return SPPO_OK;
    sppo_status st = sppo__write_all(r->fd, r->path, r->pending, r->pending_bytes);
    if (st) cut_back(r);
    r->pending_bytes = 0;
    return st;
}

static sppo_status check_writable(const sppo_records *r, const char *what) {
    if (!r->writable) return sppo__fail(SPPO_ERR_STATE, TEXT_REC_READ_ONLY, r->path, what);
    if (r->broken) return sppo__fail(SPPO_ERR_STATE, TEXT_REC_BROKEN, r->path);
    return SPPO_OK;
}

static sppo_status make_pending_room(sppo_records *r, int64_t bytes) {
    int64_t wanted = r->pending_bytes + bytes;
    if (wanted <= r->pending_room) return SPPO_OK;
    if (wanted < BUFFER) wanted = BUFFER;
    unsigned char *p = realloc(r->pending, (size_t)wanted);
    if (!p) return sppo__fail_memory(r->path, wanted);
    r->pending = p;
    r->pending_room = wanted;
    return SPPO_OK;
}

sppo_status sppo_records_append(sppo_records *r, const void *data, int64_t bytes) {
    sppo_status st = check_writable(r, "append");
    if (!st && (bytes < 0 || bytes > LARGEST))
        st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_REC_LENGTH, r->path, (long long)r->scan.count,
                        (long long)bytes, (long long)LARGEST, (long long)end_of(r));
    if (!st && r->pending_bytes + HEADER + bytes > BUFFER) st = flush(r);
    if (!st) st = make_pending_room(r, HEADER + bytes);
    if (st) return st;
    int64_t end = end_of(r) + HEADER + bytes;
    r->scan.count++;
    st = note_start(&r->scan, end, r->path);
    if (st) {
        r->scan.count--;
        return st;
    }
    unsigned char *h = r->pending + r->pending_bytes;
    put_u32(h, (uint32_t)bytes);
    put_u32(h + 4, sppo__crc32c(0, data, bytes));
    put_u32(h + 8, sppo__crc32c(0, h, 8));
    if (bytes) memcpy(h + HEADER, data, (size_t)bytes);
    r->pending_bytes += HEADER + bytes;
    return SPPO_OK;
}

sppo_status sppo_records_sync(sppo_records *r) {
    sppo_status st = check_writable(r, "sync");
    if (!st) st = flush(r);
    if (!st && fdatasync(r->fd)) st = sppo__fail_os(r->path, "sync");
    return st;
}

sppo_status sppo_records_truncate(sppo_records *r, int64_t count) {
    sppo_status st = check_writable(r, "truncate");
    if (!st && (count < 0 || count > r->scan.count))
        st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_REC_INDEX, r->path, (long long)count,
                        (long long)r->scan.count);
    if (!st) st = flush(r);
    if (st) return st;
    if (ftruncate(r->fd, r->scan.starts[count])) return sppo__fail_os(r->path, "truncate");
    r->scan.count = count;
    return SPPO_OK;
}

sppo_status sppo_records_close(sppo_records *r) {
    if (!r) return SPPO_OK;
    sppo_status st = r->broken ? SPPO_OK : flush(r);
    if (close(r->fd) && !st) st = sppo__fail_os(r->path, "close");
    r->fd = -1;
    records_free(r);
    return st;
}

/* ---- reading ---- */

static sppo_status read_at(const sppo_records *r, unsigned char *p, int64_t bytes, int64_t at) {
    while (bytes) {
        ssize_t n = pread(r->fd, p, (size_t)bytes, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sppo__fail_os(r->path, "read");
        if (n == 0)
            return sppo__fail(SPPO_ERR_IO, TEXT_FILE_SHRUNK, r->path, (long long)at,
                              (long long)end_of(r));
        p += n;
        at += n;
        bytes -= n;
    }
    return SPPO_OK;
}

sppo_status sppo_records_read(sppo_records *r, int64_t i, const void **data, int64_t *bytes) {
    if (i < 0 || i >= r->scan.count)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_REC_INDEX, r->path, (long long)i,
                          (long long)r->scan.count);
    sppo_status st = flush(r);
    if (st) return st;
    int64_t at = r->scan.starts[i], whole = r->scan.starts[i + 1] - at;
    if (whole > r->payload_room) {
        unsigned char *p = realloc(r->payload, (size_t)whole);
        if (!p) return sppo__fail_memory(r->path, whole);
        r->payload = p;
        r->payload_room = whole;
    }
    st = read_at(r, r->payload, whole, at);
    if (st) return st;
    // Checked again: the disk may answer otherwise than it did at open.
    if (sppo__crc32c(0, r->payload + HEADER, whole - HEADER) != u32_at(r->payload + 4))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_REC_PAYLOAD, r->path, (long long)i, (long long)at);
    *data = r->payload + HEADER;
    *bytes = whole - HEADER;
    return SPPO_OK;
}
