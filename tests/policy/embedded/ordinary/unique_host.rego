# input {"review":{"object":{"metadata":{"namespace":"n","name":"i"},"spec":{"rules":[{"host":"a.example.com"}]}}}}
# data {"inventory":{"namespace":{"m":{"networking/v1":{"Ingress":{"other":{"metadata":{"namespace":"m","name":"other"},"spec":{"rules":[{"host":"a.example.com"}]}}}}}}}}
package ordinary.unique_host

identical(obj, review) if {
	obj.metadata.namespace == review.object.metadata.namespace
	obj.metadata.name == review.object.metadata.name
}

violation contains {"msg": msg} if {
	host := input.review.object.spec.rules[_].host
	other := data.inventory.namespace[_][version]["Ingress"][_]
	regex.match(`^(extensions|networking)/.+$`, version)
	other.spec.rules[_].host == host
	not identical(other, input.review)
	msg := sprintf("ingress host conflicts with an existing ingress <%v>", [host])
}
