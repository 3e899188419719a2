"""`peers setup`: makes what sppo is measured against. Each step is skipped when its result is
there; remove that to make it again.

    FOLDER/venv         PyTorch, transformers, TRL (requirements.txt)
    FOLDER/llama.cpp    build of the sources that llama-cpp-python carries
    FOLDER/models       SmolLM2 for each of them, from sppo's model file
    FOLDER/probe        how fast the machine is right now (probe.c)
    FOLDER/setup.json   versions"""

import json
import platform
import shutil
import subprocess
import sys
import tarfile

import common

LLAMA_PACKAGE = 'llama-cpp-python==0.3.36'
LLAMA_OPTIONS = {
    'CMAKE_BUILD_TYPE': 'Release', 'GGML_NATIVE': 'ON', 'GGML_CUDA': 'OFF',
    'BUILD_SHARED_LIBS': 'OFF', 'LLAMA_OPENSSL': 'OFF', 'LLAMA_CURL': 'OFF',
    'LLAMA_BUILD_UI': 'OFF', 'LLAMA_USE_PREBUILT_UI': 'OFF', 'LLAMA_BUILD_TESTS': 'OFF',
    'LLAMA_BUILD_EXAMPLES': 'OFF', 'LLAMA_BUILD_APP': 'OFF',
}
LLAMA_PROGRAMS = ['llama-bench', 'llama-batched-bench', 'llama-quantize', 'llama-server']
GGUF_TYPES = ['f32', 'bf16', 'q8_0']


def call(*command, **more):
    common.say('  ' + ' '.join(str(part) for part in command))
    if subprocess.run([str(part) for part in command], stdout=sys.stderr, **more).returncode:
        common.fail(f'{command[0]} failed')


def python(folder):
    return folder / 'venv' / 'bin' / 'python'


def program(folder, name):
    return folder / 'llama.cpp' / 'bin' / name


def model(folder, kind):
    """'hf' is a folder for transformers, the others are GGUF files."""
    return folder / 'models' / ('hf' if kind == 'hf' else f'{kind}.gguf')


def make_venv(folder, reused):
    venv = folder / 'venv'
    if reused:
        if not venv.exists():
            venv.symlink_to(reused.resolve())
    elif not python(folder).exists():
        call(sys.executable, '-m', 'venv', venv)
    installed = subprocess.run([python(folder), '-c', 'import torch, transformers, trl, gguf'],
                               capture_output=True, check=False).returncode == 0
    if not installed:
        if venv.is_symlink():
            common.fail(f'{reused or venv} lacks packages of tools/bench/requirements.txt')
        call(python(folder), '-m', 'pip', 'install', '-q', '-r',
             common.HERE / 'requirements.txt')


def llama_sources(folder):
    """The sources of llama.cpp, out of the source distribution of a Python package. pip builds
    the package's metadata to download it, in an environment of its own."""
    sources = folder / 'sources'
    found = list(sources.glob('llama_cpp_python-*/vendor/llama.cpp/CMakeLists.txt'))
    if not found:
        sources.mkdir(exist_ok=True)
        call(python(folder), '-m', 'pip', 'download', '-q', '--no-deps', '--no-binary', ':all:',
             '-d', sources, LLAMA_PACKAGE)
        with tarfile.open(next(sources.glob('llama_cpp_python-*.tar.gz'))) as archive:
            archive.extractall(sources, filter='data')
        found = list(sources.glob('llama_cpp_python-*/vendor/llama.cpp/CMakeLists.txt'))
    return found[0].parent


def build_llama(folder):
    build = folder / 'llama.cpp'
    if all(program(folder, name).exists() for name in LLAMA_PROGRAMS):
        return
    generator = ['-G', 'Ninja'] if shutil.which('ninja') else []
    call('cmake', '-S', llama_sources(folder), '-B', build, *generator,
         *[f'-D{key}={value}' for key, value in LLAMA_OPTIONS.items()])
    call('cmake', '--build', build, '-j', str(common.THREADS), '--target', *LLAMA_PROGRAMS)


def build_probe(folder):
    wide = ['-mprefer-vector-width=512'] if platform.machine() == 'x86_64' else []
    call('gcc', '-O3', '-march=native', *wide, '-ffp-contract=fast', '-pthread',
         common.HERE / 'probe.c', '-o', folder / 'probe')


def make_models(folder):
    """All of them hold the same values: those of sppo's model file, as f32 or rounded from it."""
    (folder / 'models').mkdir(exist_ok=True)
    for kind in GGUF_TYPES:
        if not model(folder, kind).exists():
            source = common.model_file() if kind == 'f32' else model(folder, 'f32')
            made = model(folder, kind).with_suffix('.part')
            call(program(folder, 'llama-quantize'), '--allow-requantize', source, made,
                 kind.upper(), common.THREADS, stderr=subprocess.DEVNULL)
            made.rename(model(folder, kind))
    if not (model(folder, 'hf') / 'config.json').exists():
        call(python(folder), common.HERE / 'convert_worker.py', common.model_file(),
             model(folder, 'hf'))


def versions(folder):
    names = [line.split('==')[0] for line in
             (common.HERE / 'requirements.txt').read_text(encoding='utf-8').splitlines()
             if line and not line.startswith('#')]
    code = ('import json, sys, platform; from importlib.metadata import version\n'
            'print(json.dumps({"python": platform.python_version(), '
            '**{name: version(name) for name in sys.argv[1:]}}))')
    found = json.loads(subprocess.run([python(folder), '-c', code, *names], check=True,
                                      capture_output=True, text=True).stdout)
    text = subprocess.run([program(folder, 'llama-batched-bench'), '--version'], check=True,
                          capture_output=True, text=True)
    lines = [line for line in (text.stdout + text.stderr).splitlines() if 'version' in line]
    return {**found, 'llama.cpp': f'{lines[0].strip()} (sources of {LLAMA_PACKAGE})',
            'llama.cpp options': ' '.join(f'-D{k}={v}' for k, v in LLAMA_OPTIONS.items())}


def setup(folder, reused_venv=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, step in (('venv', lambda: make_venv(folder, reused_venv)),
                       ('llama.cpp', lambda: build_llama(folder)),
                       ('probe', lambda: build_probe(folder)),
                       ('models', lambda: make_models(folder))):
        common.say(f'peers: {name}')
        step()
    text = json.dumps(versions(folder), indent=1)
    (folder / 'setup.json').write_text(text + '\n', encoding='utf-8')
    print(folder)
