# input {"token":{"payload":{"scope":"read:x write:y","exp":1900000000,"aud":["svc"],"iss":"https://id.example.com"}},"now":1800000000,"needs":["read:x"]}
package ordinary.scopes_claims

claims := input.token.payload

scopes := {s | some s in split(claims.scope, " ")}

valid if {
	claims.iss == "https://id.example.com"
	"svc" in claims.aud
	claims.exp > input.now
}

allow if {
	valid
	every need in input.needs { need in scopes }
}

missing := {n | some n in input.needs} - scopes

deny contains reason if {
	not valid
	reason := "invalid token"
}

deny contains reason if {
	some scope in missing
	reason := sprintf("scope %s is missing", [scope])
}

response := {"allow": allow, "status": 200} if allow

response := {"allow": false, "status": 403, "reasons": deny} if not allow

default allow := false
