# input {"args":{"amount":2500,"approvals":[{"by":"ann","role":"manager"},{"by":"bob","role":"cfo"}]},"user":"carl"}
package ordinary.approvals

needed(amount) := 0 if amount < 100

else := 1 if amount < 1000

else := 2

approvers := {a.by | some a in input.args.approvals; a.by != input.user; a.role in {"manager", "cfo"}}

default allow := false

allow if count(approvers) >= needed(input.args.amount)

missing := needed(input.args.amount) - count(approvers) if not allow
