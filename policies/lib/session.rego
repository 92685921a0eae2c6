# The calls that came before: rates, budgets, labels, targets.
#
# The scope is "session", "principal" (all sessions of the principal) or "agent" (all sessions of the agent). Write it as
# a literal, because guardrail reads from the policy which state to pass. Tools are a list or set of names, and only
# calls that were allowed count. Seconds are a whole number.
#
# Nothing here is undefined. If the state is missing or malformed, or if its list of recent calls does not reach back to
# the beginning of the period, the answer is unknown:
#  - numbers are then larger than any limit
#  - functions whose names begin with maybe_ or over_, and first_seen, are then true: use them to deny
#  - all others are then false: use them to allow
#
# In a policy, write the full name: data.guardrail.lib.session.within("principal", ["refund"], 3600)

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.session

# An unknown number of calls, of targets or of anything.
unknown := 9000000000000000

# The number of calls, without a limit of time.
default calls(_, _) := 9000000000000000

calls(scope, tools) := total if {
	found := counted(scope, tools)
	numbers := [object.get(each, "calls", 0) | some each in found]
	all_amounts(numbers)
	total := sum(numbers)
}

# True if there was such a call.
default before(_, _) := false

before(scope, tools) if {
	number := calls(scope, tools)
	number > 0
	number < unknown
}

# True if such a call has succeeded. Only recent calls count.
default succeeded(_, _) := false

succeeded(scope, tools) if {
	some call in allowed(scope, tools)
	call.outcome == "ok"
}

# The number of calls in the last seconds.
default within(_, _, _) := 9000000000000000

within(scope, tools, seconds) := count(calls_within(scope, tools, seconds))

# The number of calls after the last call of one of the tools in marks, or of all calls if there was none.
default since(_, _, _) := 9000000000000000

since(scope, tools, marks) := number if {
	places := positions(scope, marks)
	chosen := positions(scope, tools)
	every tool in tools {
		kept_since(scope, tool, max(places))
	}
	number := count([place | some place in chosen; place > max(places)])
}

since(scope, tools, marks) := number if {
	count(positions(scope, marks)) == 0
	state(scope).recent_complete == true
	number := count(positions(scope, tools))
}

# The sum of a declared amount, without a limit of time. The pointer is that of the declaration, such as "/amount".
default spent(_, _, _) := 9000000000000000

spent(scope, tools, pointer) := total if {
	found := counted(scope, tools)
	sums := [object.get(each, "amounts", {}) | some each in found]
	all_objects(sums)
	numbers := [object.get(each, pointer, 0) | some each in sums]
	all_amounts(numbers)
	total := sum(numbers)
}

# The sum of a declared amount of the calls in the last seconds.
default spent_within(_, _, _, _) := 9000000000000000

spent_within(scope, tools, pointer, seconds) := total if {
	found := calls_within(scope, tools, seconds)
	numbers := [object.get(call.amounts, pointer, null) | some call in found]
	all_amounts(numbers)
	total := sum(numbers)
}

# The number of different targets of the calls in the last seconds.
default distinct_targets(_, _, _) := 9000000000000000

distinct_targets(scope, tools, seconds) := number if {
	found := calls_within(scope, tools, seconds)
	number := count({target | some call in found; some target in call.target; target != null})
}

# True if this call is of one of the tools, and there would be more than most calls in the last seconds.
default over_rate(_, _, _, _) := true

over_rate(_, tools, _, _) := false if other_tool(tools)

over_rate(scope, tools, most, seconds) := false if {
	is_number(most)
	most == round(most)
	within(scope, tools, seconds) < most
}

# True if this call is of one of the tools, and the sum of a declared amount, with this call, would be more than most.
default over_budget(_, _, _, _) := true

over_budget(_, tools, _, _) := false if other_tool(tools)

over_budget(scope, tools, pointer, most) := false if {
	is_number(most)
	sum([spent(scope, tools, pointer), amount(pointer)]) <= most
}

# The same for the calls in the last seconds.
default over_budget_within(_, _, _, _, _) := true

over_budget_within(_, tools, _, _, _) := false if other_tool(tools)

over_budget_within(scope, tools, pointer, most, seconds) := false if {
	is_number(most)
	sum([spent_within(scope, tools, pointer, seconds), amount(pointer)]) <= most
}

# True if an allowed call had this label.
default labelled(_, _) := false

labelled(scope, label) if label in labels(scope)

# True if an allowed call had this label, or if that is unknown.
default maybe_labelled(_, _) := true

maybe_labelled(scope, label) := false if {
	is_string(label)
	found := labels(scope)
	every each in found {
		not each in {label, "*"}
	}
}

# True if an earlier call had a target of this call. Only recent calls count.
default same_target(_, _) := false

same_target(scope, tools) if {
	some call in allowed(scope, tools)
	shares_target(call)
}

# True if a call in the last seconds had a target of this call, or if that is unknown. The recorded target of an earlier
# call can be a token, which can't be compared.
default maybe_same_target(_, _, _) := true

maybe_same_target(scope, tools, seconds) := false if {
	known_targets
	found := calls_within(scope, tools, seconds)
	every call in found {
		other_targets(call)
	}
}

