# input {"with":1,"import":{"default":"x"},"some":["a"],"package":"p"}
package ordinary.keyword_fields

one := input.with

two := input.import.default

three := input.some[0]

four := input["package"]
