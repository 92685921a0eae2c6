# Names of hosts and domains.
#
# Nothing here is undefined. A name that is not plain ASCII, such as one with letters of other scripts, is in no domain.
#
# In a policy, write the full name: data.guardrail.lib.domains.matches("www.example.com", ["*.example.com"])

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.domains

# The name in lower case, without a dot at its end. "" if it is not a name of ASCII letters, digits and hyphens, or if
# it could be the address of a host.
default normal(_) := ""

normal(text) := name if {
	is_string(text)
	regex.match(`^[A-Za-z0-9.-]+$`, text)
	name := trim_suffix(lower(text), ".")
	count(name) <= 253
	regex.match(`^(?:[^.]+\.)*[a-z][^.]*$`, name)
	every label in split(name, ".") {
		regex.match(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`, label)
	}
}

# True if the name is in one of the domains, a list or set: "example.com" stands for exactly this name, "*.example.com"
# for all names below it.
default matches(_, _) := false

matches(name, domains) if {
	is_list(domains)
	some domain in domains
	within(normal(name), domain)
}

# The same, and also true if the name or one of the domains is malformed. Use it to deny.
default maybe_matches(_, _) := true

maybe_matches(name, domains) := false if {
	normal(name) != ""
	is_list(domains)
	every domain in domains {
		base(domain) != ""
		not within(normal(name), domain)
	}
}

base(domain) := normal(trim_prefix(domain, "*.")) if is_string(domain)

within(name, domain) if {
	name != ""
	name == normal(domain)
}

within(name, domain) if {
	is_string(domain)
	startswith(domain, "*.")
	endswith(name, concat("", [".", base(domain)]))
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)
