# input {"teams":[{"name":"x","people":[{"n":"a","on":true},{"n":"b","on":false}]},{"name":"y","people":[]}]}
package ordinary.nested_comprehension

active := {team.name: names |
	some team in input.teams
	names := [p.n | some p in team.people; p.on]
}

idle contains team.name if {
	some team in input.teams
	count([1 | some p in team.people; p.on]) == 0
}

every_on if {
	every team in input.teams {
		every p in team.people { p.on }
	}
}

sizes := [count(team.people) | some team in input.teams]

largest := max(sizes)

biggest contains input.teams[i].name if sizes[i] == largest

indexed := {i: team.name | some i, team in input.teams}
