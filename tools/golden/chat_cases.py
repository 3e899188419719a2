"""Small templates, one a feature, for chat_templates.py. Writes nothing by itself.

CASES: (name, template), rendered with MESSAGES and VARIABLES."""

MESSAGES = [
    {'role': 'system', 'content': ' Be brief.\n'},
    {'role': 'user', 'content': 'Grüße <b>&</b> "you" 😀'},
    {'role': 'assistant', 'content': 'one two  three\nfour'},
]
VARIABLES = {
    'n': 3, 'half': 0.5, 'yes': True, 'nothing': None, 'word': 'straße Ärger', 'empty': [],
    'list': [3, 1, 2], 'names': ['b', 'A', 'c', 'a'], 'd': {'b': 1, 'a': 'x', 'C': None},
    'rows': [{'n': 2, 'k': 'x', 'in': {'v': 1}}, {'n': 1, 'k': 'y', 'in': {'v': 2}},
             {'n': 2, 'k': 'z'}],
    'nested': {'a': [1, {'b': []}], 'e': {}, 's': 'q"\\/\n\t\x01é😀'},
}

# Every expression is printed on its own: `name | expression`.
EXPRESSIONS = r"""
arithmetic | 1 + 2 * 3 - 4 / 2
floor | [7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3, 7.5 // 2, -7.5 % 2]
powers | [2 ** 10, 2 ** -1, 2.0 ** 2, -2 ** 2]
signs | [-n, +n, - -n, 1 - -1]
floats | [1.0, 0.1, 1e20, 1e16, 123456789012345.0, 1e-5, 0.0001, -2.50, 1e3, 3 / 3, 1 / 3, half]
division by zero | 1 / 0
modulo by zero | 1 % 0
ints and floats | [1 == 1.0, true == 1, 1 + true, 2 * half, 4 * half]
concat | 'a' ~ 1 ~ none ~ true ~ 2.0 ~ undefined_name ~ [1, 'x']
concat of plus | 'a' + 1
repeat | ['ab' * 3, 3 * 'ab', 'x' * 0, 'x' * -1, [1, 2] * 2]
lists | [[1] + [2], (1, 2) + (3,), [1, [2, 'x']], (), (1,), []]
list plus tuple | [1] + (2,)
compare | [1 < 2, 2 <= 2, 'a' < 'b', 'Z' < 'a', [1, 2] < [1, 3], 1 != 2, 'a' == 'a', none == none]
compare kinds | 1 < 'a'
chained | [1 < 2 < 3, 1 < 3 < 2, 3 > 2 >= 2, 1 == 1 != 2]
chained stops | 2 < 1 < (1 / 0)
logic | [1 and 0, 0 or 'x', not 1, not '', '' or [], 1 and 'b', not 1 == 2, true and not false]
precedence | [not 'a' in 'abc', 1 + 2 ~ 3, '1' ~ 2 + 3 ~ '4']
inline if | ['a' if yes else 'b', 'a' if not yes else 'b', 'x' if false, 1 if 0 else 2 if 0 else 3]
membership | ['a' in 'abc', 'b' not in d, 3 in list, 'x' in d, 'role' in messages[0], '' in 'a', 4 not in list]
membership of int | 1 in 'abc'
membership in none | 1 in none
membership in int | 1 in 5
undefined prints nothing | '[' ~ missing ~ ']'
undefined attribute | missing.field
undefined item | missing['field']
undefined of dict | [d.zzz is defined, d['zzz'] is undefined, d.zzz | default('dd')]
undefined deep | d.zzz.yyy
undefined plus | missing + 'a'
undefined calls | missing()
undefined compares | [missing == missing2, missing == none, missing == '', missing != 1]
undefined order | missing < 1
undefined iterates | missing | list
undefined length | missing | length
undefined in | 'a' in missing
undefined key | d.get(missing, 'd')
undefined json | missing | tojson
undefined int | missing | int
undefined upper | missing | upper
none attribute | nothing.field is defined
none deep | nothing.a.b
none item | nothing['a'] is defined
none slice | nothing[1:]
none length | nothing | length
none calls | none()
int attribute | n.real_name is defined
strings | ['a\n\t\\ \' "', "it's", 'both \' "', '\x41\u00e9\U0001F600', '\q', 'a' 'b' "c"]
slices | ['hello'[1:3], 'hello'[:2], 'hello'[-3:], 'hello'[::-1], 'hello'[::2], 'hello'[4:1:-2], 'hello'[10:]]
slices of lists | [list[1:], list[:-1], list[::-1], list[5:], (1, 2, 3)[:2], list[::2], list[-2:10]]
slices of unicode | [messages[1].content[:5], messages[1].content[-1:], word[::-1], word[4:6], word[-5]]
slice by zero | 'abc'[::0]
slice by text | word['a':]
indices | [list[0], list[-1], 'abc'[1], 'abc'[-1], list[9] is defined, 'abc'[9] is defined, list.0]
index by text | list['a'] is defined
bool index | list[true]
dict access | [d.b, d['a'], d.get('C'), d.get('z'), d.get('z', 7), d['z'] is defined]
dict methods | [d.items() | list, d.keys() | list, d.values() | list, d | length, d | list]
dict literal | {'a': 1, 'b': [1, 2], 3: 'c', none: 0, true: 1}
dict equality | [{'a': 1, 'b': 2} == {'b': 2, 'a': 1}, {'a': 1} == {'a': 2}, [1] == (1,), {} == []]
dict call | [dict(a=1), dict({'x': 1}, y=2), dict([('p', 'q')])]
unhashable | {[1]: 2}
items is a method | d.items is callable
list count | [[1, 2, 1].count(1), (1, 2).index(2), 'banana'.count('an'), 'aaa'.count('a', 1), 'abc'.count('')]
append is forbidden | list.append(4)
pop is forbidden | d.pop('a')
update is undefined | d.update is defined
class is undefined | ''.__class__ is defined
class prints nothing | '[' ~ ''.__class__ ~ ']'
class of class | ''.__class__.__mro__
class item | ''['__class__'] is defined
class by filter | [''] | map(attribute='__class__') | list | length
subclasses | [].__class__.__base__.__subclasses__()
globals of functions | range.__globals__
macro internals | namespace.__init__.__globals__
import | __import__('os')
strip | ['  a '.strip() ~ '|', '  a '.lstrip() ~ '|', '  a '.rstrip() ~ '|', 'xxaxx'.strip('x'), 'abcba'.strip('ab'), '\u00a0a\u3000'.strip()]
split | ['a b  c'.split(), 'a,b,,c'.split(','), 'a,b,c'.split(',', 1), ' a b '.split(' '), ''.split(), ''.split(','), ' a  b c '.split(none, 1), 'a<t>b<t>c'.split('<t>')[-1]]
rsplit | ['a,b,c'.rsplit(',', 1), 'a b c '.rsplit(none, 1), ' a b c '.rsplit(), 'aaaa'.rsplit('aa', 1)]
split by nothing | 'abc'.split('')
splitlines | ['a\nb\r\nc\n'.splitlines(), 'a\n\nb'.splitlines(true), ''.splitlines()]
partition | ['a=b=c'.partition('='), 'a=b=c'.rpartition('='), 'abc'.partition('=')]
ends | ['abc'.startswith('ab'), 'abc'.endswith('bc'), 'abc'.startswith(('x', 'a')), 'abc'.endswith(''), 'abc'.startswith('abcd')]
prefixes | ['abcabc'.removeprefix('abc'), 'abc'.removesuffix('bc'), 'abc'.removeprefix('x')]
starts by int | 'abc'.startswith(1)
case | [word.upper(), word.lower(), word.title(), word.capitalize(), "they're ok-ish 3rd".title(), 'ÉCOLE'.lower(), 'ǆ'.upper()]
replace | ['aXbXc'.replace('X', '--'), 'aXbXc'.replace('X', '', 1), 'abc'.replace('', '.'), 'é'.replace('é', 'e')]
find | ['abcabc'.find('c'), 'abcabc'.find('c', 3), 'abc'.find('z'), 'äbc'.find('c'), 'abcabc'.rfind('b'), 'abé'.rfind(''), 'abcd'.rfind('', 1, -1), 'aaa'.rfind('aa'), 'abc'.find('')]
index missing | 'abc'.index('z')
join | [', '.join(['a', 'b']), ''.join([]), '-'.join('abc')]
join ints | ','.join([1, 2])
is methods | ['12'.isdigit(), 'ab'.isalpha(), 'a1'.isalnum(), ' \n'.isspace(), ''.isdigit(), 'AB'.isupper(), 'Ab'.islower(), 'a1'.islower()]
format | ['{} and {}'.format(1, 'b'), '{1}{0}'.format('a', 'b'), '{x}{{}}'.format(x=none)]
format misses | '{}'.format()
percent | ['%s-%d' % ('a', 3), '%5.2f|%-4s|%03d' % (1.5, 'x', 7), '100%%' % (), '%r' % 'x', '%s' % [1]]
percent misses | '%s %s' % ('a',)
trim | ['  a '|trim ~ '|', 'xax'|trim('x'), messages[0].content|trim, 5|trim]
length | ['äb😀'|length, list|length, d|count, ''|length]
length of int | 5|length
tojson | [d, nested, none, true, half, 1, 'a/é', [], {}, (1, 2)] | tojson
tojson indent | nested | tojson(indent=2)
tojson indent 0 | [1, {'a': 2}] | tojson(indent=0)
tojson ascii | nested | tojson(ensure_ascii=true)
tojson separators | nested | tojson(separators=(',', ':'))
tojson sorted | {'b': 1, 'a': 2} | tojson(sort_keys=true)
tojson keys | {1: 'a', none: 'b', true: 'c', 1.5: 'd'} | tojson
tojson of messages | messages | tojson
tojson of a function | range | tojson
tojson of namespace | namespace(a=1) | tojson
repr | nested
repr quotes | ["it's", 'say "x"', 'both \' "', 'tab\t', '\u00a0', '\u200b', 'é', '\x7f', '\\']
default | [missing|default('d'), nothing|default('d'), nothing|default('d', true), ''|default('d', boolean=true), 0|d(5), missing|default]
join filter | [list|join(','), names|join, rows|join('-', attribute='k'), 'abc'|join('.'), [1, none, 'x']|join(' ')]
case filters | [word|upper, word|lower, word|title, word|capitalize, "they're ok-ish (yes) a_b"|title]
replace filter | ['aXbX'|replace('X', 'y'), 'aXbX'|replace('X', 'y', 1), 5|replace(5, 'five')]
first last | [list|first, list|last, 'abc'|first, 'abc'|last, d|first, [1, false]|last]
first of nothing | ['[' ~ (empty|first) ~ ']', (empty|last) is defined, ''|first is defined]
map | [rows|map(attribute='n')|list, names|map('upper')|list, rows|map(attribute='in.v')|list|length, rows|map(attribute='q', default='-')|list, ['a b']|map('replace', ' ', '_')|list]
map of nothing | names|map|list
map unknown | names|map('no_such')|list
select | [list|select('odd')|list, list|reject('equalto', 2)|list, [0, 1, '']|select|list, names|select('in', ['a', 'b'])|list, list|select('>', 1)|list]
selectattr | [rows|selectattr('n', 'equalto', 2)|map(attribute='k')|list, rows|rejectattr('n', '==', 2)|list|length, rows|selectattr('in')|list|length, rows|selectattr('in', 'defined')|list|length]
selectattr unknown | rows|selectattr('n', 'no_such')|list
generators | [rows|map(attribute='n')|first, (empty|select) is true, ('yes' if empty|map('upper') else 'no')]
length of generator | list|map('string')|length
sort | [list|sort, names|sort, names|sort(case_sensitive=true), names|sort(reverse=true), rows|sort(attribute='n')|map(attribute='k')|list, rows|sort(attribute='n,k', reverse=true)|map(attribute='k')|list]
sort mixed | [1, 'a']|sort
dictsort | [d|dictsort, {'b': 2, 'a': 3, 'C': 1}|dictsort(true), {'b': 2, 'a': 3}|dictsort(by='value'), {'b': 2, 'a': 3}|dictsort(reverse=true)]
unique | [[1, 2, 1, 3]|unique|list, names|unique|list, names|unique(case_sensitive=true)|list, rows|unique(attribute='n')|list|length]
reverse | [list|reverse|list, 'abc'|reverse, word|reverse]
min max sum | [list|min, list|max, names|min, list|sum, rows|sum(attribute='n'), list|sum(start=10), (empty|min) is defined]
items filter | [d|items|list, missing|items|list]
items of list | list|items|list
list filter | ['abc'|list, d|list, (1, 2)|list, range(3)|list]
conversions | ['12'|int, 'x'|int, 'x'|int(7), '3.9'|int, 3.9|int, -3.9|int, '0x1'|int, ' 5 '|int, true|int, none|int, '1_000'|int, '2.5'|float, 'y'|float(1.5), 3|float, 'y'|float, '1e3'|float]
string filter | [5|string ~ 'x', none|string, half|string, [1, 'a']|string|length, true|string]
abs | [-3|abs, (-3)|abs, (-2.5)|abs]
indent | ['a\nb\n\nc'|indent, 'a\nb'|indent(2, true), 'a\n\nb'|indent(2, blank=true), 'a\nb'|indent('> '), 'a\n'|indent]
escape | ['<a href="x">\'&'|e, ('<'|safe)|e, '<b>'|escape|upper, 5|e]
markup plus | ['<'|safe + '<', '<' + '<'|safe, '<'|safe ~ '<', ('<'|safe).replace('<', '>'), ('a<'|safe + '<')|replace('&', '+'), ('<'|safe)[0] + '<', ('< <'|safe).split()[0] + '>', ('<'|safe)|trim + '<', ('%'|e + '<')|string + '>', ['<'|safe]|join + '<', ('<'|safe)|upper + '<', ('<'|safe) * 2 + '<']
markup format | ('{}<'|safe).format('<')
forceescape | ('<'|safe)|forceescape
tests | [n is defined, missing is undefined, nothing is none, 'a' is string, d is mapping, list is sequence, 'a' is sequence, d is sequence, missing is sequence, n is number, yes is number, half is float, n is integer, yes is integer, half is integer, yes is boolean, n is boolean]
tests 2 | [yes is true, n is true, false is false, 0 is false, list is iterable, 'a' is iterable, n is iterable, missing is iterable, d.items() is sequence, d.items() is iterable, (list|map('string')) is sequence, none is iterable, range is callable]
tests 3 | [n is odd, n is even, 9 is divisibleby 3, 9 is divisibleby(2), n is eq 3, n is equalto 3, n is ne 3, n is gt 2, n is lessthan 3, n is le 3, 'a' is in 'abc', 3 is in [1, 2], n is not none, n is not odd, 'ABC' is upper, 'aB' is lower, n is sameas 3]
test binds | [not n is none, n is none or yes, n + 1 is number, 'a' ~ 'b' is string, -1 is number]
test chain | n is number is string
unknown test | n is no_such
unknown filter | n | no_such
unknown filter in a choice | 'fine' if yes else n | no_such
unknown filter reached | n | no_such if yes else 1
filter of literal | 'a' ~ 'b' | upper
filter of sum | (1 + 2) | string + '4'
filter argument by name twice | 'a'|default('x', default_value='y')
filter too many | 'a'|trim('a', 'b')
tuple | 1, 'a', none
range | [range(3), range(1, 4)|list, range(5, 0, -2)|list, range(0)|list, range(3)[1], range(2, 4, 2)]
range of text | range('3')
range stepless | range(1, 2, 0)
range huge | range(1000000000)
namespace underscore | namespace(_x=1)
namespace fields | [namespace(a=1).a, namespace({'b': 2}).b, namespace().c is defined]
raise | raise_exception('Ünïcode words: ' ~ n)
raise nothing | raise_exception()
clock | strftime_now('%d %b %Y %Y-%m-%d %H:%M:%S %A %B %j %y %p %I %% %-d %-m')
deep brackets | ((((((((((1))))))))))
list trailing comma | [1, 2,]
unclosed list | [1, 2
unclosed string | 'abc
extra bracket | 1)
no operand | 1 +
two operands | 1 2
keyword only | d.get(key='a')
bad character | 1 ? 2
"""

