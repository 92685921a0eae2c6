# input [[{"Cmd":"from","Value":["ubuntu:latest"]},{"Cmd":"run","Value":["apt-get upgrade && sudo x"]},{"Cmd":"user","Value":["root"]}]]
package ordinary.dockerfile_checks

commands := input[0]

deny contains msg if {
	input[i][j].Cmd == "from"
	val := split(input[i][j].Value[0], ":")
	contains(lower(val[1]), "latest")
	msg := sprintf("line %d: do not use latest, use a version of %s", [j, val[0]])
}

any_user if {
	commands[i].Cmd == "user"
	not commands[i].Value[0] == "root"
}

deny contains "no user" if not any_user

deny contains msg if {
	commands[i].Cmd == "run"
	val := concat(" ", commands[i].Value)
	matches := regex.find_n("(apt|yum) ?-?(get)? upgrade", lower(val), -1)
	matches != []
	msg := sprintf("line %d: upgrade", [i])
}

copies := [c | c := commands[_]; c.Cmd == "copy"]

last_user := users[count(users) - 1] if {
	users := [name | commands[k].Cmd == "user"; name := commands[k].Value[0]]
	count(users) > 0
}
