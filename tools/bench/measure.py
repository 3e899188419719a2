"""`peers run`: rows of paired measures, appended to FOLDER/results.jsonl.

The best of a row's peers is found first, each run once. Then peer and sppo run in turns; how fast
the machine is is measured before, between and after. A pair does not count if the machine was
slower than 85 % of its best in this run, if its speed moved by more than 15 % during the pair, or
if other programs took more than 10 % of the processors. A row's run counts when its line 'end' is
there."""

import json
import os
import platform
import subprocess
import time

import common
from rows import ROWS
from sides import Sides

SLOW, MOVED, OTHERS = 0.85, 0.15, 0.10


def first_line(*command):
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ''
    return text.strip().split('\n')[0]


def machine():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        cpu = {key.strip(): value.strip() for key, _, value in
               (line.partition(':') for line in file) if value}
    with open('/proc/meminfo', encoding='utf-8') as file:
        memory = int(file.readline().split()[1])
    names = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_tile')
    return {'cpu': cpu.get('model name', platform.machine()), 'cores': os.cpu_count(),
            'memory_gib': round(memory / 2**20), 'kernel': platform.release(),
            'features': [name for name in names if name in cpu.get('flags', '').split()],
            'cache_kib': cpu.get('cache size', ''), 'compiler': first_line('gcc', '--version')}


class Measure:
    def __init__(self, folder, sppo):
        setup = folder / 'setup.json'
        if not setup.is_file():
            common.fail(f'nothing is set up in {folder}. Try: tools/bench/peers setup')
        if not sppo.is_file():
            common.fail(f'no program {sppo}. Try: --sppo FILE')
        self.folder, self.results = folder, folder / 'results.jsonl'
        self.sides = Sides(folder, sppo)
        self.best_probe = 0
        # "sppo 0.1.0 (36da429)": the commit that the program was built from.
        version = first_line(str(sppo), 'version')
        self.context = {
            'commit': version.partition('(')[2].rstrip(')'), 'sppo': version, 'machine': machine(),
            'versions': json.loads(setup.read_text(encoding='utf-8'))}

    def probe(self):
        text = common.run([self.folder / 'probe'])['text']
        value = float(text.split()[0])
        self.best_probe = max(self.best_probe, value)
        return value

    def quiet(self, probes, *results):
        return (min(probes) >= SLOW * self.best_probe
                and max(probes) - min(probes) <= MOVED * max(probes)
                and all(result['others'] <= OTHERS for result in results))

    def write(self, kind, **values):
        common.append(self.results, {'kind': kind, 'time': round(time.time()), **values})

    def side(self, side, row):
        result = side.run()
        common.say(f'  {row}: {result["name"]}, {result["label"]}: '
                   f'{result["value"]:.4g} {result["unit"]}, {result["rss_mib"]:.0f} MiB, '
                   f'{result["seconds"]:.0f} s, others {100 * result["others"]:.0f} %')
        return result

    def best_peer(self, name, run, again):
        """Of the row's peers, the fastest; what was found before, on this machine and with these
        versions, is used."""
        peers = ROWS[name].peers(self.sides)
        if len(peers) == 1:
            return peers[0]
        known = {} if again else {
            str(line['result']['command']): line['result']
            for line in common.read_lines(self.results) if line['kind'] == 'peer' and line['quiet']
            and all(line[key] == self.context[key] for key in ('machine', 'versions'))}

        def key(peer):
            return str([str(part) for part in peer.command])

        for peer in peers:
            if key(peer) in known:
                continue
            for _ in range(2):
                before = self.probe()
                result = self.side(peer, name)
                probes = [before, self.probe()]
                quiet = self.quiet(probes, result)
                if quiet:
                    break
            self.write('peer', row=name, run=run, probes=probes, quiet=quiet, result=result,
                       machine=self.context['machine'], versions=self.context['versions'])
            known[key(peer)] = result
        slow = known[key(peers[0])]['unit'] == 's'
        chosen = (min if slow else max)(peers, key=lambda peer: known[key(peer)]['value'])
        common.say(f'  {name}: the best of {len(peers)} is {chosen.name}, {chosen.label}')
        return chosen

    def row(self, name, wanted, again):
        row, run = ROWS[name], f'{name}-{time.time_ns()}'
        wanted, most = row.pairs or wanted, row.pairs or 2 * wanted
        common.say(f'peers: {name}: {row.title}')
        self.write('run', row=name, run=run, wanted=wanted, **self.context)
        ours = row.ours(self.sides)
        if row.work and not (self.folder / f'{row.work}-work.json').exists():
            self.side(ours, name)
        peer = self.best_peer(name, run, again)
        pairs, kept, probe = [], [], self.probe()
        while len(kept) < wanted and len(pairs) < most:
            results, probes = {}, [probe]
            for side in (ours, peer) if row.work else (peer, ours):
                results['ours' if side is ours else 'peer'] = self.side(side, name)
                probes.append(self.probe())
            probe = probes[-1]
            pair = {'number': len(pairs) + 1, 'probes': probes, **results,
                    'ratio': ratio(**results)}
            pairs.append(pair)
            self.write('pair', row=name, run=run, **pair)
            kept = [p for p in pairs if self.quiet(p['probes'], p['ours'], p['peer'])]
        disturbed = bool(row.pairs) and not kept
        counted = pairs if disturbed else kept
        self.write('end', row=name, run=run, best_probe=self.best_probe, disturbed=disturbed,
                   kept=[p['number'] for p in counted], dropped=len(pairs) - len(counted))
        if not counted:
            print(f'{name}: all {len(pairs)} pairs dropped, the machine is busy', flush=True)
            return
        middle, low, high = common.spread([p['ratio'] for p in counted])
        print(f'{name}: {middle:.3f} ({low:.3f}..{high:.3f}), {len(counted)} pairs, '
              f'{len(pairs) - len(counted)} dropped' + (', disturbed' if disturbed else '')
              + (f'; goal {row.goal}' if row.goal else ''), flush=True)


def ratio(ours, peer):
    """How many times as fast as the peer."""
    if ours['unit'] != peer['unit']:
        common.fail(f'a peer in {peer["unit"]} and sppo in {ours["unit"]}')
    if ours['unit'] == 's':
        return peer['value'] / ours['value']
    return ours['value'] / peer['value']


def run(folder, sppo, names, pairs, again):
    measure = Measure(folder, sppo)
    for _ in range(5):
        measure.probe()
    for name in names:
        measure.row(name, pairs, again)
