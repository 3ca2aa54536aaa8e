-- Makes and drops Lua tables, strings and closures, through realloc and free of the interpreter: binary
-- trees, a table of strings with deletions, string concatenation.
local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end
local function count(node) return node[1] and 1 + count(node[1]) + count(node[2]) or 1 end

local seed = 1
local function draw(limit)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed // 65536 % limit
end

local store, total = {}, 0
for turn = 1, 12 do
  total = total + count(tree(14))
  for i = 1, 60000 do
    local key = "key-" .. draw(20000)
    store[key] = not store[key] and { key, string.rep("v", draw(200)), function() return i end } or nil
  end
  local parts = {}
  for i = 1, 5000 do parts[i] = tostring(i) .. ":" .. turn end
  total = total + #table.concat(parts, ",") % 2
end
assert(total >= 12 * 32767)
