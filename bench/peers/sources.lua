-- sources: makes wrk send the webhooks of a file to a source, from top to bottom and
-- again. A line is the signature, a space, and the body.
local threads = 0

function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end

function init(args)
	path = args[1]
	lines = {}
	for line in io.lines(args[2]) do
		lines[#lines + 1] = line
	end
	-- Two threads do not send the same ones.
	at = id * math.floor(#lines / 2)
end

function request()
	at = at % #lines + 1
	local signature, body = lines[at]:match("^(%S+) (.*)$")
	return wrk.format("POST", path,
		{ ["Content-Type"] = "application/json", ["X-Hub-Signature-256"] = signature }, body)
end

function done(summary, latency)
	local errors = summary.errors
	print(string.format("figures %d %d %d %d %d", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99),
		errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
