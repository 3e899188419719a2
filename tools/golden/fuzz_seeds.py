"""Writes the seeds of tests/fuzz: tiny valid files, made from the formats alone,
so that they are a second opinion on the readers too.

Usage: python3 tools/golden/fuzz_seeds.py
"""

import json
import struct
from pathlib import Path

SEEDS = Path(__file__).resolve().parents[2] / 'tests' / 'fuzz' / 'seeds'


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def text(s):
    return struct.pack('<Q', len(s)) + s.encode()


def key(name, kind, value):
    return text(name) + struct.pack('<I', kind) + value


def tensor(name, sizes, kind, offset):
    return text(name) + struct.pack(f'<I{len(sizes)}QIQ', len(sizes), *sizes, kind, offset)


def gguf(keys, tensors, data, version=3):
    head = b'GGUF' + struct.pack('<IQQ', version, len(tensors), len(keys))
    head += b''.join(keys) + b''.join(tensors)
    return head + bytes(-len(head) % 32) + data


def gguf_seeds():
    keys = [
        key('general.architecture', 8, text('llama')),
        key('llama.block_count', 4, struct.pack('<I', 2)),
        key('llama.rope.freq_base', 6, struct.pack('<f', 1e5)),
        key('tokenizer.ggml.tokens', 9,
            struct.pack('<IQ', 8, 3) + text('a') + text('b') + text('ab')),
        key('tokenizer.ggml.token_type', 9, struct.pack('<IQ3i', 5, 3, 1, 1, 1)),
        key('tokenizer.ggml.add_bos_token', 7, b'\0'),
    ]
    kinds = [(0, 4), (1, 2), (30, 2), (8, 34), (2, 18), (3, 20), (6, 22), (7, 24),
             (10, 84), (11, 110), (12, 144), (13, 176), (14, 210)]  # number, bytes
    tensors, data = [], b''
    for kind, size in kinds:
        values = 256 if size > 40 else 32 if size > 4 else 4
        tensors.append(tensor(f't{kind}', [values], kind, len(data)))
        block = bytes(range(size)) * (values if size <= 4 else 1)
        data += block + bytes(-len(block) % 32)
    write('gguf', 'tiny.gguf', gguf(keys, tensors, data))
    write('gguf', 'v2.gguf', gguf(keys[:2], [], b'', version=2))
    aligned = key('general.alignment', 4, struct.pack('<I', 32))
    write('gguf', 'aligned.gguf', gguf([aligned], tensors[:1], data[:16]))


def safetensors(header, data):
    head = json.dumps(header, separators=(',', ':')).encode()
    head += b' ' * (-len(head) % 8)
    return struct.pack('<Q', len(head)) + head + data


def safetensors_seeds():
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for dtype, size in [('F32', 4), ('BF16', 2), ('F16', 2), ('I32', 4), ('I64', 8)]:
        header[f'layers.0.{dtype}'] = {'dtype': dtype, 'shape': [2, 3],
                                       'data_offsets': [at, at + 6 * size]}
        at += 6 * size
    write('safetensors', 'tiny.safetensors', safetensors(header, bytes(range(at))))
    empty = {'e': {'dtype': 'F32', 'shape': [0, 5], 'data_offsets': [0, 0]}}
    write('safetensors', 'empty.safetensors', safetensors(empty, b''))


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def record(payload):
    head = struct.pack('<II', len(payload), crc32c(payload))
    return head + struct.pack('<I', crc32c(head)) + payload


def record_seeds():
    prefix = b'sppo-rec' + struct.pack('<II', 1, 0)
    whole = prefix + record(b'one') + record(b'') + record(b'\x93\x01\x02\x03')
    write('records', 'three.records', whole)
    write('records', 'torn.records', whole[:-2])
    write('records', 'empty.records', prefix)


def value_seeds():
    write('lua_values', 'map.msgpack',
          b'\x83\xa1a\x01\xa1b\x92\xc0\xc3\xa1c\xcb' + struct.pack('>d', 0.1))
    write('lua_values', 'ext.msgpack', b'\x92\xd7\x01' + struct.pack('<2f', 1, -2.5) +
          b'\xd6\x02' + struct.pack('<i', -7))
    write('lua_values', 'long.msgpack',
          b'\xdc\x00\x02\xd9\x03abc\xdf\0\0\0\x01\xcd\x01\x00\xd1\xff\x00')
    write('lua_values', 'small.json', b'{"a":[1,2.5e-3,true,null,"\\u00e9\\n"],"b":{"c":{}}}')
    write('lua_values', 'number.json', b'-12.5')


if __name__ == '__main__':
    gguf_seeds()
    safetensors_seeds()
    record_seeds()
    value_seeds()
