# Local time at the moment of the call, in a time zone such as "Europe/Berlin".
#
# The guard puts the offsets of the zones that policies name into input.context.zones. If the offset of a zone is
# missing there, or an argument is malformed, these functions fail the decision, and the call is denied (cause error).
#
# In a policy, write the full name: data.guardrail.lib.time.clock("Europe/Berlin")

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.time

# The days from Monday to Friday.
workdays := ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]

# The local date: [year, month, day].
date(zone) := time.date([local_ns(zone), "UTC"])

# The local time of day: [hour, minute, second].
clock(zone) := time.clock([local_ns(zone), "UTC"])

# The local day of the week: "Monday" to "Sunday".
weekday(zone) := time.weekday([local_ns(zone), "UTC"])

# True if the local time of day is from or later, and earlier than until; otherwise false. Both have the form "HH:MM",
# and "24:00" is the end of the day. If until is earlier than from, the hours extend past midnight.
within_hours(zone, from, until) := within if {
	now := time_of_day(zone)
	start := valid_time(from)
	within := between(now, start, valid_end(start, until))
}

# The same on certain days only, for example data.guardrail.lib.time.workdays. Hours that extend past midnight belong to
# the day on which they begin.
working_hours(zone, days, from, until) := within if {
	today := weekday(zone)
	now := time_of_day(zone)
	start := valid_time(from)
	end := valid_end(start, until)
	chosen := valid_days(days)
	within := within_shift(now, start, end, {"today": today in chosen, "before": day_before[today] in chosen})
}

# The number of seconds by which local time is ahead of UTC.
offset(zone) := seconds if {
	seconds := object.get(object.get(input, ["context", "zones"], {}), zone, null)
	is_number(seconds)
} else := to_number("input.context.zones has no offset for this time zone")

# The nanoseconds since 1970 at which UTC shows the local date and time. (The remainder changes no offset. It shows the
# engine that the product fits in 64 bits.)
local_ns(zone) := utc + ahead if {
	utc := time.parse_rfc3339_ns(object.get(input, ["context", "time"], ""))
	ahead := (round(offset(zone)) % 90000) * 1000000000
}

time_of_day(zone) := text if {
	[hour, minute, _] := clock(zone)
	text := sprintf("%02d:%02d", [hour, minute])
}

valid_time(text) := text if {
	is_string(text)
	regex.match(`^(?:[01][0-9]|2[0-3]):[0-5][0-9]$`, text)
} else := "24:00" if {
	text == "24:00"
} else := to_number("a time of day is not of the form HH:MM")

# Equal times could mean no time or the whole day.
valid_end(start, text) := end if {
	end := valid_time(text)
	end != start
} else := to_number("the hours begin and end at the same time")

valid_days(days) := days if {
	is_list(days)
	every day in days {
		day in object.keys(day_before)
	}
} else := to_number("the days are not a list or set of names from Monday to Sunday")

is_list(days) if is_array(days)

is_list(days) if is_set(days)

day_before := {
	"Friday": "Thursday",
	"Monday": "Sunday",
	"Saturday": "Friday",
	"Sunday": "Saturday",
	"Thursday": "Wednesday",
	"Tuesday": "Monday",
	"Wednesday": "Tuesday",
}

between(now, start, end) if {
	start < end
	start <= now
	now < end
} else if {
	end < start
	start <= now
} else if {
	end < start
	now < end
} else := false

within_shift(now, start, end, on) if {
	on.today
	start < end
	start <= now
	now < end
} else if {
	on.today
	end < start
	start <= now
} else if {
	on.before
	end < start
	now < end
} else := false
