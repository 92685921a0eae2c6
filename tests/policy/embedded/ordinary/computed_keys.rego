# input {"key":"role","value":"admin","rows":[{"k":"a","v":1},{"k":"b","v":2}]}
package ordinary.computed_keys

one := {input.key: input.value}

table := {row.k: row.v | some row in input.rows}

mixed := object.union({"fixed": 1}, {input.key: input.value})
