# input {"rows":[{"name":"Ann","tag":"X"},{"name":"Bob"}],"prefixes":["an","bo"]}
package ordinary.comprehension_calls

cards := [{"name": lower(row.name), "tag": lower(row.tag)} | some row in input.rows]

labels := [sprintf("%s:%s", [row.tag, lower(row.name)]) | some row in input.rows]

starts if startswith(lower(input.rows[0].name), input.prefixes[_])

same_name if lower(input.rows[0].name) == input.prefixes[_]
