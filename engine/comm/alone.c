/* alone.c - the carrier of a build without MPI: there is no other process. */

#include "comm/comm.h"
#include "core/error.h"

sppo_status sppo__carrier_start(int *rank, int *size) {
    return sppo__fail(SPPO_ERR_STATE, TEXT_COMM_NO_MPI, *rank, *size);
}

sppo_status sppo__carrier_exchange(const sppo__piece *send, const sppo__piece *receive) {
    SPPO_ASSERT(!send && !receive);  // one process never comes here
    return SPPO_OK;
}

void sppo__carrier_end(int code) {
    (void)code;
}
