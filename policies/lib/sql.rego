# Kinds of SQL statements, for tools that run a text as SQL.
#
# Nothing here is undefined. A text has the kind "other" if a database could read it in another way than this module:
# with comments of one product, quotes or escapes of one dialect, a call of a function that is not known to be harmless,
# or a word that changes data in a query. So "select" means that the common databases only read. Calls of functions
# without parentheses, and what views do, can't be seen.
#
# A database user with few rights is the better protection. This module is a second one.
#
# In a policy, write the full name: data.guardrail.lib.sql.read_only(input.action.properties.args.query)

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.sql

# The kinds of the statements in a text: "select", "insert", "update", "delete", "ddl" (create, alter, drop and truncate
# of tables, views, indexes, schemas and sequences) and "other".
default kinds(_) := {"other"}

kinds(text) := {kind_of(statement) | some statement in statements(text)} if count(statements(text)) > 0

# The kind of all statements in the text; "other" if they have several kinds.
default kind(_) := "other"

kind(text) := found if {
	count(kinds(text)) == 1
	some found in kinds(text)
}

# True if the text has exactly one statement.
default single(_) := false

single(text) if count(statements(text)) == 1

# True if every statement in the text has one of these kinds, a list or set. "other" is never one of them.
default only(_, _) := false

only(text, allowed) if {
	is_list(allowed)
	every found in kinds(text) {
		found != "other"
		found in allowed
	}
}

# True if every statement in the text only reads.
default read_only(_) := false

read_only(text) if only(text, ["select"])

# True unless every statement in the text only reads.
default maybe_writes(_) := true

maybe_writes(text) := false if read_only(text)

# The statements of a text: words in lower case with one blank between them, without comments. A string and a quoted
# name are replaced by their first quote.
statements(text) := [trim(statement, " ") |
	some statement in split(words(text), ";")
	trim(statement, " ") != ""
]

# Databases disagree about backslashes, and some end a line at a lone carriage return. A string with a prefix, "--"
# without a blank, and comments that begin like code or a hint, have no end or contain a slash, are kept as they are.
words(text) := found if {
	is_string(text)
	count(text) <= 10000
	not regex.match(`\\|\r[^\n]|\r$`, text)
	regex.replace(text, token, "") == ""
	found := lower(regex.replace(regex.replace(text, token, " ${1}${2}${3}${4}"), ` +`, " "))
	not regex.match("[a-z0-9_]['\"]|--|/[*]|[*]/", found)
}

# In this order: a string, a quoted name, another one, what is doubtful, comments and blanks, then words, numbers,
# parameters and operators.
token := "(')(?:[^']|'')*'|(\")[^\"./:]*\"|(`)[A-Za-z0-9_ .-]*`|--(?:[ \t\r][^\n]*)?(?:\n|$)|/[*][^*/!+M][^*/]*(?:[*]+[^*/]+)*[*]+/|[ \t\r\n]+|([A-Za-z0-9_]+['\"]|--|/[*]|[*]/|[A-Za-z_][A-Za-z0-9_]*|[0-9]+(?:[.][0-9]+)?|[$][0-9]+|:[A-Za-z_][A-Za-z0-9_]*|[?]|%s|::|<=|>=|<>|!=|[|][|]|[-+*/%=<>(),.;])"

kind_of(statement) := "select" if {
	regex.match(`^(?:select|with (?:.* )?select) `, statement)
	harmless(statement)
} else := "insert" if {
	regex.match(`^insert into [a-z0-9_"]+(?: \. [a-z0-9_"]+)* `, statement)
	not regex.match(`^insert into (?:openrowset|openquery|opendatasource) `, statement)
	harmless(regex.replace(statement, `^insert into [a-z0-9_"]+(?: \. [a-z0-9_"]+)* `, ""))
} else := "update" if {
	regex.match(`^update [a-z0-9_"]+(?: \. [a-z0-9_"]+)* set `, statement)
	harmless(regex.replace(statement, `^update [a-z0-9_"]+(?: \. [a-z0-9_"]+)* set `, ""))
} else := "delete" if {
	regex.match(`^delete from [a-z0-9_"]+(?: \. [a-z0-9_"]+)*(?: [^(.]|$)`, statement)
	harmless(trim_prefix(statement, "delete "))
} else := "ddl" if {
	regex.match(`^(?:create|alter|drop|truncate) (?:or replace |unique |temporary |temp |materialized )*(?:table|view|index|schema|sequence) `, statement)
	rest := regex.replace(statement, `^[a-z]+| on (?:delete|update) (?:cascade|restrict|no action|set null|set default)`, "")
	kept := regex.replace(rest, ` (?:alter|drop) (?:column|constraint|default|not null|primary key|foreign key)`, "")
	not regex.match(` (?:alter|create|drop|truncate)(?: |$)`, kept)
	not hides_statement(kept)
} else := "other"

# True if a part of a query changes nothing, as far as its words and the functions that it calls show.
harmless(text) if {
	not hides_statement(text)
	others := regex.replace(text, `(?:^| )(?:all|and|any|as|between|by|case|distinct|else|except|exists|filter|from|group|having|in|intersect|is|join|lateral|like|materialized|not|on|or|over|returning|select|then|union|using|values|when|where|within|some|abs|age|array_agg|avg|bool_and|bool_or|cast|ceil|ceiling|char_length|character_length|coalesce|concat|concat_ws|convert|count|cume_dist|current_date|current_timestamp|date|date_add|date_format|date_part|date_sub|date_trunc|dateadd|datediff|datepart|datetime|day|dense_rank|exp|extract|first_value|floor|greatest|group_concat|grouping|hour|if|ifnull|iif|instr|isnull|json_agg|julianday|lag|last_value|lead|least|left|len|length|ln|log|lower|lpad|ltrim|max|median|min|minute|mod|month|now|nth_value|ntile|nullif|nvl|octet_length|percent_rank|percentile_cont|percentile_disc|position|power|quarter|rank|replace|reverse|right|round|row_number|rpad|rtrim|second|sign|sqrt|stddev|strftime|string_agg|substr|substring|sum|time|timestamp|to_char|to_date|to_number|to_timestamp|trim|trunc|unixepoch|upper|variance|week|year|decimal|numeric|varchar|char|partition|order|[-,=<>+*/%]|<=|>=|<>|!=|[|][|]) [(]`, "  (")
	not regex.match(`[^ (][^ ]* [(]`, others)
	not regex.match(`(?:^| )(?:add|alter|analyze|attach|backup|checkpoint|create|detach|disable|drop|enable|load|lock|nextval|pragma|receive|rename|replace|set|truncate|use|vacuum)(?: |$)`, others)
	not regex.match(`(?:^| )(?:from|join) '|(?:^| )for (?:share|key|no)(?: |$)|next value for|[.] [^ ]+ [(]`, text)
}

# True if there is a word that begins a statement, which some databases accept without a semicolon before it.
hides_statement(text) if regex.match(`(?:^| )(?:begin|bulk|call|commit|copy|dbcc|deallocate|declare|delete|deny|do|dumpfile|exec|execute|go|grant|insert|into|kill|merge|outfile|prepare|print|raiserror|reconfigure|restore|revert|revoke|rollback|save|send|setuser|shutdown|throw|update|updatetext|upsert|waitfor|while|writetext)(?: |$)`, text)

is_list(values) if is_array(values)

is_list(values) if is_set(values)
