-- One write per request, over a thousand keys, with values of 100 bytes.
local number = 0
local value = string.rep("v", 100)

request = function()
  number = (number + 1) % 1000
  return wrk.format("POST", nil, nil, string.format('{"key-%06d":"%s"}', number, value))
end
