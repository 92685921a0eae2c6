# input {"config":{"log":{"level":"debug"},"tls":{"min":"1.1"},"replicas":1},"env":"prod"}
package ordinary.config_levels

warn contains "debug logs" if input.config.log.level == "debug"

deny contains "old tls" if not input.config.tls.min in {"1.2", "1.3"}

deny contains msg if {
	input.env == "prod"
	replicas := object.get(input, ["config", "replicas"], 0)
	replicas < minimum[input.env]
	msg := sprintf("%d replicas are fewer than %d", [replicas, minimum[input.env]])
}

minimum := {"prod": 2, "test": 1}

exception contains rules if {
	input.env == "test"
	rules := ["tls"]
}

configured if input.config.debug == false

unset if not input.config.debug == false

ok if {
	input.config.log.level != "debug"
	true
}

severity := {"deny": count(deny), "warn": count(warn)}
