package guardrail.lib.mail_test

import data.guardrail.lib.mail

own := ["example.com", "*.example.com"]

calling(args) := {"action": {"properties": {"args": args}}}

test_addresses_that_can_be_read if {
	every text in [
		"ann@example.com", " Ann@Example.COM ", "Ann <ann@example.com>", "<ann@example.com>", "\"Lee, Ann\" <ann@example.com> ",
		"Ann Lee-Fox é<ANN@example.com>",
	] {
		mail.address(text) == "ann@example.com"
		mail.domain(text) == "example.com"
	}
	mail.address("o'neil.a_b-c+x@a.example.com") == "o'neil.a_b-c+x@a.example.com"
}

test_long_names if {
	mail.domain(sprintf("%064d@example.com", [0])) == "example.com"
	mail.domain(sprintf("%065d@example.com", [0])) == ""
	mail.domain(sprintf("%063d.a@example.com", [0])) == ""
}

# Each of these is delivered somewhere else, or nowhere, by some mail program.
unreadable := [
	"", " ", "ann", "@example.com", "ann@", "ann@@example.com", "ann@evil.org@example.com", "ann@example.com@evil.org",
	"ann@example.com.", "ann@.example.com", "ann@example..com", "ann@-example.com", "ann@example.com-", "ann@exämple.com",
	"ann@exаmple.com", "ann@example。com", "ann@[10.0.0.1]", "ann@10.0.0.1", "ann(x)@example.com", "ann@(x)example.com",
	"ann@example.com(x)", "\"ann\"@example.com", "\"a@evil.org\"@example.com", "ann%evil.org@example.com", "evil.org!ann@example.com",
	"SRS0=x=y=evil.org=ann@example.com", "@evil.org:ann@example.com", "Team: ann@example.com", "ann@example.com\n", "ann@example.com\r\nBcc: x@evil.org",
	"ann@example.com\u0000@evil.org", "ann @example.com", "ann@ example.com", "ann@example.com evil.org", "-oQ@example.com", ".ann@example.com",
	"ann.@example.com", "a..b@example.com", "ann\\@evil.org@example.com", "x@evil.org <ann@example.com>", "<ann@example.com> x@evil.org",
	"<ann@example.com><x@evil.org>", "Ann <<ann@example.com>>", "Ann <ann@example.com", "ann@example.com>", "Ann <Bob <ann@example.com>>",
	"\"Ann <ann@example.com>", "\"a\\\" <x@evil.org>\" <ann@example.com>", "ann\u200b@example.com", "ann@example.com\u200b", "ａnn@example.com",
	"Ann\u2028 <ann@example.com>", "Ann\u0085 <ann@example.com>", "Ann\n <ann@example.com>", "\"A\nB\" <ann@example.com>", "mailto:ann@example.com", "ann@a_b.example.com", "ann/x@example.com",
	"Ann (x) <ann@example.com>", "Team:Ann <ann@example.com>", "evil.org] <ann@example.com>", "[x <ann@example.com>", "=?utf-8?q?a?= ann@example.com", "ann&#64;example.com", "ann@example.com?cc=x@evil.org", "<@evil.org:ann@example.com>",
]

test_unreadable_addresses if {
	every text in unreadable {
		mail.address(text) == ""
		mail.domain(text) == ""
		mail.is_internal(text, array.concat(own, ["", "*.", "evil.org"])) == false
		mail.known(text, [text, ""]) == false
	}
	every value in [null, 5, ["ann@example.com"], {}] {
		mail.address(value) == ""
		mail.domain(value) == ""
	}
}

test_several_addresses if {
	both := {"ann@example.com", "bob@evil.org"}
	mail.addresses("Ann@example.com, \"Lee, Bob\" <bob@evil.org>;") == both
	mail.addresses(["ann@example.com", "Bob <bob@evil.org>", ""]) == both
	mail.addresses({"ann@example.com,bob@evil.org"}) == both
	mail.addresses(null) == set()
	mail.addresses([]) == set()
	mail.addresses(" ,; ") == set()
	mail.addresses("ann@example.com bob@evil.org") == {""}
	mail.addresses("\"a, bob@evil.org <ann@example.com>") == {""}
	every value in [5, true, {"email": "ann@example.com"}, ["ann@example.com", 5], ["ann@example.com", null], [["ann@example.com"]]] {
		mail.addresses(value) == {""}
	}
}

