# input {"review":{"object":{"kind":"Ingress","metadata":{"name":"x","annotations":{"kubernetes.io/ingress.allow-http":"false"}},"spec":{"tls":[{"hosts":["a"]}]}}}}
package ordinary.https_only

violation contains {"msg": msg} if {
	input.review.object.kind == "Ingress"
	ingress := input.review.object
	not https_complete(ingress)
	msg := sprintf("Ingress should be https. tls configuration and allow-http=false annotation are required for %v", [ingress.metadata.name])
}

https_complete(ingress) if {
	ingress.spec.tls
	count(ingress.spec.tls) > 0
	ingress.metadata.annotations["kubernetes.io/ingress.allow-http"] == "false"
}
