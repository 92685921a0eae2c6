# input {"body":"{\"amount\": 5, \"tags\": [\"a\", \"b\"]}"}
package ordinary.json_body

body := json.unmarshal(input.body)

ok if {
	body.amount < 10
	"a" in body.tags
}

printed := json.marshal({"amount": body.amount, "by": "me"})

valid if json.is_valid(input.body)
