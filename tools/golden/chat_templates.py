"""tests/golden/chat_templates.json: what transformers makes of chat templates.

Two parts: `cases`, templates of our own (chat_cases.py) with the text or the kind of error that
comes out; and `templates`, published ones, which are not ours to copy: of each the file's name, its
SHA-256, and for each of the `conversations` eight letters that say what came out:

    the first 8 hex digits of the text's SHA-256
    x and 7 hex digits of the message's SHA-256, where the template called raise_exception
    --------  any other error

    python chat_templates.py FOLDER..       folders that are searched for *.jinja

Without a folder the published part is kept as it is. Objects have their keys sorted, as the Lua
reader does not know their order; the clock stands still at `now`."""

import datetime
import hashlib
import json
import pathlib
import sys

import jinja2.exceptions
from transformers.utils import chat_template_utils

import chat_cases
import chat_conversations
import common

NOW = 1738555506  # 2025-02-03 04:05:06 UTC
VARIABLES = {'bos_token': '<s>', 'eos_token': '</s>'}


class Clock:
    @staticmethod
    def now():
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)


chat_template_utils.datetime = Clock


def ordered(value):
    return json.loads(json.dumps(value, sort_keys=True))


def render(source, conversation):
    """(text, None), or (None, what kind of error and its words)."""
    variables = {**VARIABLES, **conversation.get('variables', {})}
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            [conversation['messages']], chat_template=source, tools=conversation.get('tools'),
            documents=conversation.get('documents'),
            add_generation_prompt=conversation['add_generation_prompt'], **variables)
        return texts[0], None
    except jinja2.exceptions.TemplateError as error:
        return None, ('raised' if type(error) is jinja2.exceptions.TemplateError else 'error',
                      str(error))
    except Exception as error:  # what Python itself says: TypeError, RecursionError, ..
        return None, ('error', f'{type(error).__name__}: {error}')


def digest(source, conversation):
    text, error = render(source, conversation)
    if error is None:
        return hashlib.sha256(text.encode()).hexdigest()[:8]
    if error[0] == 'raised':
        return 'x' + hashlib.sha256(error[1].encode()).hexdigest()[:7]
    return '-' * 8


def published(folders, conversations):
    found = {}
    for folder in folders:
        for path in sorted(pathlib.Path(folder).rglob('*.jinja')):
            if '{' in (source := path.read_bytes().decode()):
                found.setdefault(hashlib.sha256(source.encode()).hexdigest(), (path.name, source))
    rows = [{'name': name, 'sha256': sha256,
             'digests': ' '.join(digest(source, c) for c in conversations)}
            for sha256, (name, source) in found.items()]
    return sorted(rows, key=lambda row: (row['name'], row['sha256']))


def case(name, source):
    text, error = render(source, {'messages': ordered(chat_cases.MESSAGES),
                                  'variables': ordered(chat_cases.VARIABLES),
                                  'add_generation_prompt': True})
    row = {'name': name, 'template': source}
    if error is None:
        return {**row, 'text': text}
    return {**row, 'error': error[0], 'says': error[1][:100]}


def main():
    conversations = ordered(chat_conversations.make())
    assert len(conversations) == 100
    path = common.OUT / 'chat_templates.json'
    if len(sys.argv) > 1:
        templates = published(sys.argv[1:], conversations)
    else:
        templates = json.loads(path.read_text(encoding='utf-8'))['templates']
    document = common.header(__file__, ['jinja2', 'transformers'], now=NOW, variables=VARIABLES,
                             case_variables=chat_cases.VARIABLES)
    lists = {'messages': chat_cases.MESSAGES,
             'cases': [case(*c) for c in chat_cases.CASES],
             'conversations': conversations, 'templates': templates}

    def line(value):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)

    parts = [f'"{key}": {line(value)}' for key, value in document.items()]
    parts += [f'"{key}": [\n' + ',\n'.join(line(row) for row in rows) + '\n]'
              for key, rows in lists.items()]
    text = '{' + ',\n'.join(parts) + '}\n'
    assert json.loads(text)['templates'] == templates
    path.write_text(text, encoding='utf-8')
    failed = sum(row['digests'].count('--------') for row in templates)
    print(f'{path.name}: {len(text.encode())} bytes, {len(lists["cases"])} cases, '
          f'{len(templates)} templates, {failed} errors that are not raise_exception')


main()
