# input {"user":{"title":"owner","tenure":3,"clearance":2},"action":"adopt","resource":{"level":1,"owner":"ann"},"time":"2026-03-04T10:00:00Z"}
package ordinary.abac

default allow := false

allow if {
	user_is_owner
	action_is_known
}

allow if {
	user_is_employee
	input.resource.level <= input.user.clearance
	not weekend
}

user_is_owner if input.user.title == "owner"

user_is_employee if {
	input.user.title in {"employee", "contractor"}
	input.user.tenure > 1
}

action_is_known if input.action in ["read", "update", "adopt"]

weekend if time.weekday(time.parse_rfc3339_ns(input.time)) in {"Saturday", "Sunday"}
