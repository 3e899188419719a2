/* dispatch.h - the kernel table of the instruction set in use. */

#ifndef SPPO_DISPATCH_H
#define SPPO_DISPATCH_H

#include "ops/op.h"

const sppo__kernel *sppo__cpu_table(void);

#endif
