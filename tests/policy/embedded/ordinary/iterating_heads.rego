# input {"sites":[{"host":"a","tags":["x"]},{"host":"b","tags":[]}],"pairs":{"k":1,"l":2}}
package ordinary.iterating_heads

hosts contains input.sites[_].host

tags contains input.sites[_].tags[_]

upper_hosts contains upper(input.sites[_].host) if input.pairs.k == 1

by_index[i] := input.sites[i].host

doubled[k] := v * 2 if v := input.pairs[k]

labelled contains {"host": input.sites[i].host, "n": i}

any_x if input.sites[_].tags[_] == "x"

pick := input.sites[_].host if count(input.sites) == 1
