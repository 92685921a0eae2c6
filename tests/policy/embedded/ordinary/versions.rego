# input {"version":"1.10.2","min":"1.2.0"}
package ordinary.versions

outdated if semver.compare(input.version, input.min) < 0

valid if regex.match(`^\d+\.\d+\.\d+$`, input.version)

major := to_number(split(input.version, ".")[0])

deny contains "old" if {
	[major_part, minor_part, _] := split(input.version, ".")
	to_number(major_part) <= 1
	to_number(minor_part) < 10
}
