# Pages: the assistant reads those on known hosts, and writes to those that the request names.
#
# Labels of the tools: page (reads), publish (writes). The declared target is the address.
package guardrail.policy

allow contains {"rule": "assistant.page", "message": "a page is read"} if "page" in input.resource.properties.labels

allow contains {"rule": "assistant.publish", "message": "a page is written"} if {
	"publish" in input.resource.properties.labels
}

assistant_page_known if {
	address := input.resource.properties.target[0]
	data.guardrail.policy.request.knows_host(data.guardrail.policy.request.host(address))
}

assistant_page_named if {
	address := input.resource.properties.target[0]
	data.guardrail.policy.request.host(address) in data.guardrail.policy.request.typed("hosts")
}

require_approval contains {
	"rule": "assistant.unknown_page",
	"message": "neither the request nor the history names the host, or the address could carry data",
} if {
	"page" in input.resource.properties.labels
	not assistant_page_known
}

deny contains {
	"rule": "assistant.unnamed_site",
	"message": "the request does not name the site to which the assistant would write",
	"severity": "high",
} if {
	"publish" in input.resource.properties.labels
	not assistant_page_named
}
