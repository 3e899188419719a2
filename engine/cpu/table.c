/* table.c - the kernels of one instruction set, made from ops.def; compiled once for each. */

#include "cpu/cpu.h"

#define SPPO_OP(NAME, name, inputs, outputs) [SPPO_OP_##NAME] = KERNEL(name),
const sppo__kernel SPPO__PASTE(sppo__cpu_, table, SPPO_ISA)[SPPO_OP_COUNT] = {
#include "ops/ops.def"
};
#undef SPPO_OP
