"""Writes tests/golden/smollm2_tokens.json: 1,000 strings, made here, and SmolLM2's token ids for
them, with nothing read as a special token.

The ids are those of the pre-tokenizer that the GGUF names (see smollm2_tokenizer.py). The header
counts the strings for which `transformers` by itself and llama.cpp (with --llama-cpp, through
xllamacpp) say otherwise; such a string carries their ids too. Needs transformers, gguf, torch,
and for --llama-cpp xllamacpp (see requirements.txt)."""

import argparse
import json
import random
import unicodedata
import urllib.request

import common
import smollm2_tokenizer

rng = random.Random(20240501)

WORDS = ("the of and to a in is you that it he was for on are as with his they I at be this have "
         "from or one had by word but not what all were we when your can said there use an each "
         "which she do how their if will up other about out many then them these so some her "
         "would make like him into time has look two more write go see number no way could people "
         "my than first water been call who oil its now find long down day did get come made may "
         "part lighthouse unbelievable photosynthesis Antidisestablishmentarianism NASA iPhone "
         "e.g. U.S.A. don't I'm we've they'll she'd it's John's rock'n'roll DON'T IT'S o'clock "
         "naïve café").split()
CODE = ['def f(x):\n    return x + 1\n', 'for (int i = 0; i < 10; i++) {\n\tsum += a[i];\n}',
        'if x == 10:\n        print("ten")\n\n\n100', '#include <stdio.h>\nint main(void)\n{\n}\n',
        'SELECT * FROM t WHERE id=42 AND name LIKE \'%x%\';', '{"a": [1, 2.5, -3e10], "b": null}',
        '<div class="x-1">&nbsp;<br/></div>', 'x = [0] * 256  # 0x1F, 0b1010, 1_000',
        'local t = { [1] = "a", ["b"] = 2 }\nreturn t', 'a+=b;c-=d;e*=f;g/=h;i%=j;',
        '$ ls -la | grep "^d" > out.txt 2>&1', '```python\nimport os\n```',
        'https://a.b/c?d=1&e=%20f#g', 'user@example.com', '\\frac{1}{2} \\alpha_{12}^{34}',
        '#!/bin/sh\n\nexit 1\n', 'a->b::c.d', '\tif\t(1)\t\t{\t}',
        '    4 spaces\n     5 spaces\n      6 spaces', '// TODO(x): 100% done!!']
SPACES = [' ', '  ', '   ', '\t', '\n', '\n\n', '\r\n', '\r', '\n \n', ' \n', '\u00a0', '\u3000',
          '\u2003', '\u2028', '\u0085', '\u200b', '\ufeff', '\u180e', '\x0b', '\x0c', '\x1c',
          '\x1f']
SCRIPTS = {
    'cjk': '你好世界東京日本語ひらがなカタカナ한국어안녕하세요漢字中文测试。、「」！？，々〇三百',
    'arabic': 'السلام عليكم مرحبا بالعالم كتاب ١٢٣٤ ٪ شَدَّة لا، ؟ ـ',
    'hebrew': 'שלום עולם בְּרֵאשִׁית 12 ״כן״',
    'indic': 'नमस्ते दुनिया १२३ হ্যালো ১২ வணக்கம் తెలుగు ಕನ್ನಡ',
    'thai': 'สวัสดีชาวโลก ๑๒๓ ภาษาไทย ລາວ',
    'cyrillic': 'Привет, мир! Ёлка щука объём съесть № 5 їжак',
    'greek': 'Καλημέρα κόσμε Ὀδυσσεύς ΑΒΓ αβγ',
    'latin': 'Ça œuvre ñandú Straße ÆØÅ ğışİ Łódź žluťoučký kůň Việt Nam',
}
NUMBERS = '0123456789' * 3 + '٠٣٩०५９２²³¹½¾⅓ⅧⅫ①⑳㊿〇𝟘𝟗၅'
EMOJI = ['🚀', '🎉', '👩\u200d💻', '👨\u200d👩\u200d👧\u200d👦', '👍🏽',
         '🏳️\u200d🌈', '🇩🇪', '🇯🇵🇺🇸', '❤️', '☺', '1️⃣',
         '#️⃣', '🫠', '🧑🏿\u200d🚒', '✈︎', '™', '©',
         '🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f']
