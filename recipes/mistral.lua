--- Mistral-7B-Instruct-v0.2 by SPPO, as recipes/llama3.lua does it with Llama-3-8B.
---
---     sppo plan recipes/mistral.lua --hardware h100

local recipe = require('sppo.selfplay.recipe').base('recipes/llama3.lua')
recipe.name = 'mistral'
recipe.policy.model = 'mistral-7b'
return recipe
