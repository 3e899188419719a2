"""Writes tests/golden/vocabularies.json: digests of the token ids of the 20,000 strings that
tokenizers_ids.py makes, by llama.cpp for its vocabulary-only GGUFs, by transformers for SmolLM2.

Usage: vocabularies.py SOURCES BUILD   llama.cpp's sources and its build folder
                                       (tools/bench/peers setup makes both)

Vocabularies are where tools/fetch-vocabularies puts them. Needs gcc, and what tokenizers_ids.py and
smollm2_tokenizer.py need."""

import argparse
import json
import pathlib
import subprocess
import tempfile
import unicodedata

import common
import smollm2_tokenizer
import tokenizers_ids as made

NAMES = ['gpt-2', 'llama-bpe', 'llama-spm', 'mpt', 'phi-3', 'qwen2', 'refact', 'starcoder']
HERE = pathlib.Path(__file__).resolve().parent


def built(sources, build, folder):
    """The program of llama_ids.cpp."""
    program = folder / 'llama_ids'
    libraries = ['src/libllama.a', 'ggml/src/libggml.a', 'ggml/src/libggml-cpu.a',
                 'ggml/src/libggml-base.a']
    subprocess.run(['g++', '-O1', '-o', program, HERE / 'llama_ids.cpp', f'-I{sources}/include',
                    f'-I{sources}/ggml/include', *(build / name for name in libraries),
                    '-fopenmp', '-ldl'], check=True)
    return program


def of_llama_cpp(program, path, texts):
    given = b''.join(b'%d\n%b' % (len(data), data) for data in map(str.encode, texts))
    done = subprocess.run([program, path], input=given, stdout=subprocess.PIPE, check=True)
    return [[int(id) for id in line.split()] for line in done.stdout.decode().split('\n')[:-1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('sources', type=pathlib.Path)
    parser.add_argument('build', type=pathlib.Path)
    options = parser.parse_args()
    strings = json.loads((common.OUT / 'tokenizers.json').read_text())
    maker = made.Strings(strings['lists'], strings['seed'])
    texts = [maker.string() for _ in range(made.COUNT)]
    vocabularies = common.model_folder().parents[1] / 'data' / 'vocabularies'
    found = {}

    def note(name, path, ids):
        assert len(ids) == len(texts)
        found[name] = {
            'sha256': common.sha256(path),
            'blocks': ' '.join(made.digest(ids[i:i + made.BLOCK])
                               for i in range(0, made.COUNT, made.BLOCK)),
            'first': ids[0]}
        print(name, sum(map(len, ids)), 'ids')

    with tempfile.TemporaryDirectory() as folder:
        program = built(options.sources, options.build, pathlib.Path(folder))
        for name in NAMES:
            path = vocabularies / f'ggml-vocab-{name}.gguf'
            # Qwen2's own tokenizer.json normalises to NFC, which llama.cpp leaves out.
            given = [unicodedata.normalize('NFC', t) for t in texts] if name == 'qwen2' else texts
            note(name, path, of_llama_cpp(program, path, given))
    meant, _ = smollm2_tokenizer.load()
    note('smollm2', common.model_folder() / 'model.gguf',
         [smollm2_tokenizer.text_ids(meant, text) for text in texts])
    common.write('vocabularies.json', {
        **common.header(__file__, ['transformers', 'tokenizers']),
        'llama_cpp': 'sources of llama-cpp-python 0.3.36',
        'note': 'the strings of tokenizers.json (seed, count, lists), of qwen2 in NFC; blocks as '
                'there',
        'vocabularies': found})


if __name__ == '__main__':
    main()
