package guardrail.lib.identity_test

import data.guardrail.lib.identity

person := {
	"subject": {
		"id": "alice@example.com",
		"type": "user",
		"properties": {
			"assurance": "verified",
			"authenticated_at": "2026-07-01T10:00:00Z",
			"groups": ["finance", 5],
			"issuer": "https://login.example.com",
			"method": "oidc_jwt",
			"roles": ["clerk", "reader"],
			"tenant": "acme",
		},
	},
	"context": {
		"agent": {
			"assurance": "verified",
			"charter": "sha256:00",
			"framework": "langchain",
			"id": "support-bot",
			"issuer": "https://login.example.com",
			"method": "spiffe_jwt",
			"version": "7",
		},
		"delegation": [{"sub": "support-bot"}, {"sub": "desk"}],
		"time": "2026-07-01T10:05:00.000000Z",
	},
}

with_subject(changes) := object.union(person, {"subject": {"properties": changes}})

with_context(changes) := object.union(person, {"context": changes})

lists := [["clerk"], {"clerk"}]

# Objects and texts are no lists.
not_lists := [{"a": "clerk", "b": "desk", "c": "support-bot"}, "clerk", null]

nothing := [{}, {"subject": null, "context": null}, {"subject": {"properties": []}, "context": {"agent": 5}}]

test_a_verified_person if {
	identity.verified with input as person
	identity.verified_person with input as person
	identity.verified_by("https://login.example.com") with input as person
	not identity.verified_by("https://other.example.com") with input as person
}

test_a_verified_service_is_no_person if {
	service := object.union(person, {"subject": {"type": "service"}})
	identity.verified with input as service
	not identity.verified_person with input as service
}

test_an_identity_without_its_source_is_not_verified if {
	every change in [{"assurance": "asserted"}, {"issuer": null}, {"issuer": ""}, {"method": 5}, {"method": ""}] {
		changed := with_subject(change)
		identity.verified == false with input as changed
		identity.verified_person == false with input as changed
		identity.verified_by("https://login.example.com") == false with input as changed
		identity.authenticated_within(3600) == false with input as changed
	}
}

test_an_identity_without_an_id_is_not_verified if {
	identity.verified == false with input as object.union(person, {"subject": {"id": ""}})
}

test_nothing_is_true_without_an_identity if {
	every document in nothing {
		identity.verified == false with input as document
		identity.verified_person == false with input as document
		identity.verified_by(null) == false with input as document
		identity.authenticated_within(1) == false with input as document
		identity.roles == set() with input as document
		identity.has_role(null) == false with input as document
		identity.has_any_role([null]) == false with input as document
		identity.has_every_role([]) == false with input as document
		identity.in_group("") == false with input as document
		identity.actors == [] with input as document
		identity.current_actor == "" with input as document
		identity.current_actor_is("") == false with input as document
		identity.any_actor_is("") == false with input as document
		identity.every_actor_in([]) == false with input as document
		identity.verified_agent == false with input as document
		identity.agent_verified_by(null) == false with input as document
		identity.agent_charter_in([null]) == false with input as document
		identity.agent_is("") == false with input as document
		identity.agent_in([""]) == false with input as document
		identity.agent_version_is(null) == false with input as document
		identity.agent_framework_is(null) == false with input as document
	}
}

test_the_login_is_at_most_so_old if {
	identity.authenticated_within(300) with input as person
	not identity.authenticated_within(299) with input as person
	not identity.authenticated_within(-1) with input as person
	not identity.authenticated_within(300.5) with input as person
	not identity.authenticated_within("300") with input as person
	not identity.authenticated_within(1000000001) with input as person
	not identity.authenticated_within(2000000000) with input as person
}

test_no_login_is_recent_within_a_negative_time if {
	changed := with_subject({"authenticated_at": "2026-07-01T10:05:30Z"})
	identity.authenticated_within(0) with input as changed
	not identity.authenticated_within(-1) with input as changed
}

test_a_login_in_the_future_counts_only_for_a_minute if {
	every text, expected in {"2026-07-01T10:06:00Z": true, "2026-07-01T10:06:01Z": false} {
		changed := with_subject({"authenticated_at": text})
		identity.authenticated_within(300) == expected with input as changed
	}
}

test_a_time_that_is_none_is_too_old if {
	every text in [null, 5, "", "now", "2026-02-29T10:00:00Z", "2026-04-31T10:00:00Z", "1999-07-01T10:00:00Z", "2026-07-01T24:00:00Z"] {
		changed := with_subject({"authenticated_at": text})
		identity.authenticated_within(1000000000) == false with input as changed
	}
}