MARKS = ['\u0301', '\u0308', '\u0323', '\u20dd', '\u0338', '\u0488', '\u3099', '\ufe0f', '\u0e31']
ODD = ['\ufffd', 'Ã©', 'â€™', 'Â\u00a0', '\u0080\u0081', 'ÿþ', '\u00c0\u00af', 'ï»¿',
       '\uffff', '\ufdd0', '\U0010ffff', '\ue000', '\U000f0000', '\\xff\\xfe', '%C3%28',
       '\\u0000', '\ufffe', 'Ġword', 'ĊĊ', 'âĢĻ', '▁x', '<0x0A>', '\u2060', '\u00ad', '\u202e', '\u0378']


def sentence(count):
    words = [rng.choice(WORDS) for _ in range(count)]
    text = ' '.join(words)
    return text[0].upper() + text[1:] + rng.choice('.!?…')


def code():
    return rng.choice(['', ' ', '\n']) + rng.choice(CODE) + rng.choice(['', '\n', '\n    ']) + \
        rng.choice(CODE)


def number():
    digits = ''.join(rng.choice(NUMBERS) for _ in range(rng.randint(1, 14)))
    forms = [digits, f'{rng.randint(0, 10**9):,}', f'{rng.uniform(0, 1):.3e}',
             f'{rng.uniform(-1e4, 1e4):.{rng.randint(0, 6)}f}', hex(rng.getrandbits(40)),
             f'${rng.randint(1, 999)}.{rng.randint(10, 99)}', f'{rng.randint(1, 9)}th',
             f'{rng.randint(0, 23):02}:{rng.randint(0, 59):02}', f'x{rng.randint(0, 99)}y',
             f'20{rng.randint(10, 30)}-0{rng.randint(1, 9)}-1',
             f'v{rng.randint(0, 9)}.{rng.randint(0, 20)}']
    between = rng.choice(SPACES[:10] + [',', '(', '=', ' -'])
    return between.join(rng.choices(forms, k=rng.randint(1, 4)))


def whitespace():
    parts = []
    for _ in range(rng.randint(1, 6)):
        parts.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 7]))
        parts.append(rng.choice(['', 'a', 'Word', '7', '.', "'s", '_', 'é', '42', '\u3042']))
    return ''.join(parts)


def script():
    letters = SCRIPTS[rng.choice(list(SCRIPTS))]
    start = rng.randrange(len(letters))
    piece = (letters + ' ' + letters)[start:start + rng.randint(1, 40)]
    return rng.choice(['', ' ', 'x', '3']) + piece


def emoji():
    return rng.choice(['', ' ', 'hi ']).join(
        rng.choice(EMOJI) * rng.choice([1, 1, 2]) for _ in range(rng.randint(1, 6)))


def combining():
    text = ''.join(rng.choice('aeiouöнкカ ่12 ') + ''.join(rng.choices(MARKS, k=rng.randint(0, 3)))
                   for _ in range(rng.randint(1, 10)))
    form = rng.choice(['NFC', 'NFD', 'NFKC', None, None, None])
    return unicodedata.normalize(form, text) if form else text


def control():
    codes = [*range(0x01, 0x20), 0x7f, *range(0x80, 0xa0)]
    return ''.join(rng.choice([chr(rng.choice(codes)), rng.choice(['a', ' ', '1', 'Ab'])])
                   for _ in range(rng.randint(1, 16)))


def odd():
    return ''.join(rng.choice([rng.choice(ODD), rng.choice(ODD), ' ', 'x', '9'])
                   for _ in range(rng.randint(1, 8)))


