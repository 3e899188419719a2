/* tape.h - what ops ask of the tape. */

#ifndef SPPO_TAPE_H
#define SPPO_TAPE_H

#include "ops/op.h"

/* Records the call if recording is on and an input needs a gradient: its outputs then need one. */
sppo_status sppo__tape_record(const sppo__call *c, sppo__backward backward);

#endif
