package guardrail.lib.tenant_test

import data.guardrail.lib.tenant

acme := {"subject": {"properties": {"tenant": "acme"}}}

test_the_tenant_of_the_call if {
	tenant.is("acme") with input as acme
	not tenant.is("globex") with input as acme
	tenant.one_of(["globex", "acme"]) with input as acme
	tenant.one_of({"acme"}) with input as acme
	not tenant.one_of(["globex"]) with input as acme
	every names in [{"a": "acme"}, "acme", null] {
		tenant.one_of(names) == false with input as acme
	}
}

test_no_tenant if {
	every name in [null, "", 5, ["acme"]] {
		tenant.is(name) == false with input as {"subject": {"properties": {"tenant": name}}}
		tenant.one_of([name]) == false with input as {"subject": {"properties": {"tenant": name}}}
	}
	tenant.is("acme") == false with input as {}
	tenant.one_of(["acme"]) == false with input as {"subject": null}
}
