"""Writes tests/golden/tokenizers.json: digests of token ids, from the packages that define them, of
20,000 made strings and of real prompts, a block of strings a digest.

The strings are made by a generator that tests/lua/tokenizers_test.lua has too, from the fragments in
the file. Vocabularies: SentencePiece models (sentencepiece), Llama-3's ranks (tiktoken), and
Mistral's and the small Unigram model as tokenizer.json (tokenizers), made here from the SentencePiece
models in the way that transformers converts them. Nothing is read as a special token.

Usage: tokenizers_ids.py DATA, a folder with tokenizers/ and prompts/ (tests take it as
SPPO_TEST_DATA). Needs sentencepiece, tiktoken, tokenizers, protobuf."""

import argparse
import base64
import hashlib
import json
import pathlib
import unicodedata

import common
import sentencepiece
import tiktoken
import tokenizers
from sentencepiece import sentencepiece_model_pb2

COUNT, BLOCK = 20000, 250
WORDS = ("the of and to a in is you that he was for on are with as I his they be at one have this "
         "from or had by hot but some what there we can out other were all your when up use word how "
         "said an each she which do their time if will way about many then them would write like so "
         "these her long make thing see him two has look more day could go come did my sound no most "
         "number who over know water than call first people may down side been now find any new work "
         "lighthouse unbelievable photosynthesis antidisestablishmentarianism NASA iPhone e.g. "
         "don't I'm we've they'll she'd it's DON'T naïve café Ünïcode straße œuvre").split()
SPACES = [' ', '  ', '   ', '\t', '\n', '\n\n', '\r\n', '\r', '\n \n', ' \n', '\u00a0', '\u3000',
          '\u2003', '\u2028', '\u0085', '\u200b', '\ufeff', '\x0b', '\x0c', '\x1f', '\u202f']
ODD = ['▁', '▁▁', '▁the', '<0x0A>', '<0xFF>', 'Ġword', 'Ċ', '\ufffd', '\u00ad', '\u202e', '\ufb01',
       'ﷺ', '①', 'Å', 'Å', 'e\u0301', 'e\u0323\u0301', '가', '가', '\U0001f680', '👩\u200d💻', '🇩🇪',
       '👍🏽', '\U0010ffff', '\ue000', '𝟘', '½', '²', 'ǆ', '㍿', 'ｆｕｌｌ', 'ﾊﾝｶｸ', '\u0e33', '\u2126',
       '\x01', '\x7f', '\u0378', 'İ', 'ß', 'ſ', "'S", "'Ll", '\u2019s', '```', '://', '->', '!!', '?!',
       '()', '{', '};', '\\n', '%20', '&amp;', '0x1F', '1,000', '3.14', '१२३', '٣٤']
SPECIALS = ['<s>', '</s>', '<unk>', '<pad>', '<|begin_of_text|>', '<|eot_id|>', '<|end_of_text|>',
            '<|start_header_id|>', '[INST]', '[/INST]', '<<SYS>>', '[CLS]', '[SEP]', '[MASK]', '<bos>',
            '<start_of_turn>', '<|im_end|>', '<s', 's>', '<|', '|>', '[UNK]', '<0x41>']


def ranges():
    """Runs of 12 or more code points that Unicode 3.2 had, in the category they still have."""
    found, start = [], None
    for code in range(0x20, 0x30000):
        letter = chr(code)
        old = unicodedata.ucd_3_2_0.category(letter)
        fine = old not in ('Cn', 'Cs', 'Co') and old == unicodedata.category(letter)
        if fine and start is None:
            start = code
        if not fine and start is not None:
            if code - start >= 12:
                found.append([start, code - 1])
            start = None
    return found


class Strings:
    """The generator: Lehmer's, whose numbers are exact in a double too."""

    def __init__(self, lists, seed):
        self.lists, self.state = lists, seed

    def number(self, below):
        self.state = self.state * 16807 % 2147483647
        return self.state % below

    def pick(self, name):
        return self.lists[name][self.number(len(self.lists[name]))]

    def code_point(self):
        low, high = self.pick('ranges')
        return chr(low + self.number(high - low + 1))

    def many(self, limit, make):
        return [make() for _ in range(1 + self.number(limit))]

    def part(self):
        which = self.number(6)
        if which == 0:
            return self.pick('spaces')
        if which == 1:
            return self.pick('odd')
        if which == 2:
            return self.pick('specials')
        if which == 3:
            return self.code_point()
        if which == 4:
            return str(self.number(100000))
        return self.pick('words')

    def string(self):
        which = self.number(6)
        if which == 0:
            return ' '.join(self.many(25, lambda: self.pick('words')))
        if which == 1:
            return ''.join(self.many(10, lambda: self.pick('spaces') + self.pick('words')))
        if which == 2:
            return ''.join(self.many(20, self.code_point))
        if which == 3:
            return ''.join([self.part()] * (1 + self.number(120)))
        return ''.join(self.many(16, self.part))


