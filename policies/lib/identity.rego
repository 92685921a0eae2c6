# The caller: the person or service on whose behalf the call is made, the agent that makes it, and the identities in
# between.
#
# Every rule and function here is true or false, or has a value of one type, also if a part of the input is missing or
# malformed. So a condition on it is never silently undefined. If the identity is unknown, nothing here is true.
#
# In a policy, write the full name: data.guardrail.lib.identity.verified

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.identity

# True if guardrail verified the identity of the principal, and the record says how and who vouches for it.
default verified := false

verified if {
	input.subject.properties.assurance == "verified"
	is_name(input.subject.id)
	is_name(input.subject.properties.method)
	is_name(input.subject.properties.issuer)
}

# True if the principal is verified and is a person, not a service.
default verified_person := false

verified_person if {
	verified
	input.subject.type == "user"
}

# True if the principal is verified and this issuer vouches for it.
default verified_by(_) := false

verified_by(issuer) if {
	verified
	input.subject.properties.issuer == issuer
}

# True if the principal is verified, and logged in at most this number of seconds before the call (a whole number). If
# the token does not state the time of the login, the time at which the token was issued counts.
default authenticated_within(_) := false

authenticated_within(seconds) if {
	verified
	is_number(seconds)
	seconds >= 0
	seconds <= 1000000000
	seconds == round(seconds)
	now := time.parse_rfc3339_ns(readable_time(input.context.time))
	then := time.parse_rfc3339_ns(readable_time(input.subject.properties.authenticated_at))
	age := now - then

	# The issuer's clock may be ahead by a minute.
	age >= -60000000000
	age <= (round(seconds) % 1000000001) * 1000000000
}

# The roles of the principal, in a set.
default roles := set()

roles := {role | some role in input.subject.properties.roles; is_name(role)} if {
	is_array(input.subject.properties.roles)
}

# True if the principal has the role.
default has_role(_) := false

has_role(role) if role in roles

# True if the principal has one of the roles, which are a list or set.
default has_any_role(_) := false

has_any_role(names) if {
	is_list(names)
	some name in names
	name in roles
}

# True if the principal has all of the roles, which are a list or set with one or more members.
default has_every_role(_) := false

has_every_role(names) if {
	is_list(names)
	count(names) > 0
	every name in names {
		name in roles
	}
}

# True if the property groups of the principal, which the program supplies, is a list with this group.
default in_group(_) := false

in_group(group) if {
	is_array(input.subject.properties.groups)
	is_name(group)
	group in input.subject.properties.groups
}

# The ids in the delegation chain, the current actor first. If the chain is malformed, it is empty.
default actors := []

actors := ids if {
	is_array(input.context.delegation)
	every step in input.context.delegation {
		is_name(step.sub)
	}
	ids := [step.sub | some step in input.context.delegation]
}

# The number of actors between the principal and the call. A malformed chain has 1000, more than any real one.
default delegation_depth := 1000

delegation_depth := count(actors) if {
	is_array(input.context.delegation)
	count(actors) == count(input.context.delegation)
}

# True if the principal's authority was delegated, or the chain is malformed.
default delegated := true

delegated := false if delegation_depth == 0

# The id of the current actor, or "" if nothing was delegated.
default current_actor := ""

current_actor := actors[0]

# True if this is the current actor.
default current_actor_is(_) := false

current_actor_is(id) if {
	is_name(id)
	id == current_actor
}

# True if this is one of the actors in the chain.
default any_actor_is(_) := false

any_actor_is(id) if id in actors

# True if every actor in the chain is one of these ids, a list or set. Without a delegation, this is true.
default every_actor_in(_) := false

every_actor_in(ids) if {
	is_list(ids)
	delegation_depth == count(actors)
	every actor in actors {
		actor in ids
	}
}

# True if guardrail verified the identity of the agent, and the record says how and who vouches for it.
default verified_agent := false

verified_agent if {
	input.context.agent.assurance == "verified"
	is_name(input.context.agent.id)
	is_name(input.context.agent.method)
	is_name(input.context.agent.issuer)
}

# True if the agent is verified and this issuer vouches for it.
default agent_verified_by(_) := false

agent_verified_by(issuer) if {
	verified_agent
	input.context.agent.issuer == issuer
}

# True if the agent has this id.
default agent_is(_) := false

agent_is(id) if {
	is_name(id)
	input.context.agent.id == id
}

# True if the agent has one of these ids, a list or set.
default agent_in(_) := false

agent_in(ids) if {
	is_list(ids)
	is_name(input.context.agent.id)
	input.context.agent.id in ids
}

# True if the agent has this version.
default agent_version_is(_) := false

agent_version_is(version) if {
	is_name(version)
	input.context.agent.version == version
}

# True if the agent states that it uses this framework.
default agent_framework_is(_) := false

agent_framework_is(framework) if {
	is_name(framework)
	input.context.agent.framework == framework
}

# True if the agent has one of these charters, a list or set of their tokens or digests as records show them.
default agent_charter_in(_) := false

agent_charter_in(charters) if {
	is_list(charters)
	is_name(input.context.agent.charter)
	input.context.agent.charter in charters
}

is_name(value) if {
	is_string(value)
	value != ""
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)

# The time, if it is one of this century, which both engines can read.
readable_time(text) := text if {
	is_string(text)
	regex.match(`^20[0-9]{2}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z$`, text)
	begins_with_day(text)
}

begins_with_day(text) if regex.match(`^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T`, text)

begins_with_day(text) if regex.match(`^[0-9]{4}-(?:0[13-9]|1[0-2])-(?:29|30)T`, text)

begins_with_day(text) if regex.match(`^[0-9]{4}-(?:0[13578]|1[02])-31T`, text)

begins_with_day(text) if regex.match(`^20(?:[02468][048]|[13579][26])-02-29T`, text)
