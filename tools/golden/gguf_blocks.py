"""Writes tests/golden/gguf_blocks.gguf: random blocks of each of GGML's types that `sppo` reads,
and beside each, as float32, what the gguf package's dequantize makes of them.

A file of another writer (the package's GGUFWriter), so a test of the reader too. Of every type:
blocks with ordinary scales, blocks of nothing but random bytes, and blocks whose scales are
infinite, NaN, denormal, -0 and the largest number. Needs gguf and numpy; a second."""

import numpy as np
from gguf import GGUFWriter, GGMLQuantizationType as Type, dequantize
from gguf.constants import GGML_QUANT_SIZES

import common

# Where the f16 scales of a block stand: bytes from its start.
SCALES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
          Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2],
          Type.Q6_K: [208]}
HOSTILE = [np.inf, np.nan, 6e-8, -0.0, 65504.0]

generator = np.random.default_rng(7)


def blocks(kind):
    values, size = GGML_QUANT_SIZES[kind]
    # f32 of a block of 256 takes 1 KiB: of those each hostile scale is tried once, in one block.
    ordinary, wild = (2, 1) if values == 256 else (6, 4)
    raw = generator.integers(0, 256, (ordinary + wild + len(HOSTILE), size), dtype=np.uint8)
    for at in SCALES[kind]:
        scales = generator.normal(0, 0.01, ordinary).astype(np.float16)
        raw[:ordinary, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
        hostile = np.roll(np.array(HOSTILE, dtype=np.float16), at)
        raw[ordinary + wild:, at:at + 2] = hostile.view(np.uint8).reshape(-1, 2)
    return raw


if __name__ == '__main__':
    path = common.OUT / 'gguf_blocks.gguf'
    writer = GGUFWriter(str(path), 'llama')
    for kind in SCALES:
        raw = blocks(kind)
        with np.errstate(invalid='ignore', over='ignore'):
            values = dequantize(raw, kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        writer.add_tensor(f'{kind.name}.values', values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f'{path.name}: {path.stat().st_size} bytes')