test_internal if {
	mail.is_internal("Ann <ann@example.com>, b@a.example.com", own)
	mail.is_internal({"ann@example.com"}, {"example.com"})
	every value in ["a@example.com, b@evil.org", "", null, [], 5, "b@badexample.com", "b@example.com.evil.org"] {
		mail.is_internal(value, own) == false
	}
	mail.is_internal("b@a.example.com", ["example.com"]) == false
	mail.is_internal("ann@example.com", "example.com") == false
}

test_known if {
	mail.known("Ann@example.com", ["ann <ANN@example.com>"])
	mail.known(["ann@example.com", "b@c.org"], {"b@c.org", "ann@example.com", 5})
	mail.known("ann@example.com, x@c.org", ["ann@example.com"]) == false
	mail.known("", ["ann@example.com"]) == false
	every list in ["ann@example.com", null, {"a": "ann@example.com"}, []] {
		mail.known("ann@example.com", list) == false
	}
}

recipients(args) := found if found := mail.recipients with input as calling(args)

test_recipients_in_the_usual_arguments if {
	recipients({"to": "ann@example.com", "CC": ["b@c.org"], "Reply-To": "r@c.org", "body": "x@evil.org"}) == {
		"ann@example.com",
		"b@c.org",
		"r@c.org",
	}
	every name in mail.usual_arguments {
		recipients({name: "ann@example.com"}) == {"ann@example.com"}
		recipients({upper(name): "ann@example.com"}) == {"ann@example.com"}
	}
	recipients({}) == set()
	recipients({"to": null, "cc": "", "bcc": []}) == set()
	recipients({"to": {"address": "ann@example.com"}}) == {""}
	recipients({"tö": "ann@example.com"}) == set()
	every args in [null, [], "text", ["ann@example.com"]] {
		recipients(args) == {""}
	}
	mail.recipients == {""} with input as {}
}

test_recipients_in_named_arguments if {
	asked := calling({"forward": "ann@example.com", "copy": "b@c.org"})
	mail.recipients_in(["forward", "none"]) == {"ann@example.com"} with input as asked
	mail.recipients_in({"forward", "copy"}) == {"ann@example.com", "b@c.org"} with input as asked
	mail.recipients_in("forward") == {""} with input as asked
	mail.recipients_in({"a": "forward"}) == {""} with input as asked
	mail.recipients_in([5, null]) == set() with input as asked
	mail.recipients_in(["forward"]) == {""} with input as calling([])
}

external(args, domains) := found if found := mail.maybe_external(domains) with input as calling(args)

inside(args, domains) := found if found := mail.all_internal(domains) with input as calling(args)

outside(args) := found if found := mail.outside(own) with input as calling(args)

test_a_call_with_only_colleagues if {
	args := {"to": "ann@example.com", "cc": ["b@a.example.com"]}
	external(args, own) == false
	inside(args, own) == true
	outside(args) == set()
}

test_any_other_call_may_reach_strangers if {
	every args in [{}, {"to": ""}, {"to": "ann@example.com", "cc": "x@evil.org"}, {"to": "ann"}, {"to": 5}, null] {
		external(args, own) == true
		inside(args, own) == false
	}
	external({"to": "ann@example.com"}, "example.com") == true
	outside({"to": ["ann@example.com", "x@evil.org", "ann"]}) == {"x@evil.org", ""}
	mail.outside(own) == {""} with input as {}
	mail.outside("example.com") == {""} with input as calling({"to": "ann@example.com"})
}

unknown(args, list) := found if found := mail.maybe_unknown(list) with input as calling(args)

test_known_recipients if {
	unknown({"to": "ann@example.com"}, ["ann@example.com"]) == false
	unknown({"to": "ann@example.com"}, ["bob@example.com"]) == true
	unknown({}, ["ann@example.com"]) == true
	unknown({"to": "ann"}, ["ann", ""]) == true
	unknown({"to": "ann@example.com"}, "ann@example.com") == true
}
