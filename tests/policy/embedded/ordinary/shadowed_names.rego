# input {"users":["a","b"],"group":{"a":1}}
# data {"people":{"a":{"age":3}}}
package ordinary.shadowed_names

import data.people

user := "root"

age[person] := people[person].age if some person in input.users

names contains user if some user in input.users

listed := [people | some people in input.users]

count_of(user) := n if n := count(user)

every_user if every user in input.users { count(user) == 1 }

indexes := {group: i | some i, group in input.users}
