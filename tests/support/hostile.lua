--- More than 200 texts that a model, a prompt or a recipe may hold and that want to be more than
--- text. Those that carry a script would set the page's title to 'ran'.

local js = 'document.title=\'ran\''

return {
  -- ---- elements ----
  '<script>' .. js .. '</script>', '<SCRIPT>' .. js .. '</SCRIPT>', '<script src=//x.invalid/a.js>',
  '<script\n>' .. js .. '</script\n>', '<script/x>' .. js .. '</script>', '<scr<script>ipt>' .. js,
  '<<script>' .. js .. '//<</script>', '<script>' .. js .. '</script', '< script >' .. js,
  '<script type="module">' .. js .. '</script>', '<noscript><p title="</noscript><img src=x>">',
  '<img src=x onerror=' .. js .. '>', '<img src="x" onerror="' .. js .. '">',
  '<img/src=x/onerror=' .. js .. '>', '<IMG SRC=x ONERROR=' .. js .. '>',
  '<img src=http://x.invalid/1.png>', '<image src=x onerror=' .. js .. '>',
  '<body onload=' .. js .. '>', '<iframe src="javascript:' .. js .. '"></iframe>',
  '<iframe srcdoc="<script>parent.' .. js .. '</script>">', '<object data=//x.invalid/a.swf>',
  '<embed src=//x.invalid/a>', '<video><source onerror=' .. js .. '>', '<audio src=x onerror=a()>',
  '<link rel=stylesheet href=//x.invalid/a.css>', '<link rel="dns-prefetch" href="//x.invalid">',
  '<base href=//x.invalid/>', '<meta http-equiv=refresh content="0;url=//x.invalid">',
  '<form action=//x.invalid><input name=a autofocus onfocus=' .. js .. '></form>',
  '<button formaction="javascript:' .. js .. '">x</button>', '<isindex type=image src=1 onerror=a>',
  '<select autofocus onfocus=' .. js .. '>', '<textarea>', '</textarea><script>' .. js,
  '<title>x</title>', '</title><script>' .. js .. '</script>', '<plaintext>', '<xmp>', '<listing>',
  '<template><script>' .. js .. '</script></template>', '<details open ontoggle=' .. js .. '>',
  '<marquee onstart=' .. js .. '>', '<table><td>', '</table>', '</td></tr></tbody></table>',
  '</div></details></main></body></html>', '</body>', '</html>', '<html onclick=a()>',
  '<math><mtext><table><mglyph><style><img src=x onerror=' .. js .. '>',
  '<a href="javascript:x">a</a>',
  '<a href="data:text/html,<script>' .. js .. '</script>">a</a>', '<dialog open>', '<slot>',
  '<x-y>',
  '<ins>', '</ins>', '<del>', '</del><b>', '<summary>', '</summary>', '</details>', '<dd>', '</dl>',
  '<frameset>', '<!doctype x>', '<?xml version="1.0"?>', '<?php echo 1 ?>', '<%= 1 %>',
  -- ---- SVG ----
  '<svg onload=' .. js .. '>', '<svg><script>' .. js .. '</script></svg>',
  '<svg/onload=' .. js .. '>', '</svg>', '</text><script>' .. js .. '</script>',
  '<svg><animate onbegin=' .. js .. ' attributeName=x dur=1s>',
  '<svg><use href="//x.invalid/a.svg#a"/></svg>', '<svg><image href="//x.invalid/a.png"/></svg>',
  '<svg><foreignObject><iframe src=x></foreignObject></svg>', '<svg><style>*{display:none}</style>',
  '<svg><a xlink:href="javascript:' .. js .. '"><text>x</text></a></svg>',
  '<svg><set attributeName=href to=javascript:a></svg>', '<svg><title><script>' .. js,
  '<svg viewBox="0 0 1 1"><desc></svg><script>' .. js .. '</script>', '<g onclick=a()>',
  -- ---- comments, sections, ends of blocks ----
  '<!--', '-->', '--!>', '<!-->', '<!-- --><script>' .. js .. '</script>', '<![CDATA[', ']]>',
  '<![CDATA[<script>' .. js .. '</script>]]>', '</style>', '</style><script>' .. js .. '</script>',
  '</STYLE ><img src=x onerror=' .. js .. '>', '</script>', '</noscript>', '</pre>',
  '</pre><script>' .. js .. '</script>', '</xmp>', '<!ENTITY x SYSTEM "file:///etc/passwd">', '&x;',
  -- ---- quotes and attributes ----
  '"', '\'', '""\'\'', '`', '">', '\'>', '">\'><script>' .. js .. '</script>',
  '" onmouseover="' .. js, '\' onmouseover=\'' .. js, '" autofocus onfocus="' .. js .. '" x="',
  '` onerror=`' .. js, '"/><script>' .. js .. '</script>', '\\"><script>' .. js .. '</script>',
  '\\\'-' .. js .. '//', 'x" style="position:fixed;inset:0', 'a=b onclick=c', '=', '/>', '>', '<',
  '<>', '< >', '</>', '</ >', '<a', '<a b="', '<a b=\'c', '</a', '&', '&&', ('<'):rep(500),
  ('>'):rep(500), ('"'):rep(500), ('&'):rep(500), ('<div>'):rep(200), ('</div>'):rep(200),
  -- ---- entities ----
  '&lt;script&gt;' .. js .. '&lt;/script&gt;', '&#60;script&#62;', '&#x3c;b&#x3e;', '&#0;', '&#1;',
  '&#x110000;', '&#xD800;', '&amp;lt;', '&lt', '&nbsp;', '&notit;', '&#99999999999;',
  '&quot;&apos;',
  -- ---- CSS and addresses ----
  '*{background:url(//x.invalid/a)}', '}</style><style>*{display:none}', '@import "//x.invalid/a";',
  'expression(alert(1))', 'url(javascript:' .. js .. ')', '; color: red', 'javascript:' .. js,
  'JaVaScRiPt:' .. js, 'data:text/html;base64,PHNjcmlwdD4=', 'vbscript:msgbox(1)', '//x.invalid/',
  'https://x.invalid/?a=1&b=2', 'file:///etc/passwd', '[a](javascript:alert(1))',
  '![a](//x.invalid)',
  -- ---- formats and templates ----
  '%s%d%n%x', '%', '%1', '%%', '${7*7}', '{{7*7}}', '{% include "x" %}', '#{7*7}', '$(id)', '`id`',
  '\\0', '\\u003cscript\\u003e', '\\x3cscript\\x3e', '\'; DROP TABLE runs; --',
  -- ---- bytes ----
  '\0', 'a\0b', '<scr\0ipt>' .. js .. '</scr\0ipt>', '\1\2\3\4\5\6\7\8',
  '\27[31mred\27[0m\27]0;t\7',
  '\127', 'a\11b\12c', 'line\r\nline\rline', '\255\254', '\192\188script\192\190', '\195',
  '\226\130', '\240\159\146', '\237\160\128', '\244\144\128\128', '\194\133\194\155x',
  '\239\191\190\239\191\191',
  -- ---- direction and what is not seen ----
  '\226\128\174txt.exe', 'a\226\128\173b\226\128\172c', '\226\129\166x\226\129\169',
  '\216\156\226\128\142\226\128\143', 'zero\226\128\139width', '\239\187\191mark', 'a\226\128\168b',
  '\243\160\129\129\243\160\129\130', 'soft\194\173hyphen', 'שלום', 'مرحبا',
  -- ---- size ----
  ('w'):rep(3000), ('é'):rep(1500), ('a\204\129'):rep(1000), ('字'):rep(1200),
  ('\n'):rep(300) .. 'x',
}
