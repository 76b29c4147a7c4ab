-- wrk script: send the bodies of a file (one a line) in turn; print the figures as one line of JSON.
--   wrk … -s wrk.lua URL -- FILE PATH [SESSIONS SEED]
--   wrk … -s wrk.lua URL -- FILE PATH binary JSON_LENGTH     the whole file is one body, JSON and tensors
-- With SESSIONS, the name s9999999 in a body is replaced by a random session below SESSIONS. All names have the
-- same length, so Content-Length does not change.
local requests, heads, tails, count, at, sessions = {}, {}, {}, 0, 0, nil

function init(args)
  if args[3] == "binary" then
    local file = io.open(args[1], "rb")
    local head = {["Content-Type"] = "application/octet-stream", ["Inference-Header-Content-Length"] = args[4]}
    count, requests[1] = 1, wrk.format("POST", args[2], head, file:read("*a"))
    file:close()
    return
  end
  sessions = tonumber(args[3])
  math.randomseed(tonumber(args[4]) or 1)
  for line in io.lines(args[1]) do
    count = count + 1
    local whole = wrk.format("POST", args[2], {["Content-Type"] = "application/json"}, line)
    requests[count] = whole
    if sessions then
      local start = whole:find("s9999999", 1, true)
      heads[count], tails[count] = whole:sub(1, start), whole:sub(start + 8)
    end
  end
end

function request()
  at = at % count + 1
  if sessions then
    return heads[at] .. string.format("%07d", math.random(0, sessions - 1)) .. tails[at]
  end
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "non_2xx": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
