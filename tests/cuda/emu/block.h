/* block.h - between the scheduler of blocks and the fake runtime. */

#ifndef SPPO_EMU_BLOCK_H
#define SPPO_EMU_BLOCK_H

#include "emu.h"

namespace emu {

/* Runs all blocks of a launch, one after the other, in the order that SPPO_EMU_ORDER says. */
void run_grid(const Launch &launch);

/* What was asked of the device, counted when it was asked. tests/cuda/traffic_test.lua declares the
 * same. */
struct Counts {
    double launches, products, fills, copies;  // our kernels, cuBLAS's products, memory set, copied
    double waits;
    double bytes_up, bytes_down, bytes_inside;  // copied
    double product_flops;
    double product_bytes;  // of each product's first matrix: forward, the weights
    // What a capture recorded (launches, products and fills are not counted among those above),
    // graphs launched, and executable graphs made, given back and updated.
    double captured, graphs, made, destroyed, updates;
};
extern Counts counts;

}  // namespace emu

#endif
