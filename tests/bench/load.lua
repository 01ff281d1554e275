-- wrk script: sends the bodies of a file, one a line, in turn to one path, and prints what came of it as a line of JSON.
-- Environment: BODIES (file), TARGET (path), METHOD, SEED (where in the file to begin).
-- An answer that is not 2xx is counted as bad: a rate is worth nothing without that number.
local bodies, next_body = {}, 0
local threads = {}
local path, method
bad = 0 -- global: done() asks each thread for it

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
  path = os.getenv("TARGET")
  method = os.getenv("METHOD")
  next_body = tonumber(os.getenv("SEED")) % #bodies
end

function request()
  next_body = next_body % #bodies + 1
  local body = method == "POST" and bodies[next_body] or nil
  return wrk.format(method, path, {["content-type"] = "application/json"}, body)
end

function response(status)
  if status < 200 or status > 299 then bad = bad + 1 end
end

function done(summary, latency)
  local n_bad = 0
  for _, thread in ipairs(threads) do n_bad = n_bad + thread:get("bad") end
  local e = summary.errors
  io.write(string.format('JSON {"rate": %.1f, "p50_ms": %.3f, "p99_ms": %.3f, "n": %d, "bad": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.requests, n_bad + e.connect + e.read + e.write + e.timeout))
end
