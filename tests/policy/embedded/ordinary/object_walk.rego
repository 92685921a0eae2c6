# input {"spec":{"a":[{"image":"x"},{"image":"y:1"}],"b":{"c":{"image":"z"}}}}
package ordinary.object_walk

images contains value if {
	walk(input, [path, value])
	path[count(path) - 1] == "image"
}

nulls contains path if walk(input, [path, null])

untagged := {image | some image in images; not contains(image, ":")}

leaf_paths contains concat("/", [sprintf("%v", [p]) | some p in path]) if {
	[path, value] := walk(input)
	not is_object(value)
	not is_array(value)
}

dotted := {x | walk(input.spec, [_, x]); is_string(x)}
