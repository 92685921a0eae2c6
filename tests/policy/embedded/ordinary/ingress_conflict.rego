# input {"request":{"kind":{"kind":"Ingress"},"namespace":"a","object":{"metadata":{"name":"i"},"spec":{"rules":[{"host":"x.example.com"},{"host":"y.example.com"}]}}}}
# data {"ingresses":{"a":{"i":{"spec":{"rules":[{"host":"x.example.com"}]}}},"b":{"k":{"spec":{"rules":[{"host":"y.example.com"}]}}}}}
package ordinary.ingress_conflict

import data.ingresses

deny contains msg if {
	input.request.kind.kind == "Ingress"
	newhost := input.request.object.spec.rules[_].host
	oldhost := ingresses[namespace][name].spec.rules[_].host
	newhost == oldhost
	namespace != input.request.namespace
	msg := sprintf("host %q is used by %s/%s", [newhost, namespace, name])
}