def digest(lists_of_ids):
    text = ''.join(' '.join(map(str, ids)) + '\n' for ids in lists_of_ids)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def prompts(folder):
    """Lines of each file, whatever they hold."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        yield path.name, hashlib.sha256(data).hexdigest(), data.decode().split('\n')


def model(path):
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    return proto


def llama3(path):
    ranks = {}
    for line in path.read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
               r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return tiktoken.Encoding('llama3', pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def bpe_json(proto):
    """As transformers.convert_slow_tokenizer has it: merges by score, then by their parts' ids."""
    ids = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    merges = []
    for piece in proto.pieces:
        text = piece.piece
        parts = [(text[:i], text[i:]) for i in range(1, len(text))
                 if text[:i] in ids and text[i:] in ids]
        parts.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(left, right, piece.score) for left, right in parts]
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    return {
        'version': '1.0', 'added_tokens': [],
        'normalizer': {'type': 'Sequence', 'normalizers': [
            {'type': 'Prepend', 'prepend': '▁'},
            {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]},
        'pre_tokenizer': None, 'post_processor': None, 'decoder': None,
        'model': {'type': 'BPE', 'dropout': None, 'unk_token': '<unk>',
                  'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
                  'byte_fallback': True, 'ignore_merges': False, 'vocab': ids,
                  'merges': [[left, right] for left, right, _ in merges]},
    }


def unigram_json(proto):
    """A Unigram tokenizer.json without the map of characters, whose use differs between packages."""
    return {
        'version': '1.0', 'added_tokens': [],
        'normalizer': {'type': 'Sequence', 'normalizers': [
            {'type': 'NFKC'}, {'type': 'Strip', 'strip_left': True, 'strip_right': True},
            {'type': 'Replace', 'pattern': {'Regex': ' {2,}'}, 'content': ' '}]},
        'pre_tokenizer': {'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'always',
                          'split': True},
        'post_processor': None, 'decoder': None,
        'model': {'type': 'Unigram', 'unk_id': 0, 'byte_fallback': False,
                  'vocab': [[piece.piece, piece.score] for piece in proto.pieces
                            if piece.type in (1, 2)]},
    }


def from_json(document):
    t = tokenizers.Tokenizer.from_str(json.dumps(document))
    return lambda text: t.encode(text, add_special_tokens=False).ids


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=pathlib.Path)
    data = parser.parse_args().data
    folder = data / 'tokenizers'
    names = ['mistral-v1.spm.model', 'deberta-v3.spm.model', 'unigram-1000.spm.model']
    encoders = {}
    for name in names:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
        encoders[name] = processor.encode
    encoders['llama3.tiktoken'] = llama3(folder / 'llama3.tiktoken').encode_ordinary
    encoders['mistral-v1.json'] = from_json(bpe_json(model(folder / names[0])))
    encoders['unigram-1000.json'] = from_json(unigram_json(model(folder / names[2])))

    lists = {'words': WORDS, 'spaces': SPACES, 'odd': ODD, 'specials': SPECIALS,
             'ranges': ranges()}
    maker = Strings(lists, 20240501)
    texts = [maker.string() for _ in range(COUNT)]
    files = list(prompts(data / 'prompts'))
    found = {}
    for name, encode in encoders.items():
        ids = [encode(text) for text in texts]
        found[name] = {
            'blocks': ' '.join(digest(ids[i:i + BLOCK]) for i in range(0, COUNT, BLOCK)),
            'prompts': {file: digest([encode(line) for line in lines])
                        for file, _, lines in files},
            'first': ids[0],
        }
        print(name, sum(map(len, ids)), 'ids')
    common.write('tokenizers.json', {
        **common.header(__file__, ['sentencepiece', 'tiktoken', 'tokenizers', 'protobuf']),
        'note': 'blocks: the first 12 digits of the SHA-256 of the ids of 250 strings, numbers with '
                'spaces between and a line feed after each string',
        'seed': 20240501, 'count': COUNT, 'block': BLOCK, 'lists': lists,
        'sha256': {path.name: common.sha256(path) for path in sorted(folder.iterdir())},
        'prompts_sha256': {file: sha for file, sha, _ in files},
        'vocabularies': found,
    })


if __name__ == '__main__':
    main()
