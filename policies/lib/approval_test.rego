package guardrail.lib.approval_test

import data.guardrail.lib.approval

asked(ids, changes) := object.union(
	{
		"subject": {"id": "Alice@example.com"},
		"context": {
			"agent": {"id": "bot"},
			"approval": {"approvers": [{"id": id} | some id in ids], "valid": true},
			"delegation": [{"sub": "desk"}],
		},
	},
	changes,
)

by(number, ids, changes) := found if found := approval.by_others(number) with input as asked(ids, changes)

own(ids, changes) := found if found := approval.maybe_own with input as asked(ids, changes)

other(id, changes) := found if found := approval.is_other(id) with input as asked([], changes)

test_others_approved if {
	by(1, ["bob"], {}) == true
	by(2, ["bob", "carol"], {}) == true
	own(["bob"], {}) == false
	own(["bob"], {"context": {"delegation": []}}) == false
	by(1, ["bob"], {"context": {"agent": {"id": null}}}) == true
}

test_too_few_people if {
	by(1, [], {}) == false
	by(2, ["bob"], {}) == false
	by(2, ["bob", "BOB "], {}) == false
	by(1, ["bob"], {"context": {"approval": {"valid": false}}}) == false
	by(1, ["bob"], {"context": {"approval": null}}) == false
	by(1, ["bob"], {"context": {"approval": {"approvers": {"a": {"id": "bob"}}}}}) == false
	by(1, ["bob", null], {}) == false
	by(1, ["bob", ""], {}) == false
	by(1, ["bob", "bоb"], {}) == false
	own([], {}) == true
	every number in [0, -1, "1", null, "0"] {
		by(number, ["bob"], {}) == false
	}
	by(0, [], {}) == false
	approval.by_others(1) == false with input as {}
	approval.maybe_own == true with input as {}
}

test_nobody_approves_their_own_call if {
	every id in ["alice@EXAMPLE.com", " alice@example.com", "BOT", "desk"] {
		by(1, ["bob", id], {}) == false
		own(["bob", id], {}) == true
		other(id, {}) == false
	}
}

test_unknown_people_are_nobody_else if {
	other("bob", {}) == true
	other("bob", {"subject": {"id": ""}}) == false
	other("bob", {"subject": {"id": null}}) == false
	other("bob", {"subject": {"id": "Алиса"}}) == false
	other("bob", {"context": {"delegation": null}}) == false
	other("bob", {"context": {"delegation": [{"sub": "é"}]}}) == false
	every id in ["", " ", null, 5, "bоb", ["bob"]] {
		other(id, {}) == false
	}
}
