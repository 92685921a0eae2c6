# input {"user":{"name":"ann","roles":["dev","ops"]},"method":"GET","path":"/a/b"}
package ordinary.dotted_heads

default decision.allow := false

decision.allow if user.is_operator

decision.reason := "operators may read" if decision.allow

decision.headers["x-user"] := input.user.name

user.is_operator if "ops" in input.user.roles

user.name := lower(input.user.name)

limits.read := 100

limits.write := 10

limits.admin := 1000 if user.is_operator

allowed := limits[kind] if {
	kind := {"GET": "read", "POST": "write"}[input.method]
}

all := limits

seen contains key if some key, _ in limits
