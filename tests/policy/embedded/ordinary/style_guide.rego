# input {"user":{"name":"jane","roles":["developer"],"teams":["ops"]},"request":{"method":"POST","path":"/users/jane"}}
package ordinary.style_guide

import data.ordinary.nothing.helpers

default allow := false

allow if {
	is_developer
	own_account
}

is_developer if "developer" in input.user.roles

own_account if {
	["users", name] = split(trim_left(input.request.path, "/"), "/")
	name == input.user.name
}

deny contains message if {
	input.request.method in {"POST", "PUT"}
	not is_developer
	message := sprintf("%s may not write to %s", [input.user.name, input.request.path])
}

_teams := {team | some team in input.user.teams}

known_teams := _teams & {"ops", "dev"}
