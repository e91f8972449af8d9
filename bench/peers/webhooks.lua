-- webhooks: makes wrk send webhooks with unique message ids, with the keys in its
-- arguments if there are any, and print its figures on a separate line.
local threads = 0

function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end

function init(args)
	sent = 0
	math.randomseed(os.time() + id)
	run = math.random(1000000000) .. "-" .. id .. "-"
	keys = args
	headers = { ["Content-Type"] = "application/json" }
end

function request()
	sent = sent + 1
	if #keys > 0 then
		headers["Authorization"] = "Bearer " .. keys[math.random(#keys)]
	end
	return wrk.format("POST", "/api/webhooks/sms", headers,
		'{"from": "+1555' .. math.random(20000) .. '", "to": "+12016661234", "type": "sms", '
		.. '"messaging_provider_id": "' .. run .. sent .. '", "body": "Hello! This is a test SMS message.", '
		.. '"attachments": null, "timestamp": "2024-11-01T14:00:00Z"}')
end

function done(summary, latency)
	local errors = summary.errors
	print(string.format("figures %d %d %d %d %d", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99),
		errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
