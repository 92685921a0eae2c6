# Mail addresses, and the recipients of a call.
#
# Nothing here is undefined. An address that can't be read safely is "", and is in no domain: an address with comments,
# quotes, routes, two @, letters of other scripts, or a dot at its end. Functions whose names begin with maybe_ are true
# if the answer is unknown: use them to deny. All others are then false or "": use them to allow.
#
# Domains are a list or set: "example.com" stands for exactly this domain, "*.example.com" for all domains below it.
#
# In a policy, write the full name: data.guardrail.lib.mail.maybe_external(["example.com"])

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.mail

# The part after the @, in lower case; "" if this is not a plain address.
default domain(_) := ""

domain(text) := split(address(text), "@")[1]

# The address in lower case, of "ann@example.com" or "Ann <ann@example.com>".
default address(_) := ""

address(text) := plain(trim(text, " ")) if is_string(text)

address(text) := plain(inner) if {
	is_string(text)
	regex.match("^[^\"\\\\<>()@,;:\\[\\][:cntrl:]\u0080-\u009f\u2028\u2029]*<[^<>]*>[ ]*$", unquoted(text))
	inner := trim_suffix(trim_right(split(unquoted(text), "<")[1], " "), ">")
}

# The addresses in a value: a string, with commas or semicolons between addresses, or a list or set of such strings.
# Null and empty strings contain none. The set has "" for each part that can't be read.
default addresses(_) := {""}

addresses(value) := set() if value == null

addresses(value) := found if {
	is_string(value)
	found := in_text(value)
}

addresses(values) := {found | some text in values; some found in in_text(text)} if {
	is_list(values)
	every text in values {
		is_string(text)
	}
}

# The names of arguments that have recipients in the usual tools. Case does not matter, nor whether words are joined by
# hyphens or underscores.
usual_arguments := {
	"attendee",
	"attendees",
	"bcc",
	"bcc_recipients",
	"cc",
	"cc_recipients",
	"email",
	"email_address",
	"email_addresses",
	"emails",
	"guest",
	"guests",
	"invitee",
	"invitees",
	"participant",
	"participants",
	"recipient",
	"recipient_email",
	"recipients",
	"reply_to",
	"share_with",
	"to",
	"to_address",
	"to_addresses",
	"to_email",
	"to_emails",
	"to_recipients",
	"user_email",
}

# The addresses in the usual arguments of this call.
default recipients := {""}

recipients := recipients_in(names) if {
	is_object(input.action.properties.args)
	names := {name | some name in object.keys(input.action.properties.args); usual(name)}
}

# The addresses in the arguments with these names, a list or set.
default recipients_in(_) := {""}

recipients_in(names) := {found |
	some name in names
	some found in addresses(object.get(input.action.properties.args, name, null))
} if {
	is_list(names)
	is_object(input.action.properties.args)
}

# True if the value has addresses, and each is in one of the domains.
default is_internal(_, _) := false

is_internal(value, domains) if all_within(addresses(value), domains)

# True if this call has recipients in the usual arguments, and each is in one of the domains.
default all_internal(_) := false

all_internal(domains) if all_within(recipients, domains)

# True unless this call has recipients in the usual arguments, and each is in one of the domains.
default maybe_external(_) := true

maybe_external(domains) := false if all_internal(domains)

# The recipients of this call that are in none of the domains. It has "" for those that can't be read.
default outside(_) := {""}

outside(domains) := found if {
	is_list(domains)
	found := {each | some each in recipients; not all_within({each}, domains)}
}

# True if the value has addresses, and each is one of the known ones, a list or set.
default known(_, _) := false

known(value, addresses_known) if all_known(addresses(value), addresses_known)

# True unless this call has recipients in the usual arguments, and each is one of the known ones.
default maybe_unknown(_) := true

maybe_unknown(addresses_known) := false if all_known(recipients, addresses_known)

plain(text) := concat("@", [lower(local), name]) if {
	regex.match(`^[A-Za-z0-9_+'](?:[A-Za-z0-9_+'-]|\.[A-Za-z0-9_+'-]){0,63}@[A-Za-z0-9.-]*[A-Za-z0-9]$`, text)
	[local, written] := split(text, "@")
	count(local) <= 64
	name := data.guardrail.lib.domains.normal(written)
	name != ""
}

# The text without the quoted names before addresses.
unquoted(text) := regex.replace(text, "\"[^\"\\\\<>@[:cntrl:]\u0080-\u009f\u2028\u2029]*\"[ ]*<", "<")

in_text(text) := {address(part) |
	some part in regex.split(`[,;]`, unquoted(text))
	regex.match(`[^ ]`, part)
}

usual(name) if {
	is_string(name)
	regex.match(`^[A-Za-z_-]+$`, name)
	lower(replace(name, "-", "_")) in usual_arguments
}

all_within(found, domains) if {
	count(found) > 0
	every each in found {
		data.guardrail.lib.domains.matches(split(each, "@")[1], domains)
	}
}

all_known(found, addresses_known) if {
	is_list(addresses_known)
	count(found) > 0
	readable := {address(each) | some each in addresses_known}
	every each in found {
		each != ""
		each in readable
	}
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)
