# input {"user":"ann","resource":{"owner":"bob","type":"doc","labels":{"tier":"gold"}},"action":"read"}
# data {"users":{"ann":{"roles":["editor"],"attrs":{"level":3}}},"roles":{"editor":{"doc":["read","write"]}},"limits":{"gold":{"level":2}}}
package ordinary.data_lookup_rules

user := data.users[input.user]

permissions contains action if {
	role := user.roles[_]
	action := data.roles[role][input.resource.type][_]
}

allow if {
	permissions[input.action]
	level_ok
}

allow if input.resource.owner == input.user

level_ok if user.attrs.level >= data.limits[input.resource.labels.tier].level

unknown_user if not data.users[input.user]

unknown_role contains r if {
	some r in user.roles
	not r in object.keys(data.roles)
}

reason := "owner" if input.resource.owner == input.user
else := "role" if permissions[input.action]
else := sprintf("%s may not %s", [input.user, input.action])
