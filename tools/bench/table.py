"""`peers table`: the last complete run of each row, as Markdown between two marks of
docs/performance.md. What stands outside the marks is kept."""

import pathlib

import common
from rows import COUNT_GOAL, HEAD_GOAL, MEMORY, MEMORY_GOAL, ROWS

BEGIN, END = '<!-- peers: begin -->', '<!-- peers: end -->'


def load(folder):
    """For each row its last complete run: { run, end, pairs }, and the peers that were tried."""
    lines = common.read_lines(folder / 'results.jsonl')
    starts = {line['run']: line for line in lines if line['kind'] == 'run'}
    pairs, runs, tried = {}, {}, {}
    for line in lines:
        if line['kind'] == 'pair':
            pairs.setdefault(line['run'], []).append(line)
        elif line['kind'] == 'peer':
            tried[str(line['result']['command'])] = line
        elif line['kind'] == 'end' and line['kept']:
            kept = [pair for pair in pairs[line['run']] if pair['number'] in line['kept']]
            runs[line['row']] = {'run': starts[line['run']], 'end': line, 'pairs': kept}
    return {name: runs[name] for name in ROWS if name in runs}, list(tried.values())


def number(value):
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def values(results):
    """'median (lowest..highest)'."""
    middle, low, high = common.spread([result['value'] for result in results])
    if len(results) == 1:
        return number(middle)
    return f'{number(middle)} ({number(low)}..{number(high)})'


def verdict(*met):
    known = [one for one in met if one is not None]
    return '' if not known else 'yes' if all(known) else 'no'


def share_of(results):
    """Median share of the limit in %; None if the benchmark does not say."""
    shares = [result['share'] for result in results if result.get('share')]
    if not shares:
        return None
    middle = common.spread(shares)[0]
    return 100 * middle if middle <= 1.5 else middle


def row_line(name, found):
    row, pairs = ROWS[name], found['pairs']
    peers, ours = [p['peer'] for p in pairs], [p['ours'] for p in pairs]
    middle, low, high = common.spread([p['ratio'] for p in pairs])
    share = share_of(ours)
    unit = 's' if ours[0]['unit'] == 's' else 'tok/s'
    goal = f'{row.goal:g}' if row.goal else ''
    ratio = f'{middle:.2f} ({low:.2f}..{high:.2f})' if len(pairs) > 1 else f'{middle:.2f}'
    limit = f'{row.limit}' if row.limit else ''
    of_limit = '' if share is None else f'{share:.0f} %'
    if row.share:
        of_limit = f'{of_limit or "not known"} ({row.share} %)'
    met = verdict(row.goal and middle >= row.goal,
                  row.share and share is not None and share >= row.share)
    note = ', disturbed' if found['end']['disturbed'] else ''
    return [row.title, f'{peers[0]["name"]}: {peers[0]["label"]}', values(peers), values(ours),
            unit, ratio + note, goal, limit, of_limit, met,
            f'{len(pairs)} ({found["end"]["dropped"]} dropped)']


def memory_lines(runs, tried):
    for title, names in MEMORY.items():
        if names[0] not in runs:
            continue
        ours = [p['ours'] for p in runs[names[0]]['pairs']]
        peers = [p['peer'] for name in names if name in runs for p in runs[name]['pairs']]
        peers += [line['result'] for line in tried
                  if line['row'] in names and line['result']['name'] == peers[0]['name']]
        smallest = min(peers, key=lambda result: result['rss_mib'])
        held = common.spread([result['rss_mib'] for result in ours])[0]
        ratio = held / smallest['rss_mib']
        counted = [100 * abs(r['counted_mib'] / r['rss_mib'] - 1) for r in ours
                   if r.get('counted_mib')]
        apart = common.spread(counted)[0] if counted else None
        yield [title, f'{smallest["name"]}: {smallest["label"]}', number(smallest['rss_mib']),
               number(held), f'{ratio:.2f}', f'{MEMORY_GOAL}',
               '' if apart is None else f'{apart:.1f} %', f'{COUNT_GOAL} %',
               verdict(ratio <= MEMORY_GOAL, apart is not None and apart <= COUNT_GOAL)]


def markdown(head, lines):
    yield '| ' + ' | '.join(head) + ' |'
    yield '|' + '---|' * len(head)
    for line in lines:
        yield '| ' + ' | '.join(line) + ' |'
    yield ''


