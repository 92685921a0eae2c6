# Amounts of money and other quantities, exactly.
#
# Nothing here is undefined. A value that is not surely an amount is unknown: a negative number, a string that looks like
# a number, or more than a trillion. Numbers are then larger than any limit; functions whose names begin with over_ are
# true: use them to deny; and all others are false: use them to allow.
#
# Budgets are in data.guardrail.lib.session, because they depend on earlier calls.
#
# In a policy, write the full name: data.guardrail.lib.amounts.at_most(input.action.properties.args.amount, 100)

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.amounts

# An unknown amount.
unknown := 9000000000000000

# The value if it is a number from 0 to 10^12.
default number(_) := 9000000000000000

number(value) := value if is_amount(value)

# The value if it is a whole number from 0 to 10^12, such as an amount in cents.
default whole(_) := 9000000000000000

whole(value) := round(value) if {
	is_amount(value)
	value == round(value)
}

# The amount in a decimal string such as "12.50", in the smallest unit of a currency with so many decimal places, from 0
# to 4: 1250 for 2 places. Signs, spaces, exponents, separators and more places are refused.
default minor_units(_, _) := 9000000000000000

minor_units(text, places) := total if {
	is_string(text)
	regex.match(`^(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,4})?$`, text)
	places in {0, 1, 2, 3, 4}
	parts := split(concat("", [text, "."]), ".")
	count(parts[1]) <= places
	padded := substring(concat("", [parts[1], "0000"]), 0, round(places))
	total := to_whole(concat("", [parts[0], padded]))
	total <= 1000000000000
}

# The sum of a list of whole numbers, each as in whole.
default total(_) := 9000000000000000

total(values) := sum(numbers) if {
	is_array(values)
	numbers := [whole(value) | some value in values]
	every each in numbers {
		each <= 1000000000000
	}
}

# True if the value is a number from 0 to most.
default at_most(_, _) := false

at_most(value, most) if {
	is_amount(value)
	is_amount(most)
	value <= most
}

# True unless the value is a number from 0 to most.
default over_limit(_, _) := true

over_limit(value, most) := false if at_most(value, most)

# The argument if it is a number from 0 to 10^12.
default argument(_) := 9000000000000000

argument(name) := number(input.action.properties.args[name])

# The code of a currency in capital letters; "" if it is not three letters.
default currency(_) := ""

currency(code) := upper(code) if {
	is_string(code)
	regex.match(`^[A-Za-z]{3}$`, code)
}

# True if the limits, an object such as {"EUR": 100, "USD": 120}, have one for this currency, and the value is at most
# this limit.
default at_most_in(_, _, _) := false

at_most_in(value, code, limits) if {
	is_object(limits)
	currency(code) != ""
	at_most(value, limits[currency(code)])
}

# True unless the limits have one for this currency, and the value is at most this limit.
default over_limit_in(_, _, _) := true

over_limit_in(value, code, limits) := false if at_most_in(value, code, limits)

# Numbers do not begin with 0.
to_whole(digits) := to_number(trim_left(digits, "0")) if trim_left(digits, "0") != ""

to_whole(digits) := 0 if trim_left(digits, "0") == ""

is_amount(value) if {
	is_number(value)
	value >= 0
	value <= 1000000000000
}
