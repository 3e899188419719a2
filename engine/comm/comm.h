/* comm.h - what carries bytes between the processes of a run. One carrier is linked: comm/mpi.c, or
 * comm/alone.c where this build has no MPI. All collective calls (comm.c) are made of `exchange`. */

#ifndef SPPO_COMM_H
#define SPPO_COMM_H

#include "sppo.h"

typedef struct sppo__piece {
    void *data;
    int64_t bytes;  // 0: nothing to or from this process; at most INT_MAX
} sppo__piece;

/* Joins `size` processes, of which this is `rank`. */
sppo_status sppo__carrier_start(int *rank, int *size);

/* Sends send[p] to and takes receive[p] from each process p; done when it returns. */
sppo_status sppo__carrier_exchange(const sppo__piece *send, const sppo__piece *receive);

/* Leaves the others; with a `code` that is not 0 it ends them too and does not return. */
void sppo__carrier_end(int code);

enum { SPPO_COMM_CHUNK = 1 << 20 };  // bytes to or from one process at a time

/* Process root's x [count] becomes the sum over processes, added in the order of their ranks; that
 * of the others stays. */
sppo_status sppo__comm_reduce(float *x, int64_t count, int root);

/* `bytes` of process `from` into those of `to`; the others need not call it. */
sppo_status sppo__comm_move(void *data, int64_t bytes, int from, int to);

#endif
