"""What the golden writers share: where files go, versions, exact float32 numbers.

Writes nothing by itself."""

import hashlib
import json
import os
import pathlib
import sys
from importlib.metadata import version

import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / 'tests' / 'golden'


def model_folder():
    """Where tools/fetch-model puts SmolLM2."""
    data = os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')
    home = os.environ.get('SPPO_HOME') or os.path.join(data, 'sppo')
    folder = pathlib.Path(home) / 'models' / 'smollm2-135m-instruct'
    if not (folder / 'model.gguf').is_file():
        sys.exit(f'no model in {folder}. Try: tools/fetch-model smollm2')
    return folder


def sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def header(writer, packages, **more):
    """The first keys of every file: which writer made it, from which versions."""
    return {'writer': f'tools/golden/{pathlib.Path(writer).name}',
            'versions': {name: version(name) for name in packages}, **more}


def f32(values):
    """A nested list of the shortest decimals that read back (as doubles, then rounded to
    float32) as the same float32 values."""
    if isinstance(values, (list, tuple)):
        return [f32(value) for value in values]
    array = np.asarray(values, dtype=np.float32)
    if array.ndim:
        return [f32(value) for value in array]
    short = float(str(array))
    return short if np.float32(short) == array else float(array)


def _text(value, indent):
    """JSON with one line per list of scalars, so that a change shows as a change of a line."""
    flat = not any(isinstance(item, (dict, list)) for item in
                   (value.values() if isinstance(value, dict) else value
                    if isinstance(value, list) else []))
    if flat:
        return json.dumps(value, allow_nan=False)
    pad = '\n' + ' ' * (indent + 1)
    if isinstance(value, dict):
        body = [json.dumps(k) + ': ' + _text(v, indent + 1) for k, v in value.items()]
        return '{' + pad + (',' + pad).join(body) + '\n' + ' ' * indent + '}'
    body = [_text(item, indent + 1) for item in value]
    return '[' + pad + (',' + pad).join(body) + '\n' + ' ' * indent + ']'


def write(name, document, folder=None):
    path = pathlib.Path(folder or OUT) / name
    text = _text(document, 0) + '\n'
    assert json.loads(text) == document
    path.write_text(text, encoding='utf-8')
    print(f'{name}: {len(text.encode())} bytes')
