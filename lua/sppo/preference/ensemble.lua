--- Several preferences as one: the weighted mean of their matrices.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local preference = require 'sppo.preference'

local M = {}

--- A preference for recipes. An answer passes if it passes with every member that has `pass`.
---@param options { members: (sppo.Preference|function)[], weights?: number[] }
---   weights: of the members, in any scale; equal ones if absent
---@return sppo.Preference
function M.preference(options)
  options = check.options('ensemble.preference', options, { 'members', 'weights' })
  local members, weights, sum, keys = {}, {}, 0, {}
  if type(options.members) ~= 'table' or #options.members == 0 then
    engine.raise('argument', 'ensemble.preference: members must be a list of preferences', 2)
  end
  for i, source in ipairs(options.members) do
    members[i] = preference.new(source)
    weights[i] = check.number(('ensemble.preference: weights[%d]'):format(i),
      options.weights and options.weights[i] or not options.weights and 1 or nil, 'number', 0, 1e9)
    sum = sum + weights[i]
    keys[i] = members[i].key and ('%.17g %s'):format(weights[i], members[i].key)
  end
  if sum == 0 then engine.raise('argument', 'ensemble.preference: all weights are 0', 2) end
  local passes, both_orders
  for _, m in ipairs(members) do
    passes, both_orders = passes or m.pass ~= nil, both_orders or m.both_orders
  end
  return {
    both_orders = both_orders,
    -- A member without a key makes the recipe's text the key.
    key = #keys == #members and 'ensemble ' .. table.concat(keys, '; ') or nil,
    prefer = function(prompt, answers, details)
      local p = {}
      for i = 1, #answers do
        p[i] = {}
        for j = 1, #answers do p[i][j] = 0 end
      end
      for n, m in ipairs(members) do
        local matrix = preference.matrix(m, prompt, answers, details)
        for i = 1, #answers do
          for j = 1, #answers do p[i][j] = p[i][j] + weights[n] / sum * matrix[i][j] end
        end
      end
      return p
    end,
    pass = passes and function(prompt, answer, detail)
      for _, m in ipairs(members) do
        if m.pass and not m.pass(prompt, answer, detail) then return false end
      end
      return true
    end or nil,
  }
end

return M
