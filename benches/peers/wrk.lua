-- What wrk asks and how it reports. DEPTH: requests sent together; CLOSE: each request has a connection of its own.

local depth = tonumber(os.getenv("DEPTH")) or 1

function init()
    if os.getenv("CLOSE") == "yes" then
        wrk.headers["Connection"] = "close"
    end
    local request = wrk.format()
    all = string.rep(request, depth)
end

function request()
    return all
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests":%d,"microseconds":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,' ..
        '"timeout":%d,"p50":%d,"p99":%d}\n',
        summary.requests, summary.duration, summary.bytes, errors.connect, errors.read, errors.write, errors.status,
        errors.timeout, latency:percentile(50), latency:percentile(99)))
end
