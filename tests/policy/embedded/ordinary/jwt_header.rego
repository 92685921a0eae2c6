# input {"headers":{"authorization":"Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJyb2xlcyI6WyJhZG1pbiJdLCJleHAiOjE5MDAwMDAwMDB9.c2ln"},"path":["users","ann"],"method":"GET"}
package ordinary.jwt_header

token := t if {
	["Bearer", t] = split(input.headers.authorization, " ")
}

payload := p if [_, p, _] := io.jwt.decode(token)

claims := io.jwt.decode(token)[1]

allow if {
	input.method == "GET"
	input.path == ["users", payload.sub]
}

allow if "admin" in claims.roles

allow if {
	some username
	input.path = ["users", username, "profile"]
	username == payload.sub
}

is_admin if payload.roles[_] == "admin"
