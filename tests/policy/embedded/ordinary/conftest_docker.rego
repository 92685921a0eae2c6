# input [{"Cmd":"from","Value":["openjdk:8-jdk-alpine"]},{"Cmd":"env","Value":["MY_PASSWORD","hunter2"]},{"Cmd":"run","Value":["apk add curl && sudo rm"]},{"Cmd":"add","Value":["a","b"]}]
package ordinary.conftest_docker

denylist := ["openjdk"]

suspicious := ["passwd", "password", "secret", "token"]

deny contains msg if {
	input[i].Cmd == "from"
	val := input[i].Value
	contains(val[i], denylist[_])
	msg = sprintf("unallowed image found %s", [val])
}

deny contains msg if {
	some i
	input[i].Cmd == "env"
	val := input[i].Value
	contains(lower(val[_]), suspicious[_])
	msg := sprintf("Suspicious ENV key found: %s", [val])
}

deny contains msg if {
	input[i].Cmd == "from"
	val := split(input[i].Value[0], ":")
	count(val) == 1
	msg := sprintf("Line %d: do not use latest tag with image: %s", [i, val])
}

deny contains msg if {
	some i, instruction in input
	instruction.Cmd == "run"
	val := concat(" ", instruction.Value)
	matches := regex.find_n(`\b(apk|apt-get|sudo)\b`, lower(val), -1)
	count(matches) > 0
	msg := sprintf("Line %d: %s", [i, matches])
}
