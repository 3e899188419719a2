--- Gemma-2-9B-it by SPPO, as recipes/llama3.lua does it with Llama-3-8B.
---
---     sppo plan recipes/gemma2.lua --hardware h200

local recipe = require('sppo.selfplay.recipe').base('recipes/llama3.lua')
recipe.name = 'gemma2'
recipe.policy.model = 'gemma2-9b'
return recipe
