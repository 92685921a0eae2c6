# input {"env":[{"name":"AWS_KEY","value":"AKIA0000000000000000"},{"name":"P","valueFrom":{}}],"files":{"a.txt":"-----BEGIN PRIVATE KEY-----"}}
package ordinary.secret_values

patterns := {
	"aws": `AKIA[0-9A-Z]{16}`,
	"pem": `-----BEGIN (RSA )?PRIVATE KEY-----`,
}

found contains {"kind": kind, "where": e.name} if {
	some e in input.env
	some kind, pattern in patterns
	regex.match(pattern, e.value)
}

found contains {"kind": kind, "where": name} if {
	some name, text in input.files
	some kind, _ in patterns
	regex.match(patterns[kind], text)
}

masked := {name: regex.replace(text, "[A-Z]+", "*") | some name, text in input.files}

kinds := {f.kind | some f in found}

critical if "pem" in kinds
