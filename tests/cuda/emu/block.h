/* block.h - between the scheduler of blocks and the fake runtime. */

#ifndef SPPO_EMU_BLOCK_H
#define SPPO_EMU_BLOCK_H

#include "emu.h"

namespace emu {

/* Runs all blocks of a launch, one after the other, in the order that SPPO_EMU_ORDER says. */
void run_grid(const Launch &launch);

}  // namespace emu

#endif
