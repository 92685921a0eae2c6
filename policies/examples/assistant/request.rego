# Facts for the other files in this folder: the words of the user's request, and everything that was known before the
# assistant read anything.
#
# The program computes the session attributes (subject.properties.typed) from the request that the user typed:
#   words      words that begin with a capital letter
#   addresses  e-mail addresses, in lower case
#   hosts      hosts of links, in lower case
#   days       days, as "MM-DD"
#   line       the whole request in lower case: words with one space before and after each
#
# Policy data (data.assistant) comes from the directory of the organisation and the user's own history, as they were
# before the session:
#   people     addresses and names of contacts and members, and names of rooms, in lower case
#   domains    the organisation's own domains
#   hosts      hosts of pages that members used before
#
# Nothing that the assistant reads during the session adds to these facts, so text in a web page or a message can't.
package guardrail.policy.request

# True if the request contains one of the words.
asks(words) if {
	some word in words
	contains(line, concat("", [" ", word, " "]))
}

# True if the request contains the whole name.
names(name) if {
	is_string(name)
	name != ""
	contains(line, plain(name))
}

# True if the person or room is known, or the request names it.
knows(person) if lower(person) in data.assistant.people

knows(person) if lower(person) in typed("addresses")

knows(person) if person in typed("words")

knows(person) if data.guardrail.lib.mail.domain(person) in data.assistant.domains

# The people, rooms or objects at which this call is directed. A missing one is left out.
targets contains target if {
	some target in input.resource.properties.target
	is_string(target)
}

targets contains target if {
	some group in input.resource.properties.target
	is_array(group)
	some target in group
}

# True if there is a target, and every target is known.
acquainted if {
	count(targets) > 0
	no_strangers
}

# True if every target is known, also if there is none.
no_strangers if {
	every target in targets {
		knows(target)
	}
	every target in input.resource.properties.target {
		readable(target)
	}
}

readable(target) if is_string(target)

readable(target) if is_array(target)

readable(target) if target == null

# True if the host is known, or the request names it.
knows_host(host) if host in data.assistant.hosts

knows_host(host) if host in typed("hosts")

knows_host(host) if host in data.assistant.domains

# The host of the address of a page. Undefined if the address has a query, a user name or an unusual part, in which data
# could leave.
host(url) := split(page, "/")[0] if {
	is_string(url)
	page := trim_prefix(trim_prefix(lower(url), "https://"), "http://")
	regex.match(`^[a-z0-9.-]+\.[a-z]+(/[a-z0-9._/-]*)?$`, page)
}

# All strings in the arguments.
texts contains text if {
	walk(input.action.properties.args, [_, text])
	is_string(text)
}

# True if a text of this call has a link to a host that is not known.
strange_link if {
	some text in texts
	some link in regex.find_n(`(https?://|www\.)[^\s/?#]+|[a-z0-9-]+(\.[a-z0-9-]+)+/`, lower(text), -1)
	not knows_host(trim_suffix(trim_prefix(trim_prefix(link, "https://"), "http://"), "/"))
}

# The days in the arguments.
days contains day if {
	some text in texts
	some date in regex.find_n(`[0-9]{4}-[0-9]{2}-[0-9]{2}`, text, -1)
	some day in regex.find_n(`[0-9]{2}-[0-9]{2}$`, date, -1)
}

# True if there is a day in the arguments, and the request names every one.
names_days if {
	count(days) > 0
	every day in days {
		day in typed("days")
	}
}

# True if the request names no day at all.
names_no_day if count(typed("days")) == 0

# True if no call of this tool has been allowed in this session.
first if data.guardrail.lib.session.calls("session", [input.resource.id]) == 0

# True if the assistant has read, or may have read, text that others wrote.
untrusted if data.guardrail.lib.session.maybe_labelled("session", "untrusted")

# True if the assistant has read, or may have read, personal details of the user.
personal if data.guardrail.lib.session.maybe_labelled("session", "personal")

line := text if {
	text := input.subject.properties.typed.line
	is_string(text)
}

default typed(_) := []

typed(kind) := found if {
	found := input.subject.properties.typed[kind]
	is_array(found)
}

plain(name) := concat("", [" ", lower(name), " "])
