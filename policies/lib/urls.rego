# Addresses on the web: hosts, paths and private networks.
#
# Nothing here is undefined. A URL that programs could read in different ways is unreadable: with a user, backslashes,
# blanks, letters of other scripts, another scheme than http, https, ws, wss or ftp, or a host in another form than
# example.com, 192.0.2.1 or [2001:db8::1]. Functions whose names begin with maybe_ are then true: use them to deny. All
# others are then false or "": use them to allow.
#
# A name can lead to any address, so only the tool itself can surely keep away from private networks.
#
# In a policy, write the full name: data.guardrail.lib.urls.host_in(input.action.properties.args.url, ["example.com"])

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.urls

# The host in lower case, without a dot at its end; an IPv6 address without brackets. A URL without a scheme, such as
# "example.com/a", has a host, too.
default host(_) := ""

host(url) := host_of(parts(url).authority)

# The scheme, the host, and the port unless it is the usual one of the scheme: "https://example.com:8443".
default origin(_) := ""

origin(url) := concat("", [scheme(url), "://", written, port_of(scheme(url), parts(url).authority)]) if {
	scheme(url) != ""
	written := bracketed(host(url))
}

# The scheme in lower case; "" if the URL has none.
default scheme(_) := ""

scheme(url) := trim_suffix(lower(parts(url).scheme), "://") if host(url) != ""

# The path, without empty parts and parts that are one dot. "" if it has two dots in one part, or encoded dots, slashes,
# backslashes, semicolons or percent signs: servers disagree about them.
default path(_) := ""

path(url) := concat("", ["/", concat("/", kept)]) if {
	host(url) != ""
	written := parts(url).path
	not regex.match(`(?i)%(?:2e|2f|5c|25|3b|0[0-9a-f]|1[0-9a-f])|;`, written)
	not contains(regex.replace(written, `%[0-9A-Fa-f][0-9A-Fa-f]`, ""), "%")
	kept := [part | some part in split(written, "/"); not part in {"", "."}]
	every part in kept {
		not regex.match(`^\.\.+$`, part)
	}
}

# True if the host is in one of the domains, a list or set: "example.com" stands for exactly this name, "*.example.com"
# for all names below it, and an address for itself.
default host_in(_, _) := false

host_in(url, domains) if data.guardrail.lib.domains.matches(host(url), domains)

host_in(url, domains) if {
	is_list(domains)
	is_address(host(url))
	host(url) in domains
}

# The same, and also true if the URL or a domain is malformed, or the host is an address. Use it to deny.
default maybe_host_in(_, _) := true

maybe_host_in(url, domains) := false if data.guardrail.lib.domains.maybe_matches(host(url), domains) == false

# True if the URL has the scheme, host and port of the base, and its path is that of the base or below it.
default under(_, _) := false

under(url, base) if {
	origin(base) != ""
	origin(url) == origin(base)
	within(path(url), path(base))
}

# True if the scheme is https or wss.
default secure(_) := false

secure(url) if scheme(url) in {"https", "wss"}

# True if the host is a public address, or a name that is not usual in private networks.
default is_public(_) := false

is_public(url) if public_host(host(url))

# True unless the host is a public address, or a name that is not usual in private networks.
default maybe_private(_) := true

maybe_private(url) := false if is_public(url)

parts(url) := {"authority": found[2], "path": found[3], "scheme": found[1]} if {
	is_string(url)
	regex.match("^[!#$%&'()*+,./0-9:;=?@A-Z_a-z~\\[\\]-]+$", url)
	[found] := regex.find_all_string_submatch_n(`^((?:(?:(?i)https?|wss?|ftp)://)?)([A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9A-Fa-f:]+\](?::[0-9]+)?)((?:/[^?#]*)?)(?:[?#].*)?$`, url, -1)
	not regex.match(`^[^/]*(?://[^/]*)?@`, url)
	not relative(url)
	valid_port(port(found[2]))
}

# Some programs look for a host after the first two slashes.
relative(url) if {
	contains(url, "//")
	not regex.match(`^[A-Za-z]+://`, url)
}

port(authority) := regex.find_n(`(?:\]|^[^:]*):[0-9]+$`, authority, -1)

valid_port(found) if found == []

valid_port([text]) if {
	digits := split(trim_left(text, "]"), ":")[1]
	regex.match(`^[1-9][0-9]{0,4}$`, digits)
	to_number(digits) <= 65535
}

port_of(_, authority) := "" if port(authority) == []

port_of(name, authority) := "" if usual_port(name, authority)

port_of(name, authority) := concat("", [":", digits]) if {
	[text] := port(authority)
	not usual_port(name, authority)
	digits := regex.find_n(`[0-9]+$`, text, 1)[0]
}

usual_port(name, authority) if endswith(authority, {"ftp": ":21", "http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}[name])

host_of(authority) := name if {
	not startswith(authority, "[")
	name := data.guardrail.lib.domains.normal(split(authority, ":")[0])
	name != ""
}

host_of(authority) := text if {
	text := split(authority, ":")[0]
	is_ipv4(text)
}

host_of(authority) := text if {
	startswith(authority, "[")
	text := lower(split(trim_prefix(authority, "["), "]")[0])
	is_ipv6(text)
}

is_ipv4(text) if regex.match(`^(?:(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\.){3}(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$`, text)

is_ipv6(text) if {
	contains(text, ":")
	net.cidr_is_valid(concat("", [text, "/128"]))
}

is_address(text) if is_ipv4(text)

is_address(text) if is_ipv6(text)

bracketed(text) := concat("", ["[", text, "]"]) if contains(text, ":")

bracketed(text) := text if not contains(text, ":")

within(written, base) if {
	base != ""
	written == base
}

within(written, base) if {
	base != ""
	startswith(written, concat("", [trim_right(base, "/"), "/"]))
}

public_host(text) if {
	is_ipv4(text)
	every range in private_ranges {
		not net.cidr_contains(range, text)
	}
}

public_host(text) if {
	is_ipv6(text)
	net.cidr_contains("2000::/3", text)
	every range in {"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"} {
		not net.cidr_contains(range, text)
	}
}

public_host(text) if {
	not is_address(text)
	contains(text, ".")
	not data.guardrail.lib.domains.matches(text, private_names)
}

private_ranges := {
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
}

private_names := {
	"*.arpa", "*.corp", "*.home", "*.internal", "*.intranet", "*.invalid", "*.lan", "*.local", "*.localdomain", "*.localhost",
	"*.onion", "*.private", "*.test",
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)
