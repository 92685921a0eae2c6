# input {"Statement":[{"Effect":"Allow","Action":["s3:*","ec2:Describe*"],"Resource":"*"},{"Effect":"Deny","Action":"iam:*","Resource":["a"]}]}
package ordinary.aws_iam_statements

statements := input.Statement

as_array(x) := x if is_array(x)

as_array(x) := [x] if not is_array(x)

wildcards contains action if {
	some s in statements
	s.Effect == "Allow"
	some action in as_array(s.Action)
	endswith(action, "*")
	"*" in as_array(s.Resource)
}

services := {split(action, ":")[0] | some s in statements; some action in as_array(s.Action)}

deny contains sprintf("statement %d allows everything", [i]) if {
	some i, s in statements
	s.Effect == "Allow"
	as_array(s.Action)[_] == "*"
}

conditions[i] := object.get(s, "Condition", {}) if some i, s in statements
