package guardrail.lib.domains_test

import data.guardrail.lib.domains

long_label := concat("", ["a" | some _ in numbers.range(1, 63)])

long_name := concat(".", [long_label, long_label, long_label, concat("", ["a" | some _ in numbers.range(1, 61)])])

test_plain_names if {
	domains.normal("Mail.Example.COM") == "mail.example.com"
	domains.normal("example.com.") == "example.com"
	domains.normal("localhost") == "localhost"
	domains.normal(long_label) == long_label
	domains.normal(long_name) == long_name
}

test_other_names if {
	every name in [
		"", ".", "a..b", ".a", "a..", "-a.com", "a-.com", "a_b.com", "a b.com", "exämple.com", "10.0.0.1", "0x7f", "1.2.3",
		"a.1", "a.com\n", "a.com/", "a@b", "*.a.com", concat("", [long_label, "a"]), concat("", [long_name, "a"]), null, 5, ["a"],
	] {
		domains.normal(name) == ""
		domains.matches(name, ["", "a", "*.a", "*.", "*", name]) == false
		domains.maybe_matches(name, ["b"]) == true
	}
}

test_a_name_in_a_list_or_set if {
	every list in [["example.com"], {"b.org", "Example.com."}] {
		domains.matches("EXAMPLE.com", list)
		domains.maybe_matches("EXAMPLE.com", list)
		every name in ["a.example.com", "example.com.evil.org", "myexample.com", "example.co"] {
			domains.matches(name, list) == false
			domains.maybe_matches(name, list) == false
		}
	}
}

test_names_below_a_domain if {
	domains.matches("a.b.example.com", ["*.Example.com"])
	domains.maybe_matches("a.b.example.com", ["*.example.com"])
	domains.matches("example.com", ["*.example.com"]) == false
	domains.maybe_matches("example.com", ["*.example.com"]) == false
	domains.matches("badexample.com", ["*.example.com"]) == false
	domains.matches("a.com", ["*.*.com", "*.", "*", "*."]) == false
}

test_malformed_lists if {
	every list in ["a.com", {"a": "a.com"}, null, [], [5], ["*."], [""]] {
		domains.matches("a.com", list) == false
	}
	domains.maybe_matches("a.com", []) == false
	every list in ["b.com", {"a": "b.com"}, null, [5], ["*."], ["b.com", ""]] {
		domains.maybe_matches("a.com", list) == true
	}
}
