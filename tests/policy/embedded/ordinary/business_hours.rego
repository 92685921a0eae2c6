# input {"context":{"time":"2026-07-15T18:30:00Z"},"user":"ann"}
# input {"context":{"time":"2026-07-18T10:00:00Z"},"user":"ann"}
package ordinary.business_hours

now := time.parse_rfc3339_ns(input.context.time)

day := time.weekday(now)

hour := time.clock(now)[0]

minute := time.clock(now)[1]

weekday if day in ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]

office_hours if {
	hour >= 8
	hour < 18
}

deny contains "outside business hours" if not weekday

deny contains "outside business hours" if not office_hours

minutes := (hour * 60) + minute
