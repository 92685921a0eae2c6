# input {"kind":"Deployment","metadata":{"name":"hello","labels":{"app.kubernetes.io/name":"x"}},"spec":{"selector":{"matchLabels":{"app":"a"}},"template":{"spec":{"securityContext":{"runAsNonRoot":false}}}}}
package ordinary.conftest_deployment

name := input.metadata.name

is_deployment if input.kind == "Deployment"

required_deployment_selectors if {
	input.spec.selector.matchLabels.app
	input.spec.selector.matchLabels.release
}

required_labels if {
	input.metadata.labels["app.kubernetes.io/name"]
	input.metadata.labels["app.kubernetes.io/instance"]
}

deny contains msg if {
	is_deployment
	not input.spec.template.spec.securityContext.runAsNonRoot
	msg := sprintf("Containers must not run as root in Deployment %s", [name])
}

deny contains msg if {
	is_deployment
	not required_deployment_selectors
	msg = sprintf("Deployment %s must provide app/release labels for pod selectors", [name])
}

warn contains msg if {
	not required_labels
	msg := $"{name} should have the recommended labels"
}
