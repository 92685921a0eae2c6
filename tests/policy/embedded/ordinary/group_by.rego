# input {"events":[{"user":"a","kind":"x"},{"user":"b","kind":"y"},{"user":"a","kind":"y"}]}
package ordinary.group_by

by_user[user] contains event.kind if {
	some event in input.events
	user := event.user
}

counts := {user: n |
	some user, kinds in by_user
	n := count(kinds)
}

most := max([n | some n in counts])

chatty := {user | some user, n in counts; n == most}