def plain(command, folder):
    """A command without the folders of this machine."""
    text = ' '.join(command)
    for path, name in ((common.HERE, 'tools/bench'), (common.REPOSITORY, '.'), (folder, 'PEERS'),
                       (pathlib.Path.home(), '~')):
        text = text.replace(str(path), name)
    return text


def stage_lines(found):
    """Seconds of each stage of a round."""
    for side in ('ours', 'peer'):
        result = found['pairs'][-1][side]
        if 'stages' in result:
            text = ', '.join(f'{name} {number(s)}' for name, s in result['stages'].items())
            scaled = '' if 'scale' not in result else \
                f' (measured on {result["part"]} prompts; times ' + ', '.join(
                    f'{name} {value:.3g}' for name, value in result['scale'].items()) + ')'
            yield f'- {result["name"]}, seconds: {text}{scaled}.'


def head_lines(runs):
    """What `sppo bench` says of the loss head beside what it was run for."""
    seen = {}
    for found in runs.values():
        for line in found['pairs'][-1]['ours'].get('lines', []):
            if 'loss head' in line['name']:
                seen[line['name']] = f'- {line["name"]}: {number(line["value"])} {line["unit"]}' \
                    + (f' ({line["note"]})' if line.get('note') else '') + '.'
    return [f'Loss head; goal: {HEAD_GOAL}.', '', *seen.values(), ''] if seen else []


def conditions(runs):
    """Machine, versions, commits: of the runs that the table shows."""
    def different(key):
        return {str(r['run'][key]): r['run'][key] for r in runs.values()}.values()

    for machine in different('machine'):
        yield (f'- Machine: {machine["cpu"]}, {machine["cores"]} cores '
               f'({", ".join(machine["features"])}), {machine["memory_gib"]} GiB, '
               f'Linux {machine["kernel"]}, {machine["compiler"]}.')
    for version in different('versions'):
        yield '- Peers: ' + ', '.join(f'{name} {version[name]}' for name in version
                                      if name in ('torch', 'transformers', 'trl', 'python')) \
            + f'; llama.cpp, {version["llama.cpp"]}, {version["llama.cpp options"]}.'
    for commit in dict.fromkeys(r['run']['commit'] for r in runs.values()):
        rows = [name for name in runs if runs[name]['run']['commit'] == commit]
        yield f'- sppo at {commit}: {", ".join(rows)}.'


def text(folder):
    runs, tried = load(folder)
    if not runs:
        common.fail('no row was run to its end. Try: tools/bench/peers run')
    yield 'Two threads each, in turns; median (lowest..highest). Ratio: how many times as fast as'
    yield 'the peer. Made by `tools/bench/peers table`.'
    yield ''
    yield from markdown(
        ['what', 'peer', 'peer\'s', 'ours', 'unit', 'ratio', 'goal', 'limit', 'share (goal)', 'met',
         'pairs'], [row_line(name, runs[name]) for name in runs])
    yield 'The most that a process held, and how far sppo\'s own count is from it:'
    yield ''
    yield from markdown(['what', 'smallest peer', 'peer\'s MiB', 'ours MiB', 'ratio', 'goal',
                         'count is off by', 'goal', 'met'], memory_lines(runs, tried))
    yield from head_lines(runs)
    if 'round' in runs:
        yield from stage_lines(runs['round'])
        yield ''
    yield 'Peers that were tried once to find the best:'
    yield ''
    yield from markdown(['row', 'peer', 'value', 'unit', 'MiB', 'disturbed'], [
        [line['row'], f'{line["result"]["name"]}: {line["result"]["label"]}',
         number(line['result']['value']), 's' if line['result']['unit'] == 's' else 'tok/s',
         number(line['result']['rss_mib']), '' if line['quiet'] else 'yes'] for line in tried])
    yield from conditions(runs)
    yield ''
    yield '```'
    for name, found in runs.items():
        for side in ('peer', 'ours'):
            yield f'{name}: {plain(found["pairs"][-1][side]["command"], folder)}'
    yield '```'


def write(folder, out):
    made = '\n'.join([BEGIN, *text(folder), END])
    old = out.read_text(encoding='utf-8') if out.exists() else \
        f'# Performance\n\n{BEGIN}\n{END}\n'
    if BEGIN not in old or END not in old:
        old = f'{old.rstrip()}\n\n{BEGIN}\n{END}\n'
    before, rest = old.split(BEGIN, 1)
    out.write_text(before + made + rest.split(END, 1)[1], encoding='utf-8')
    print(out)