test_every_day_of_the_calendar_is_one if {
	every day in ["2024-02-29", "2026-01-31", "2026-04-30", "2026-06-28"] {
		changed := with_subject({"authenticated_at": sprintf("%sT10:00:00Z", [day])})
		identity.authenticated_within(1000000000) with input as changed
	}
}

test_roles if {
	identity.roles == {"clerk", "reader"} with input as person
	identity.has_role("clerk") with input as person
	not identity.has_role("admin") with input as person
	every names in lists {
		identity.has_any_role(names) with input as person
		identity.has_every_role(names) with input as person
	}
	identity.has_any_role(["admin", "reader"]) with input as person
	not identity.has_any_role(["admin"]) with input as person
	not identity.has_every_role(["admin", "reader"]) with input as person
	not identity.has_every_role([]) with input as person
	every names in not_lists {
		identity.has_any_role(names) == false with input as person
		identity.has_every_role(names) == false with input as person
		changed := object.union(object.remove(person, ["subject"]), {"subject": {"properties": {"roles": names}}})
		identity.roles == set() with input as changed
		identity.has_role("clerk") == false with input as changed
	}
	identity.has_every_role({"a": "clerk"}) == false with input as person
}

test_groups if {
	identity.in_group("finance") with input as person
	not identity.in_group("sales") with input as person
	not identity.in_group(5) with input as person
	not identity.in_group("clerk") with input as {"subject": {"properties": {"groups": {"a": "clerk"}}}}
}

test_actors if {
	identity.actors == ["support-bot", "desk"] with input as person
	identity.delegated with input as person
	identity.delegation_depth == 2 with input as person
	identity.current_actor == "support-bot" with input as person
	identity.current_actor_is("support-bot") with input as person
	not identity.current_actor_is("desk") with input as person
	identity.any_actor_is("desk") with input as person
	not identity.any_actor_is("eve") with input as person
	identity.every_actor_in({"desk", "support-bot"}) with input as person
	not identity.every_actor_in(["desk"]) with input as person
	every names in not_lists {
		identity.every_actor_in(names) == false with input as person
	}
}

test_without_a_delegation if {
	alone := with_context({"delegation": []})
	not identity.delegated with input as alone
	identity.delegation_depth == 0 with input as alone
	identity.current_actor == "" with input as alone
	identity.every_actor_in([]) with input as alone
}

test_a_malformed_chain_is_long_and_has_no_actors if {
	every chain in [null, {}, {"a": {"sub": "desk"}}, "desk", [{}], [{"sub": "desk"}, {"sub": 5}], [null], [{"sub": ""}]] {
		changed := with_context({"delegation": chain})
		identity.delegated == true with input as changed
		identity.delegation_depth == 1000 with input as changed
		identity.current_actor == "" with input as changed
		identity.any_actor_is("desk") == false with input as changed
		identity.every_actor_in(["desk"]) == false with input as changed
	}
}

test_agents if {
	identity.verified_agent with input as person
	identity.agent_verified_by("https://login.example.com") with input as person
	not identity.agent_verified_by("https://other.example.com") with input as person
	identity.agent_charter_in(["sha256:00"]) with input as person
	identity.agent_charter_in({"sha256:00", "sha256:01"}) with input as person
	not identity.agent_charter_in(["sha256:01"]) with input as person
	every charters in [{"a": "sha256:00"}, "sha256:00", null] {
		identity.agent_charter_in(charters) == false with input as person
	}
	identity.agent_is("support-bot") with input as person
	not identity.agent_is("bot") with input as person
	identity.agent_in({"bot", "support-bot"}) with input as person
	identity.agent_in(["support-bot"]) with input as person
	not identity.agent_in(["bot"]) with input as person
	every names in not_lists {
		identity.agent_in(names) == false with input as person
	}
	identity.agent_version_is("7") with input as person
	not identity.agent_version_is("8") with input as person
	identity.agent_framework_is("langchain") with input as person
	not identity.agent_framework_is("crewai") with input as person
}

test_an_agent_without_a_name if {
	every unknown in ["", null] {
		changed := with_context({"agent": {"charter": unknown, "id": unknown, "version": unknown, "framework": unknown}})
		identity.agent_charter_in([unknown]) == false with input as changed
		identity.agent_is(unknown) == false with input as changed
		identity.agent_in([unknown]) == false with input as changed
		identity.agent_version_is(unknown) == false with input as changed
		identity.agent_framework_is(unknown) == false with input as changed
	}
}

test_an_asserted_agent_is_not_verified if {
	every change in [{"assurance": "asserted"}, {"id": ""}, {"method": null}, {"issuer": ""}] {
		changed := with_context({"agent": change})
		identity.agent_verified_by("https://login.example.com") == false with input as changed
		identity.verified_agent == false with input as changed
	}
}
