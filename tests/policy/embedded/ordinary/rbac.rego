# input {"user":"alice","action":"read","object":"report"}
# data {"bindings":{"alice":["admin"],"bob":["viewer","editor"]},"grants":{"viewer":[{"action":"read","object":"report"}],"editor":[{"action":"write","object":"report"}]}}
package ordinary.rbac

import rego.v1

import data.bindings
import data.grants

default allow := false

allow if user_is_admin

allow if {
	some grant in user_grants
	input.action == grant.action
	input.object == grant.object
}

user_is_admin if "admin" in bindings[input.user]

user_grants contains grant if {
	some role in bindings[input.user]
	some grant in grants[role]
}
