# input {"method":"GET","path":["finance","salary","bob"],"user":"bob"}
# input {"method":"GET","path":["finance","salary","bob"],"user":"alice"}
# data {"managers":{"bob":"alice","carl":"bob"}}
package ordinary.http_api

default allow := false

allow if {
	input.method == "GET"
	input.path = ["finance", "salary", employee]
	input.user == employee
}

allow if {
	some employee
	input.method == "GET"
	input.path = ["finance", "salary", employee]
	data.managers[employee] == input.user
}
