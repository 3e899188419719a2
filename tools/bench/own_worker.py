"""own_worker.py MODE SPPO FOLDER: sppo at what is a recipe and not a benchmark; prints one line of
JSON and leaves FOLDER/MODE-work.json, the same work for the peers.

    mixed    mixed.lua: sampled tokens/s
    round    the first round of recipes/smollm2.lua: seconds, without the start's evaluation"""

import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
THREADS = '2'


def records(sppo, path):
    text = subprocess.run([sppo, 'cat', path], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def work_of(rows):
    return [{'ids': row['prompt'], 'lengths': [len(a['tokens']) for a in row['answers']]}
            for row in rows]


def run(sppo, folder, *arguments):
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.monotonic()
    subprocess.run([sppo, 'run', *arguments, '-q', '--threads', THREADS, f'out={folder}'],
                   check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    perf = [json.loads(line) for line in (folder / 'perf.jsonl').read_text().splitlines()]
    return seconds, [line for line in perf if 'seconds' in line]  # stages, not the start


def mixed(sppo, folder):
    _, perf = run(sppo, folder, REPOSITORY / 'tools' / 'bench' / 'mixed.lua', '--only', 'sample')
    prompts = work_of(records(sppo, folder / 'round-1' / 'answers.msgpack'))
    tokens = sum(sum(p['lengths']) for p in prompts)
    seconds = perf[0]['seconds']
    return ({'value': tokens / seconds, 'unit': 'tokens/s', 'tokens': tokens, 'seconds': seconds,
             'counted_mib': perf[0]['memory_peak'] / 2**20}, {'prompts': prompts})


def round_of(sppo, folder):
    seconds, perf = run(sppo, folder, REPOSITORY / 'recipes' / 'smollm2.lua', 'rounds=1',
                        'train.lr=2e-6')
    start = next(line['seconds'] for line in perf if line['stage'] == 'evaluate')
    stages = {line['stage']: line['seconds'] for line in perf}  # the later evaluation
    rows = records(sppo, folder / 'round-1' / 'rows.msgpack')
    work = {'prompts': work_of(records(sppo, folder / 'round-1' / 'answers.msgpack')),
            'held_out': work_of(records(sppo, folder / 'round-1' / 'evaluation.msgpack')),
            'rows': len(rows)}
    stages['rest'] = seconds - start - sum(stages.values())
    return ({'value': seconds - start, 'unit': 's', 'stages': stages, 'rows': len(rows),
             'prompts': len(work['prompts']), 'held_out': len(work['held_out']),
             'counted_mib': max(line['memory_peak'] for line in perf) / 2**20}, work)


mode, program, place = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
result, made = {'mixed': mixed, 'round': round_of}[mode](program, place / f'{mode}-run')
(place / f'{mode}-work.json').write_text(json.dumps(made))
result['rss_mib'] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps(result))