# True unless the principal made such a call with a target of this call before this session began.
default first_seen(_) := true

first_seen(tools) := false if {
	some call in allowed("principal", tools)
	shares_target(call)
	before_session(call)
}

# The state, if it is an object.
default state(_) := {}

state(scope) := input.context.session if {
	scope == "session"
	is_object(input.context.session)
}

state(scope) := input.context.principal_state if {
	scope == "principal"
	is_object(input.context.principal_state)
}

state(scope) := input.context.agent_state if {
	scope == "agent"
	is_object(input.context.agent_state)
}

# The counts of tools that have been called.
counted(scope, tools) := found if {
	is_list(tools)
	by_tool := state(scope).by_tool
	is_object(by_tool)
	named(by_tool, tools)
	found := [object.get(by_tool, tool, {}) | some tool in {tool | some tool in tools}]
	all_objects(found)
}

# The recent calls, if each is well-formed.
recent(scope) := found if {
	found := state(scope).recent
	is_array(found)
	every call in found {
		well_formed(call)
	}
}

well_formed(call) if {
	is_string(call.tool)
	is_string(call.effect)
	data.guardrail.lib.identity.readable_time(call.time)
	is_array(call.target)
	is_object(call.amounts)
}

# The recent calls of the tools that were allowed.
allowed(scope, tools) := [call |
	is_list(tools)
	some call in recent(scope)
	call.effect == "allow"
	call.tool in tools
]

# The places of these calls among the recent ones.
positions(scope, tools) := found if {
	is_list(tools)
	known := recent(scope)
	found := {place | some place, call in known; call.effect == "allow"; call.tool in tools}
}

# The calls of the tools in the last seconds, if the recent calls reach back so far. A time in the future counts: the
# clock was set back.
calls_within(scope, tools, seconds) := found if {
	is_list(tools)
	start := start_of(seconds)
	recent(scope)
	reaches(scope, tools, start)
	found := [call | some call in allowed(scope, tools); nanoseconds(call.time) > start]
}

# A dropped call of a tool is older than the oldest one of this tool that is left.
reaches(scope, tools, start) if {
	every tool in tools {
		reaches_tool(scope, tool, start)
	}
}

reaches_tool(scope, _, _) if state(scope).recent_complete == true

reaches_tool(scope, tool, start) if {
	known := [call | some call in allowed(scope, [tool])]
	nanoseconds(known[0].time) <= start
}

reaches_tool(scope, tool, _) if keeps(scope, tool)

# True if no admitted call of the tool was dropped. Beyond a limit, tools are counted as "*".
keeps(scope, tool) if state(scope).by_tool[tool].recent_complete == true

keeps(scope, tool) if {
	by_tool := state(scope).by_tool
	is_object(by_tool)
	not by_tool[tool]
	not by_tool["*"]
}

nanoseconds(text) := time.parse_rfc3339_ns(data.guardrail.lib.identity.readable_time(text))

# (The remainder changes no period. It shows the engine that the product fits in 64 bits.)
start_of(seconds) := now - ((round(seconds) % 1000000001) * 1000000000) if {
	is_number(seconds)
	seconds > 0
	seconds <= 1000000000
	seconds == round(seconds)
	now := time.parse_rfc3339_ns(data.guardrail.lib.identity.readable_time(input.context.time))
}

labels(scope) := found if {
	found := state(scope).labels
	is_array(found)
}

# The declared amount of this call.
amount(pointer) := found if {
	found := input.resource.properties.amounts[pointer]
	is_amount(found)
}

other_tool(tools) if {
	is_list(tools)
	is_string(input.resource.id)
	every tool in tools {
		tool != input.resource.id
	}
}

known_targets if {
	is_array(input.resource.properties.target)
	count(input.resource.properties.target) > 0
	every target in input.resource.properties.target {
		target != null
	}
}

shares_target(call) if {
	some target in call.target
	target != null
	target in input.resource.properties.target
}

other_targets(call) if {
	every target in call.target {
		other_target(target)
	}
}

other_target(target) if target == null

other_target(target) if {
	comparable(target)
	every own in input.resource.properties.target {
		own != target
	}
}

# Texts that are recorded in another form are objects, tokens or marks.
comparable(target) if is_number(target)

comparable(target) if {
	is_string(target)
	not contains(target, "gr1:")
}

before_session(_) if state("session").since == ""

before_session(call) if nanoseconds(call.time) < nanoseconds(state("session").since)

all_objects(values) if {
	every value in values {
		is_object(value)
	}
}

all_amounts(values) if {
	every value in values {
		is_amount(value)
	}
}

is_amount(value) if {
	is_number(value)
	value >= 0
	value <= 1000000000000
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)

# Beyond a limit, tools are counted as "*".
named(by_tool, _) if not by_tool["*"]

named(by_tool, tools) if {
	every tool in tools {
		by_tool[tool]
	}
}

# True if no call of the tool after this place was dropped.
kept_since(scope, _, _) if state(scope).recent_complete == true

kept_since(scope, tool, _) if keeps(scope, tool)

kept_since(scope, tool, place) if min(positions(scope, [tool])) < place
