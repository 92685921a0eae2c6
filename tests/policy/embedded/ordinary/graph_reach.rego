# input {"user":"a","target":"d"}
# data {"edges":{"a":["b","c"],"b":["d"],"c":[],"d":[]},"owners":{"d":"ann"}}
package ordinary.graph_reach

reachable := graph.reachable(data.edges, {input.user})

allow if input.target in reachable

people contains data.owners[node] if some node in reachable

inverse[target] contains source if {
	some source, targets in data.edges
	some target in targets
}

depth_two contains t if t := data.edges[data.edges[input.user][_]][_]