def special(names):
    look = rng.choice(names + ['<|im_sep|>', '<|', '|>', '<|im_start|', '<|IM_END|>', '<s>',
                               '</s>', '[INST]'])
    return (rng.choice(['', ' ', 'a', 'system\n', '\n']) + look
            + rng.choice(['', 'user\n', ' ', '1', look])
            + rng.choice(['', 'hello', '<|im_end|>\n']))


def anything():
    letters = []
    while len(letters) < rng.randint(1, 24):
        low, high = rng.choice([(0x20, 0x500), (0x20, 0x3000), (0x20, 0x10000),
                                (0x10000, 0x20000)])
        letter = chr(rng.randrange(low, high))
        if unicodedata.ucd_3_2_0.category(letter) not in ('Cn', 'Cs'):  # long in every table
            letters.append(letter)
    return ''.join(letters)


def long_run():
    piece = rng.choice(['a', ' ', '\n', '0', 'ab', '=-', 'ha', '!', '\t', 'é', '日', '🚀', ' x',
                        'A', '-', '\u0301', "'s", ' 1', 'xyzzy', '. '])
    return piece * rng.randint(200, 900)


def strings(special_names):
    makers = [(150, lambda: sentence(rng.randint(1, 25))),
              (90, code), (110, number), (120, whitespace),
              (140, script), (70, emoji), (50, combining), (60, control), (60, odd),
              (60, lambda: special(special_names)), (55, anything), (20, long_run)]
    found = dict.fromkeys(['', ' ', '\n', 'a', '0', ' 0', '  0', '\n\n0', ' a', '  a', "'s",
                           'a\x00b', '\x00', '1\x00\x002', ' \x00', '!\x04!', 'a\x04b'])
    for count, maker in makers:
        goal = len(found) + count
        while len(found) < min(goal, 1000):  # all different
            found[maker()] = None
    assert len(found) == 1000
    return list(found)


def llama_cpp(texts):
    import xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path = str(common.model_folder() / 'model.gguf')
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 64, 1, False, 0
    server = xllamacpp.Server(params)
    for text in texts:
        body = json.dumps({'content': text, 'add_special': False, 'parse_special': False}).encode()
        request = urllib.request.Request(server.listening_address + '/tokenize', body,
                                         {'Content-Type': 'application/json'})
        with urllib.request.urlopen(request) as reply:
            yield json.load(reply)['tokens']


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('--llama-cpp', action='store_true')
options = parser.parse_args()

meant, plain = smollm2_tokenizer.load()
no_token = smollm2_tokenizer.bytes_without_token(meant)
texts = strings(sorted(meant.get_added_vocab()))
others = {'transformers': [smollm2_tokenizer.text_ids(plain, text) for text in texts]}
if options.llama_cpp:
    others['llama_cpp'] = list(llama_cpp(texts))

entries, differ = [], {name: 0 for name in others}
for index, text in enumerate(texts):
    ids = smollm2_tokenizer.text_ids(meant, text)
    data = text.encode()
    kept = bytes(byte for byte in data if byte not in no_token)
    assert b''.join(smollm2_tokenizer.token_bytes(meant, id) for id in ids) == kept
    entry = {'hex': data.hex()} if '\x00' in text else {'text': text}
    entry['ids'] = ids
    if kept != data:
        entry['lossy'] = True
    for name, found in others.items():
        if found[index] != ids:
            differ[name] += 1
            entry[name] = found[index]
    entries.append(entry)
print('strings with other ids:', differ)

packages = ['transformers', 'tokenizers', 'gguf'] + ['xllamacpp'] * options.llama_cpp
common.write('smollm2_tokens.json', {
    **common.header(__file__, packages),
    'gguf_sha256': common.sha256(common.model_folder() / 'model.gguf'),
    'note': 'ids: every \\p{N} split off first, then the GPT-2 pattern (tokenizer.ggml.pre = '
            'smollm); no special tokens. A string with a NUL is given as hex of its UTF-8. '
            'lossy: it has bytes for which the vocabulary has no token; they are left out, '
            'before merging. transformers, llama_cpp: their ids where those differ.',
    'bytes_without_token': no_token,
    'disagreements': differ, 'strings': entries,
})
