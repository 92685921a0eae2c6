# input {"sites":[{"region":"eu","name":"p","servers":[{"name":"a","hostname":"h1"},{"name":"b","hostname":"h2"}]},{"region":"us","name":"q","servers":[{"name":"a2","hostname":"h1"}]}]}
package ordinary.partial_objects

hostnames contains name if name := input.sites[_].servers[_].hostname

region_of[name] := region if {
	some site in input.sites
	name := site.name
	region := site.region
}

all_regions := [region | some region in region_of]

instances[hostname] contains server.name if {
	server := input.sites[_].servers[_]
	hostname := server.hostname
}

eu_only if {
	region_of["q"]
	region_of.p == "eu"
}
