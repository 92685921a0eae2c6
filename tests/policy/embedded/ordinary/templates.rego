# input {"name":"ann","items":[1,"b"],"o":{"k":true}}
package ordinary.templates

greeting := $"hello {input.name}, you have {count(input.items)} items"

missing := $"<{input.nothing}> and {input.items}"

escaped := $"a \{brace} and {input.o}"

deny contains $"{x} is not allowed" if some x in input.items

raw := $`path\d {input.name}`

plain := $"nothing"
