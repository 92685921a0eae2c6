# input {"query":"SELECT * FROM users; DROP TABLE x","tables":["users","audit"]}
package ordinary.sql_reads

statement := upper(trim_space(input.query))

read_only if regex.match(`^(SELECT|SHOW|EXPLAIN)\s`, statement)

writes := {w | w := ["INSERT", "UPDATE", "DELETE", "DROP"][_]; regex.match(sprintf(`\b%s\b`, [w]), statement)}

allow if {
	read_only
	count(writes) == 0
	not has_many
}

has_many if count(split(trim_suffix(input.query, ";"), ";")) > 1

forbidden := {"audit", "secrets"} & {t | t := input.tables[_]}
