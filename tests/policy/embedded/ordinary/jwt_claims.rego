# input {"token":"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImFkbWluIl0sImV4cCI6MTc5MDAwMDAwMH0.c2lnbmF0dXJl","now":1780000000}
package ordinary.jwt_claims

claims := payload if {
	[_, payload, _] := io.jwt.decode(input.token)
}

is_admin if "admin" in claims.roles

expired if claims.exp < input.now

default allow := false

allow if {
	is_admin
	not expired
}
