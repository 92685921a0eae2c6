package guardrail.lib.amounts_test

import data.guardrail.lib.amounts

unknown := amounts.unknown

not_amounts := [
	-1, -0.01, 1000000000001, 9007199254740993, "5", "", "NaN", "1e3", null, true, [5], {"amount": 5},
]

test_numbers if {
	amounts.number(0) == 0
	amounts.number(12.5) == 12.5
	amounts.number(1000000000000) == 1000000000000
	amounts.whole(12) == 12
	amounts.whole(1000000000000) == 1000000000000
	amounts.whole(12.5) == unknown
	every value in not_amounts {
		amounts.number(value) == unknown
		amounts.whole(value) == unknown
		amounts.at_most(value, 1000000000000) == false
		amounts.over_limit(value, 1000000000000) == true
		amounts.at_most(0, value) == false
		amounts.total([1, value]) == unknown
	}
}

test_decimal_strings if {
	amounts.minor_units("12.50", 2) == 1250
	amounts.minor_units("12.5", 2) == 1250
	amounts.minor_units("12", 2) == 1200
	amounts.minor_units("0.05", 2) == 5
	amounts.minor_units("0", 0) == 0
	amounts.minor_units("0.00", 2) == 0
	amounts.minor_units("7", 0) == 7
	amounts.minor_units("1.2345", 4) == 12345
	amounts.minor_units("10000000000.00", 2) == 1000000000000
}

test_other_texts_are_no_decimals if {
	every text in [
		"10000000000.01", "1000000000000", "12.345", "12.", ".5", "-1", "+1", " 1", "1 ", "1\n", "1e3", "0x10", "1,000", "1_000", "01", "00", "NaN", "Infinity", "",
		"1.2.3", "١", "１", "1.5٠", "12.50 EUR", "$5", 5, 12.5, null, ["1"],
	] {
		amounts.minor_units(text, 2) == unknown
	}
	every places in [-1, 5, 1.5, "2", null] {
		amounts.minor_units("1", places) == unknown
	}
	amounts.minor_units("1.5", 0) == unknown
}

test_total if {
	amounts.total([]) == 0
	amounts.total([1, 2, 2]) == 5
	amounts.total([1.5]) == unknown
	every values in [{1, 2}, "12", null, {"a": 1}] {
		amounts.total(values) == unknown
	}
}

test_limits if {
	amounts.at_most(100, 100)
	amounts.at_most(0, 0)
	amounts.at_most(100.01, 100) == false
	amounts.over_limit(100, 100) == false
	amounts.over_limit(100.01, 100) == true
}

argument(name, args) := found if found := amounts.argument(name) with input as {"action": {"properties": {"args": args}}}

test_argument if {
	argument("amount", {"amount": 5}) == 5
	argument("amount", {"amount": "5"}) == unknown
	argument("amount", {}) == unknown
	argument("amount", null) == unknown
}

test_currencies if {
	amounts.currency("eur") == "EUR"
	every code in ["", "EU", "EURO", "€", "EUR ", "E1R", "ſek", 5, null] {
		amounts.currency(code) == ""
		amounts.at_most_in(5, code, {"EUR": 10, "": 10}) == false
	}
	amounts.at_most_in(10, "eur", {"EUR": 10})
	amounts.over_limit_in(10, "eur", {"EUR": 10}) == false
	amounts.at_most_in(11, "EUR", {"EUR": 10}) == false
	amounts.at_most_in(1, "USD", {"EUR": 10}) == false
	amounts.over_limit_in(1, "USD", {"EUR": 10}) == true
	every limits in [["EUR"], "EUR", null, {"EUR": "10"}, {"eur": 10}] {
		amounts.at_most_in(1, "EUR", limits) == false
		amounts.over_limit_in(1, "EUR", limits) == true
	}
}
