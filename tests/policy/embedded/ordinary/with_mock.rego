# input {"user":"b","limit":3}
package ordinary.with_mock

allow if input.user == "a"

would_allow if allow with input.user as "a"

changed := x if x := input.limit with input.limit as 7

stays if not allow with input as {"user": "z"}
