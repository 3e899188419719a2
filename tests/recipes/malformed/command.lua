--- Verbs, arguments and options.

--- A command line, each argument a word.
local function line(words, want, more)
  local args = {}
  for word in words:gmatch('%S+') do args[#args + 1] = word end
  local case = { args = args, want = want }
  for key, value in pairs(more or {}) do case[key] = value end
  return case
end
local function unknown(words, option, hint)
  return line(words, ('unknown option \'%s\'%s'):format(option,
    hint and (' (did you mean \'%s\'?)'):format(hint) or ''))
end
local function missing(verb, what)
  return line(verb, ('missing argument \'%s\''):format(what), { next = ('sppo %s --help'):format(
    verb:match('%S+')) })
end

local cases = {
  -- Verbs.
  line('rnu x.lua', 'unknown verb \'rnu\' (did you mean \'run\'?)', { next = 'sppo help' }),
  line('vaildate x.lua', 'unknown verb \'vaildate\' (did you mean \'validate\'?)'),
  line('evla x', 'unknown verb \'evla\' (did you mean \'eval\'?)'),
  line('trian x', 'unknown verb \'trian\' (did you mean \'train\'?)'),
  line('RUN x.lua', 'unknown verb \'RUN\' (did you mean \'run\'?)'),
  line('exprot x', 'unknown verb \'exprot\' (did you mean \'export\'?)'),
  line('frobnicate', 'unknown verb \'frobnicate\''),
  line('run.lau', 'unknown verb \'run.lau\''),
  line('--verison', 'unknown option \'--verison\''),
  line('-x', 'unknown option \'-x\''),
  line('--', 'unknown option \'--\''),
  line('-', 'unknown option \'-\''),
  line('help vresion', 'unknown verb \'vresion\' (did you mean \'version\'?)'),
  { args = { '' }, want = 'unknown verb \'\'' },
  { args = { '\27[31m' }, want = 'unknown verb \'\\27[31m\'' },
  -- Arguments.
  missing('run', 'recipe'), missing('gen', 'model'), missing('chat', 'model'),
  missing('tok', 'model'), missing('rank', 'model'), missing('export', 'model'),
  missing('export smollm2', 'to'), missing('plan', 'recipe'), missing('eval', 'recipe'),
  missing('eval RECIPE', 'model'), missing('train', 'recipe'), missing('train RECIPE', 'pairs'),
  missing('completion', 'shell'), missing('data', 'action'),
  line('validate', 'validate: which recipe?'), line('new', 'new: where to?'),
  line('cat', '\'files\''), line('data stats', '\'files\''), line('report', '\'runs\''),
  line('inspect', 'argument'),
  line('version now', 'too many arguments'), line('doctor x', 'too many arguments'),
  line('completion bash fish', 'too many arguments'), line('tok a b c', 'too many arguments'),
  -- Options.
  unknown('run RECIPE --olny sample', '--olny', '--only'),
  unknown('run RECIPE --quite', '--quite', '--quiet'),
  unknown('run RECIPE --dry-run', '--dry-run'), unknown('run RECIPE --set seed=1', '--set'),
  unknown('run RECIPE -j 4', '-j'), unknown('validate RECIPE --key', '--key', '--keys'),
  unknown('gen m x --temprature 1', '--temprature', '--temperature'),
  unknown('gen m x --max-tokens 1', '--max-tokens'), unknown('gen m x --sed 1', '--sed', '--seed'),
  unknown('eval RECIPE m --agianst m', '--agianst', '--against'),
  unknown('eval RECIPE m --jsno', '--jsno', '--json'),
  unknown('train RECIPE p --quit', '--quit', '--quiet'),
  unknown('plan RECIPE --hardwear h100', '--hardwear', '--hardware'),
  unknown('export m x --dtyp f16', '--dtyp', '--dtype'), unknown('ls --jsn', '--jsn', '--json'),
  unknown('bench --modle x', '--modle', '--model'), unknown('cat x --follow', '--follow'),
  unknown('version --verbos', '--verbos', '--verbose'), unknown('doctor --fix', '--fix'),
  unknown('report r --outptu x', '--outptu', '--output'),
  unknown('rank m --jsom', '--jsom', '--json'),
  line('run RECIPE --only', '\'--only\''), line('gen m x --seed', '\'--seed\''),
  line('run RECIPE --threads', '\'--threads\''),
  -- Values.
  line('run RECIPE --only smaple', 'unknown stage \'smaple\' (did you mean \'sample\'?)'),
  line('run RECIPE --only all', 'unknown stage \'all\''),
  line('version --threads 0', '--threads must be an integer in 1..256, got \'0\''),
  line('version --threads 1.5', '--threads must be an integer in 1..256, got \'1.5\''),
  line('version --threads many', '--threads must be an integer in 1..256, got \'many\''),
  line('version --threads 1000', '--threads must be an integer in 1..256, got \'1000\''),
  line('version --threads=-1', '--threads must be an integer in 1..256, got \'-1\''),
  line('gen m x --dtype f31', 'unknown dtype \'f31\' (did you mean \'f32\'?)'),
  line('chat m --dtype q8', 'unknown dtype \'q8\''),
  line('gen m x --seed one', '--seed'), line('gen m x -k many', '-k'),
  line('gen m x -k 0', '-k'), line('gen m x -k 1.5', '-k'), line('gen m x -k 1e9', '-k'),
  line('gen m x --temperature hot', '--temperature'),
  line('gen m x --temperature=-1', 'temperature'),
  line('gen m x --top-p 0', '--top-p'), line('gen m x --top-p 2', '--top-p'),
  line('gen m x --top-k 0.5', '--top-k'), line('gen m x --min-p nan', '--min-p'),
  line('gen m x --max-new-tokens 0', '--max-new-tokens'), line('gen m x --seed 1.5', '--seed'),
  line('chat m --temperature x', '--temperature'), line('chat m --top-p 2', '--top-p'),
  line('chat m --max-new-tokens 0', '--max-new-tokens'),
  line('rank m --convention sigm', 'unknown convention \'sigm\' (did you mean \'sigma\'?)'),
  line('rank m --dtype f16', 'unknown dtype \'f16\''),
  line('export m x --dtype f17', 'unknown dtype \'f17\''),
  line('plan RECIPE --hardware h1000', '\'h1000\''),
  line('plan RECIPE --answer-tokens 0', '--answer-tokens must be an integer in 1..1048576, got 0'),
  line('plan RECIPE --prompts x', '--prompts must be an integer in 1..131072, got x'),
  line('completion bsh', 'unknown shell \'bsh\' (did you mean \'bash\'?)'),
  line('bench mashine', 'unknown measure \'mashine\' (did you mean \'machine\'?)'),
  line('bench decode --batch 3 --prompts 2', '--batch 3 is not a multiple of --prompts 2'),
  line('bench machine --batch 3', 'machine does not look at --batch'),
  line('bench decode --batch x', '--batch must be an integer of at least 1, got x'),
  line('data stat x.jsonl', 'stat'), line('data head x --rows 0', '--rows must be an integer'),
  line('test --seed x', '--seed'),
  -- Files.
  line('new FOLDER/x.txt', 'does not end with .lua'),
  line('new FOLDER/r.lua', 'is there already; another name, or remove it first'),
  line('new FOLDER/x.lua --from tinny', '(did you mean \'tiny\'?)', { next = 'sppo new --list' }),
  line('new FOLDER/none/x.lua', 'none/x.lua', { code = 6 }),
  line('eval RECIPE FOLDER/none', 'no model there', { code = 6 }),
  line('eval FOLDER/none.lua start', 'cannot open', { next = 'sppo new --list' }),
  line('eval RECIPE start --against FOLDER/none', 'no model there', { code = 6 }),
  line('train RECIPE FOLDER/none.jsonl', 'none.jsonl: no such file', { code = 6 }),
  line('train RECIPE seed=1', '\'seed=1\' stands where the file of pairs is wanted'),
  line('train FOLDER/none.lua FOLDER/r.lua', 'r.lua', { code = 3 }),
  line('gen FOLDER/none x', 'no model there', { code = 6 }),
  line('tok FOLDER/none x', 'no model there', { code = 6 }),
  line('chat FOLDER/none', 'no model there', { code = 6 }),
  line('export FOLDER/none FOLDER/x', 'no model there', { code = 6 }),
  line('export FOLDER/none FOLDER/x.jsonl', 'is not a round of a run'),
  line('rank FOLDER/none', 'none', { code = 6 }),
  line('cat FOLDER/none.json', 'none.json', { code = 6 }),
  line('cat FOLDER', 'a folder', {}),
  line('cat FOLDER/r.xyz', 'r.xyz', { code = 6 }),
  line('cat --resolved', '\'files\''), line('cat --resolved FOLDER/none.lua', 'cannot open'),
  line('cat --resolved RECIPE seed', '\'seed\' is not key=value'),
  line('cat --resolved RECIPE sede=1', 'unknown key \'sede\' (did you mean \'seed\'?)'),
  line('inspect FOLDER/none', 'none', { code = 6 }),
  line('report FOLDER/none', 'not a run folder'),
  line('report FOLDER FOLDER -o x', 'one page for several runs needs --compare'),
  line('report FOLDER FOLDER --csv x', '--csv takes one run'),
  line('data stats FOLDER/none.jsonl', 'none.jsonl: no such file', { code = 6 }),
  line('data stats FOLDER', 'is a folder', { code = 6 }),
  line('validate RECIPE RECIPE', 'is not key=value'),
}
for _, case in ipairs(cases) do case.line = false end
return cases
