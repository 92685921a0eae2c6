# input {"context":{"time":"2026-03-02T10:00:00Z"},"start":"2026-03-01T00:00:00Z","hours":{"from":8,"to":18}}
package ordinary.time_window

now := time.parse_rfc3339_ns(input.context.time)

clock := time.clock(now)

weekday := time.weekday(now)

open if {
	[hour, _, _] := clock
	hour >= input.hours.from
	hour < input.hours.to
	not weekday in {"Saturday", "Sunday"}
}

age_hours := (now - time.parse_rfc3339_ns(input.start)) / 3600000000000

old if now - time.parse_rfc3339_ns(input.start) > 24 * 60 * 60 * 1000000000

stamp := sprintf("%d-%02d-%02d", time.date(now))
