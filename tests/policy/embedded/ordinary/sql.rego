# input {"tool":"query","args":{"sql":"SELECT * FROM users; DROP TABLE users"}}
# input {"tool":"query","args":{"sql":" select 1"}}
package ordinary.sql

statement := upper(trim_space(input.args.sql))

read_only if startswith(statement, "SELECT")

forbidden := ["DROP", "DELETE", "TRUNCATE", "ALTER"]

deny contains word if {
	some word in forbidden
	regex.match(sprintf("\\b%s\\b", [word]), statement)
}

deny contains "writes" if not read_only

deny contains "several statements" if count(split(trim(statement, "; "), ";")) > 1

deny contains "comment" if regex.match(`(--|/\*|#)`, input.args.sql)
