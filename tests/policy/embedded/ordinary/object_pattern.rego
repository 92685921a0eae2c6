# input {"msg":{"kind":"add","value":3},"list":[{"id":1,"v":"a"},{"id":2,"v":"b"},{"id":3}]}
package ordinary.object_pattern

value := v if {"kind": "add", "value": v} = input.msg

kind_of := k if {"kind": k, "value": _} := input.msg

by_id[id] := v if some {"id": id, "v": v} in input.list

pick({"kind": "add", "value": v}) := v

pick({"kind": "drop"}) := 0

picked := pick(input.msg)

first_two := [v | [{"v": v}, _] = [input.list[0], 1]]
