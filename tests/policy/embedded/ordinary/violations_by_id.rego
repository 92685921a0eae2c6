# input {"objects":[{"id":"a","ok":true},{"id":"b","ok":false},{"id":"c"}]}
package ordinary.violations_by_id

status[object.id] := "good" if {
	some object in input.objects
	object.ok
}

status[object.id] := "bad" if {
	some object in input.objects
	not object.ok
}

bad_ids := [id | status[id] == "bad"]

has_bad if status[_] == "bad"

only[id] if {
	id := input.objects[_].id
	id != "a"
}

grouped[value] contains id if some id, value in status

first := input.objects[0].id
