# input {"created":"2026-01-30T00:00:00Z","now":"2026-03-01T12:00:00Z"}
package ordinary.time_math

created := time.parse_rfc3339_ns(input.created)

now := time.parse_rfc3339_ns(input.now)

age_days := floor((now - created) / 86400000000000)

expired if now - created > time.parse_duration_ns("720h")

stamp := sprintf("%04d-%02d-%02d", time.date(now))
