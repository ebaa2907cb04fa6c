-- Asks as it is told, and reports as JSON what came of it.
--
-- wrk ... -- DIALECT KIND KEYS_PER_REQUEST VALUE_BYTES [FIRST COUNT]
--   DIALECT  raftdb | etcd
--   KIND     write | fill | stale | default | consistent | serializable | linearizable
--   fill     writes the keys FIRST, FIRST+1, ... once each and stops after COUNT requests
-- All requests are made before the first is sent, so that asking costs the same for every system.

local BODIES = 500
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local requests, number = {}, 0

local function base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    local function char(shift)
      local index = math.floor(n / 2 ^ shift) % 64 + 1
      return alphabet:sub(index, index)
    end
    out[#out + 1] = char(18) .. char(12) .. (b and char(6) or "=") .. (c and char(0) or "=")
  end
  return table.concat(out)
end

local function key(n)
  return string.format("key-%08d", n)
end

local make = { raftdb = {}, etcd = {} }

function make.raftdb.write(first, count, value)
  local pairs = {}
  for n = first, first + count - 1 do
    pairs[#pairs + 1] = string.format('"%s":"%s"', key(n), value)
  end
  return wrk.format("POST", "/key", nil, "{" .. table.concat(pairs, ",") .. "}")
end

function make.raftdb.read(first, level)
  return wrk.format("GET", "/key/" .. key(first) .. "?level=" .. level)
end

function make.etcd.write(first, count, value)
  local value64 = base64(value)
  local function pair(n)
    return string.format('{"key":"%s","value":"%s"}', base64(key(n)), value64)
  end
  if count == 1 then
    return wrk.format("POST", "/v3/kv/put", nil, pair(first))
  end
  local puts = {}
  for n = first, first + count - 1 do
    puts[#puts + 1] = '{"requestPut":' .. pair(n) .. "}"
  end
  return wrk.format("POST", "/v3/kv/txn", nil, '{"success":[' .. table.concat(puts, ",") .. "]}")
end

function make.etcd.read(first, level)
  local serializable = level == "serializable" and ',"serializable":true' or ""
  return wrk.format("POST", "/v3/kv/range", nil,
    string.format('{"key":"%s"%s}', base64(key(first)), serializable))
end

-- Only filling has a function called for each answer: that time belongs to the servers.
local function fill(dialect, keys, value, first, count)
  local answered, failed, begun = 0, 0, false
  function request()
    if begun then
      first = first + keys
    end
    begun = number > 0
    number = number + 1 -- wrk asks once to see whether we can, and throws that request away
    return dialect.write(first, keys, value)
  end
  function response(status)
    answered = answered + 1
    if status ~= 200 then
      failed = failed + 1
    end
    if answered >= count then -- wrk itself would sleep until its time is up
      io.write(string.format('\nRESULT {"requests":%d,"failed":%d}\n', answered, failed))
      os.exit(0)
    end
  end
end

function init(args)
  local dialect, kind, keys = make[args[1]], args[2], tonumber(args[3])
  local value = string.rep("v", tonumber(args[4]))
  if kind == "fill" then
    fill(dialect, keys, value, tonumber(args[5]), tonumber(args[6]))
    return
  end
  for n = 0, (keys > 1 and BODIES / 5 or BODIES) - 1 do
    if kind == "write" then
      requests[#requests + 1] = dialect.write(n * keys, keys, value)
    else
      requests[#requests + 1] = dialect.read(n, kind)
    end
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary, latency, _)
  local failed = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000,
    failed.status + failed.connect + failed.read + failed.write + failed.timeout))
end
