/* comm.c - collective calls between the processes of a run, all of them made of one exchange.
 *
 * A sum adds process 0's value first, then 1's, and so on, whatever the carrier: its bits depend on
 * the number of processes alone, and are the same in each of them. (MPI_Allreduce promises less.) */

#include "comm/comm.h"
#include "core/error.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = SPPO_COMM_CHUNK };

static int me, processes = 1;
static int64_t traffic;

/* Number of processes as the launchers of OpenMPI and MPICH tell it; 1 without one. */
static int launched(int *rank) {
    static const char *const names[][2] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                           {"PMI_SIZE", "PMI_RANK"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *size = getenv(names[i][0]), *number = getenv(names[i][1]);
        if (!size || !number) continue;
        *rank = (int)strtol(number, NULL, 10);
        return (int)strtol(size, NULL, 10);
    }
    return 1;
}

int sppo_comm_launched(void) {
    int rank = 0;
    return launched(&rank);
}

sppo_status sppo_comm_start(void) {
    int rank = 0, size = launched(&rank);
    if (processes > 1 || size <= 1) return SPPO_OK;
    sppo_status status = sppo__carrier_start(&rank, &size);
    if (status) return status;
    me = rank;
    processes = size;
    return SPPO_OK;
}

void sppo_comm_end(int code) {
    if (processes > 1) sppo__carrier_end(code);
    me = 0;
    processes = 1;
}

int sppo_comm_rank(void) {
    return me;
}

int sppo_comm_size(void) {
    return processes;
}

int64_t sppo_comm_bytes(void) {
    return traffic;
}

int64_t sppo_comm_share(int64_t count, int rank) {
    int64_t even = count / processes, rest = count % processes;
    return even * rank + (rank < rest ? rank : rest);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* What lies from `at` to the end of a share, at most a chunk. */
static int64_t part(int64_t count, int rank, int64_t at, int64_t most) {
    int64_t share = sppo_comm_share(count, rank + 1) - sppo_comm_share(count, rank);
    return share > at ? least(share - at, most) : 0;
}

static sppo_status exchange(sppo__piece *pieces) {
    for (int p = 0; p < processes; p++) traffic += pieces[p].bytes;
    return sppo__carrier_exchange(pieces, pieces + processes);
}

/* Pieces to each process, then from each; the caller frees them. NULL: no memory. */
static sppo__piece *new_pieces(void) {
    return calloc(2 * (size_t)processes, sizeof(sppo__piece));
}

enum { MOST = CHUNK / sizeof(float) };

/* sum [count] is this process's; theirs [processes, MOST] those of the others. */
static void add_in_order(float *sum, float *theirs, int64_t count) {
    memcpy(theirs + (int64_t)me * MOST, sum, (size_t)count * 4);
    memcpy(sum, theirs, (size_t)count * 4);
    for (int p = 1; p < processes; p++) {
        for (int64_t i = 0; i < count; i++) sum[i] += theirs[(int64_t)p * MOST + i];
    }
}

sppo_status sppo_comm_reduce_scatter(float *x, int64_t count) {
    if (processes == 1) return SPPO_OK;
    sppo__piece *pieces = new_pieces();
    float *theirs = malloc((size_t)processes * CHUNK);
    sppo_status status = SPPO_OK;
    if (!pieces || !theirs)
        status = sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, (long long)processes * CHUNK);
    for (int64_t at = 0; !status && at < part(count, 0, 0, count); at += MOST) {
        int64_t mine = part(count, me, at, MOST);
        float *sum = x + sppo_comm_share(count, me) + at;
        for (int p = 0; p < processes; p++) {
            bool other = p != me;
            pieces[p] = (sppo__piece){x + sppo_comm_share(count, p) + at,
                                      other ? part(count, p, at, MOST) * 4 : 0};
            pieces[processes + p] = (sppo__piece){theirs + (int64_t)p * MOST, other ? mine * 4 : 0};
        }
        status = exchange(pieces);
        if (status) break;
        add_in_order(sum, theirs, mine);
    }
    free(theirs);
    free(pieces);
    return status;
}

sppo_status sppo_comm_all_gather(float *x, int64_t count) {
    if (processes == 1) return SPPO_OK;
    sppo__piece *pieces = new_pieces();
    sppo_status status = SPPO_OK;
    if (!pieces) status = sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, 2LL * processes);
    for (int64_t at = 0; !status && at < part(count, 0, 0, count); at += MOST) {
        for (int p = 0; p < processes; p++) {
            bool other = p != me;
            pieces[p] = (sppo__piece){x + sppo_comm_share(count, me) + at,
                                      other ? part(count, me, at, MOST) * 4 : 0};
            pieces[processes + p] = (sppo__piece){x + sppo_comm_share(count, p) + at,
                                                  other ? part(count, p, at, MOST) * 4 : 0};
        }
        status = exchange(pieces);
    }
    free(pieces);
    return status;
}

sppo_status sppo_comm_all_reduce(float *x, int64_t count) {
    sppo_status status = sppo_comm_reduce_scatter(x, count);
    return status ? status : sppo_comm_all_gather(x, count);
}

sppo_status sppo__comm_reduce(float *x, int64_t count, int root) {
    sppo__piece *pieces = new_pieces();
    bool adds = me == root;
    float *theirs = adds ? malloc((size_t)processes * CHUNK) : NULL;
    sppo_status status = SPPO_OK;
    if (!pieces || (adds && !theirs))
        status = sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, (long long)processes * CHUNK);
    for (int64_t at = 0; !status && at < count; at += MOST) {
        int64_t n = least(count - at, MOST);
        for (int p = 0; theirs && p < processes; p++)
            pieces[processes + p] = (sppo__piece){theirs + (int64_t)p * MOST, p == me ? 0 : n * 4};
        if (!adds) pieces[root] = (sppo__piece){x + at, n * 4};
        status = exchange(pieces);
        if (!status && theirs) add_in_order(x + at, theirs, n);
    }
    free(theirs);
    free(pieces);
    return status;
}

sppo_status sppo__comm_move(void *data, int64_t bytes, int from, int to) {
    if (from == to || (me != from && me != to)) return SPPO_OK;
    sppo__piece *pieces = new_pieces();
    sppo_status status = SPPO_OK;
    if (!pieces) status = sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, 2LL * processes);
    for (int64_t at = 0; !status && at < bytes; at += CHUNK) {
        sppo__piece piece = {(char *)data + at, least(bytes - at, CHUNK)};
        if (me == from) pieces[to] = piece;
        else pieces[processes + from] = piece;
        status = exchange(pieces);
    }
    free(pieces);
    return status;
}

sppo_status sppo_comm_broadcast(void *data, int64_t bytes, int root) {
    if (root < 0 || root >= processes)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_COMM_ROOT, "broadcast", root, processes - 1);
    if (processes == 1) return SPPO_OK;
    sppo__piece *pieces = new_pieces();
    sppo_status status = SPPO_OK;
    if (!pieces) status = sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, 2LL * processes);
    for (int64_t at = 0; !status && at < bytes; at += CHUNK) {
        sppo__piece piece = {(char *)data + at, least(bytes - at, CHUNK)};
        for (int p = 0; me == root && p < processes; p++) {
            if (p != root) pieces[p] = piece;
        }
        if (me != root) pieces[processes + root] = piece;
        status = exchange(pieces);
    }
    free(pieces);
    return status;
}

sppo_status sppo_comm_barrier(void) {
    float one[1024] = {0};
    if (processes > 1024) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_COMM_MANY, processes, 1024);
    return sppo_comm_all_gather(one, processes);  // a value from each
}
