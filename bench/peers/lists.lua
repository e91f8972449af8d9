-- lists: makes wrk read lists with the keys in its arguments, and print its figures
-- on a separate line.
function init(args)
	math.randomseed(os.time())
	keys = args
end

function request()
	return wrk.format("GET", "/api/conversations", { ["Authorization"] = "Bearer " .. keys[math.random(#keys)] })
end

function done(summary, latency)
	local errors = summary.errors
	print(string.format("figures %d %d %d %d %d", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99),
		errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
