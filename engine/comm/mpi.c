/* mpi.c - the carrier that MPI gives. A failure inside MPI ends all processes with MPI's own text:
 * that is its default, and nothing can go on without the others. */

#include "comm/comm.h"
#include "core/error.h"

#include <mpi.h>
#include <stdlib.h>

static int me, processes;

sppo_status sppo__carrier_start(int *rank, int *size) {
    int have = 0;
    // FUNNELED: the pool's threads compute, this one alone calls MPI.
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &have);
    if (have < MPI_THREAD_FUNNELED) return sppo__fail(SPPO_ERR_STATE, TEXT_COMM_THREADS, have);
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    MPI_Comm_size(MPI_COMM_WORLD, &processes);
    *rank = me;
    *size = processes;
    return SPPO_OK;
}

sppo_status sppo__carrier_exchange(const sppo__piece *send, const sppo__piece *receive) {
    MPI_Request *all = malloc(2 * (size_t)processes * sizeof *all);
    if (!all) return sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, 2LL * processes);
    int n = 0;
    for (int p = 0; p < processes; p++) {
        if (receive[p].bytes)
            MPI_Irecv(receive[p].data, (int)receive[p].bytes, MPI_BYTE, p, 0, MPI_COMM_WORLD,
                      &all[n++]);
    }
    for (int p = 0; p < processes; p++) {
        if (send[p].bytes)
            MPI_Isend(send[p].data, (int)send[p].bytes, MPI_BYTE, p, 0, MPI_COMM_WORLD, &all[n++]);
    }
    MPI_Waitall(n, all, MPI_STATUSES_IGNORE);
    free(all);
    return SPPO_OK;
}

void sppo__carrier_end(int code) {
    if (code) MPI_Abort(MPI_COMM_WORLD, code);
    MPI_Finalize();
}
