-- Two CDRs a call, dialog_start and, many requests later, dialog_end; ids in no order, and each call
-- begins a millisecond after the one before. One thread.
local LATER = 1024 -- calls under way: the two CDRs of a call never meet in one commit
local start, ending, number, token, run
local DIALOG = "3f9a1c5e7b2d40683f9a1c5e7b2d40683f9a1c5e.1763805600000.a1b2c3d4e5f60718293a4b5c6d7e8f90"
local SESSION = "6c1f0a52-3d7e-4b8a-9f21-7a0c5e3d9b14"
local CONNECTION = "d41c7a90-sip-01"
local BEGAN = "1763805600000"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- A text cut where ids stand, so that a body is one concatenation.
local function cut(text)
  local parts, at = {}, 1
  while true do
    local first, last, what
    for name, id in pairs({d = DIALOG, s = SESSION, c = CONNECTION, t = BEGAN}) do
      local a, b = text:find(id, at, true)
      if a and (not first or a < first) then first, last, what = a, b, name end
    end
    if not first then break end
    parts[#parts + 1] = text:sub(at, first - 1)
    parts[#parts + 1] = what
    at = last + 1
  end
  return parts, text:sub(at)
end

local function fill(parts, tail, ids)
  local out = {}
  for i = 1, #parts, 2 do
    out[#out + 1] = parts[i]
    out[#out + 1] = ids[parts[i + 1]]
  end
  out[#out + 1] = tail
  return table.concat(out)
end

function init(args)
  run, token = args[1], args[2]
  start = {cut(read(args[3]))}
  ending = {cut(read(args[4]))}
  number = 0
end

function request()
  local call = math.floor(number / 2)
  local parts = number % 2 == 0 and start or ending
  if parts == ending then call = (call - LATER) % 2 ^ 31 end
  number = number + 1
  -- Knuth's multiplicative hash: each number once, in no order, as OCP's ids are.
  local mark = string.format("%s%08x", run, tonumber(call * 2654435761ULL % 4294967296ULL))
  local began = string.format("%.0f", tonumber(BEGAN) + call)
  local ids = {
    d = mark .. "7b2d40683f9a1c5e7b2d4068." .. began .. "." .. mark .. "e5f60718293a4b5c",
    s = mark .. "-3d7e-4b8a-9f21-7a0c5e3d", c = mark .. "-sip-01", t = began,
  }
  local headers = {["Content-Type"] = "application/json"}
  if token ~= "" then headers["Authorization"] = "Bearer " .. token end
  return wrk.format("POST", "/v1/events", headers, fill(parts[1], parts[2], ids))
end

local bad = 0
function response(status)
  if status ~= 200 then bad = bad + 1 end
end

function done(summary, latency)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
