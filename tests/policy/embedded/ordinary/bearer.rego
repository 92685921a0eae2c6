# input {"headers":{"authorization":"Bearer abc.def"},"path":"/v1/users/42"}
package ordinary.bearer

bearer_token := t if {
	v := input.headers.authorization
	startswith(v, "Bearer ")
	t := substring(v, count("Bearer "), -1)
}

segments := split(trim(input.path, "/"), "/")

user_id := to_number(segments[2]) if {
	segments[0] == "v1"
	segments[1] == "users"
}

allow if {
	bearer_token != ""
	user_id == 42
}
