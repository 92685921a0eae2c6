# input {"to":["ann@example.com","bob@evil.test"],"cc":[],"title":"Hi"}
# data {"domains":["example.com"]}
package ordinary.email_domains

recipients := array.concat(input.to, object.get(input, "cc", []))

domain(address) := d if {
	parts := split(address, "@")
	count(parts) == 2
	d := lower(parts[1])
}

external contains address if {
	some address in recipients
	not domain(address) in data.domains
}

deny contains sprintf("%v is outside", [a]) if some a in external

deny contains "too many" if count(recipients) > 10

require_approval if {
	count(external) > 0
	not contains(input.title, "[public]")
}