CASES = []
for text in EXPRESSIONS.strip().splitlines():
    name, expression = text.split(' | ', 1)
    CASES.append((name, '{{ ' + expression + ' }}'))

STATEMENTS = {
    'plain': 'just text\n',
    'last line feed': 'a\n\n',
    'carriage returns': 'a\r\nb\rc{{ "x\r\ny" }}',
    'trim blocks': 'a\n{% if true %}\n  b\n{% endif %}\nc\n  {{ 1 }}\n  d',
    'lstrip blocks': '  {% if true %}x{% endif %}\n\t {% set a = 1 %}y\n z {% set b = 2 %} w',
    'lstrip after output': '{{ 1 }}  {% if true %} x{% endif %}\n   {# c #}  \n{{ 2 }}',
    'minus': 'a  \n {%- if true -%} \n b \n {%- endif -%} \n c {{- 1 -}} \n d {#- c -#} \n e',
    'plus': '  {%+ if true +%}\n x\n  {%+ endif %}\n y {{+ 1 }}',
    'minus of one side': 'a \n{%- if true %} \n b{% endif -%} \n c',
    'comments': 'a{# {{ 1 }} {% if %} #}b\n  {# line #}\nc{#- x #} d',
    'unclosed comment': 'a{# b',
    'raw': '{% raw %}{{ x }} {% if %}{% endraw %}\nb {%- raw -%}  c  {%- endraw -%}  d',
    'unclosed raw': '{% raw %} a',
    'braces': '{ a } {{ "}}" }} {{ {"a": {"b": 1}} }} { {x} %} #}',
    'unclosed output': 'a {{ 1',
    'unclosed block': 'a {% if 1',
    'for': '{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}'
           '{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ m.role }};{% endfor %}',
    'for neighbours': '{% for m in messages %}{{ loop.previtem.role if loop.previtem else "-" }}>'
                      '{{ loop.nextitem.role if loop.nextitem is defined else "-" }};{% endfor %}',
    'for previtem of first': '{% for m in messages %}{{ loop.previtem.role }}{% endfor %}',
    'for cycle': '{% for m in [1,2,3] %}{{ loop.cycle("a", "b") }}{{ loop.changed(m > 1) }}'
                 '{{ loop.depth }};{% endfor %}',
    'for if': '{% for m in messages if m.role != "system" %}{{ loop.index }}/{{ loop.length }}'
              '{{ m.role }};{% endfor %}',
    'for else': '{% for x in [] %}a{% else %}none{% endfor %}{% for x in [1] if x > 1 %}a{% else %}'
                'b{% endfor %}{% for x in [1] %}c{% else %}d{% endfor %}',
    'for unpack': '{% for k, v in {"a": 1, "b": 2}.items() %}{{ k }}={{ v }};{% endfor %}'
                  '{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}',
    'for unpack too few': '{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}',
    'for over text': '{% for c in "añ😀" %}[{{ c }}]{% endfor %}',
    'for over int': '{% for c in 5 %}{% endfor %}',
    'for over none': '{% for c in none %}{% endfor %}',
    'for over undefined': '{% for c in missing %}a{% else %}nothing{% endfor %}',
    'for over dict': '{% for k in {"x": 1, "y": 2} %}{{ k }}{% endfor %}',
    'for tuple': '{% for x in 1, 2, 3 %}{{ x }}{% endfor %}',
    'for nested': '{% for a in [1, 2] %}{% for b in [3, 4] %}{{ loop.index }}{{ a }}{{ b }} '
                  '{% endfor %}{{ loop.index }};{% endfor %}',
    'loop outside': '{% for a in [1] %}{% endfor %}[{{ loop is defined }}{{ a is defined }}]',
    'break': '{% for a in [1, 2, 3] %}{% if a == 2 %}{% break %}{% endif %}{{ a }}{% endfor %}.',
    'continue': '{% for a in [1, 2, 3] %}{% if a == 2 %}{% continue %}{% endif %}{{ a }}'
                '{% endfor %}.',
    'break outside': '{% break %}',
    'if': '{% if 0 %}a{% elif [] %}b{% elif "x" %}c{% else %}d{% endif %}'
          '{% if none %}a{% else %}e{% endif %}',
    'if without end': '{% if 1 %}a',
    'end without if': 'a{% endif %}',
    'wrong end': '{% if 1 %}a{% endfor %}',
    'unknown tag': '{% nonsense %}',
    'set': '{% set a = 1 %}{% set b, c = 2, [3] %}{{ a }}{{ b }}{{ c }}{% set a = a + 1 %}{{ a }}',
    'set in loop': '{% set x = 0 %}{% for i in [1, 2, 3] %}{% set x = x + i %}{{ x }} {% endfor %}'
                   '{{ x }}',
    'set in if': '{% if true %}{% set x = 5 %}{% endif %}{{ x }}',
    'namespace': '{% set ns = namespace(n=0, list=[]) %}{% for i in [1, 2, 3] %}'
                 '{% set ns.n = ns.n + i %}{% set ns.list = ns.list + [i] %}{% endfor %}'
                 '{{ ns.n }}{{ ns.list }}{{ ns.zz is defined }}',
    'set of no namespace': '{% set d = {"a": 1} %}{% set d.a = 2 %}',
    'set underscore': '{% set ns = namespace() %}{% set ns._a = 2 %}',
    'set block': '{% set x %}\n a {{ 1 + 1 }}\n{% endset %}[{{ x }}]{% set y | trim | upper %} b '
                 '{% endset %}[{{ y }}]{{ x is string }}',
    'set block scope': '{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}',
    'filter block': '{% filter upper | replace("B", "x") %}a{{ "b" }}c{% endfilter %}',
    'with': '{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}'
            '{{ b is defined }}',
    'macro': '{% macro f(a, b=2, c="x" ~ b) %}({{ a }}{{ b }}{{ c }}){% endmacro %}'
             '{{ f(1) }}{{ f(1, 3) }}{{ f(c=5, a=0) }}{{ f() }}{{ f(1) | length }}',
    'macro extra': '{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}',
    'macro unknown keyword': '{% macro f(a) %}{% endmacro %}{{ f(x=2) }}',
    'macro twice given': '{% macro f(a) %}{% endmacro %}{{ f(1, a=2) }}',
    'macro varargs': '{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}'
                     '{{ f(1, 2, 3, k=4) }}',
    'macro scope': '{% set x = 1 %}{% macro f() %}{{ x }}{% set x = 5 %}{{ x }}{% endmacro %}'
                   '{{ f() }}{{ x }}{% set x = 2 %}{{ f() }}',
    'macro in loop': '{% macro f(m) %}<{{ m.role }}>{% endmacro %}{% for m in messages %}{{ f(m) }}'
                     '{% endfor %}',
    'macro returns text': '{% macro f() %} a {% endmacro %}{{ f() is string }}{{ f() | trim }}'
                          '{{ "x" + f() }}',
    'macro recursion': '{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}'
                       '{{ f(9) }}',
    'macro before it is there': '{{ f() }}{% macro f() %}{% endmacro %}',
    'macro default order': '{% macro f(a=1, b) %}{% endmacro %}',
    'call block': '{% macro f(x) %}[{{ x }}{{ caller() }}]{% endmacro %}{% call f(1) %}body{% endcall %}',
    'call block arguments': '{% macro f() %}{{ caller(1, b=2) }}{% endmacro %}'
                            '{% call(a, b) f() %}{{ a }}{{ b }}{% endcall %}',
    'call of no caller': '{% macro f() %}{% endmacro %}{% call f() %}{% endcall %}',
    'generation': '{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}'
                  '{% endfor %}\n',
    'messages': '{{ bos_token }}{% for m in messages %}<|{{ m["role"] }}|>{{ m["content"] | trim }}'
                '{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}',
    'print messages': '{{ messages }}',
    'tools is none': '{{ tools is defined }}{{ tools is none }}{{ documents is none }}',
    'raise in loop': '{% for m in messages %}{% if loop.index0 == 1 %}\n'
                     '{{ raise_exception("no " + m.role) }}{% endif %}{% endfor %}',
    'unknown filter in if': '{% if false %}{{ 1 | no_such }}{% endif %}ok',
    'unknown filter in else': '{% if true %}ok{% else %}{{ 1 | no_such }}{% endif %}',
    'unknown filter in a loop in if': '{% if 0 %}{% for a in [] %}{{ 1 | no_such }}{% endfor %}'
                                      '{% endif %}',
    'include': '{% include "x" %}',
    'import': '{% import "os" as os %}{{ os }}',
    'do': '{% do [].append(1) %}',
    'endless recursion': '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
    'mutual recursion': '{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}'
                        '{{ f() }}',
}
for name, source in STATEMENTS.items():
    CASES.append((name, source))
