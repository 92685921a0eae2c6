# METADATA
# title: Style

# input {"request":{"method":"PUT","path":["accounts","7"],"user":"7"},"tier":"gold"}
package ordinary.regal_style

import rego.v1

default allow := false

_is_owner if input.request.path[1] == input.request.user

# METADATA
# description: owners change their own account
allow if {
	input.request.method in {"PUT", "PATCH"}
	["accounts", _] = input.request.path
	_is_owner
}

allow if {
	input.request.method == "GET"
	count(input.request.path) == 2
	path_root == "accounts"
}

path_root := input.request.path[0]

quota := _quotas[input.tier]

_quotas["gold"] := 100

_quotas["silver"] := 10

reasons contains "not the owner" if not _is_owner

reasons contains $"no quota for {input.tier}" if not _quotas[input.tier]
