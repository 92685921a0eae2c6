# input {"name":"admin","roles":["a"],"address":{"city":"Rome"}}
package ordinary.not_missing

deny contains "prefix" if not startswith(input.name, "svc-")

deny contains "role" if not "b" in input.roles

deny contains "name" if not input.name in {"root", "admin"}

deny contains "long" if not count(input.name) > 10

deny contains "city" if not lower(input.address.city) == "paris"

deny contains "sum" if not count(input.roles) + 1 == 2

deny contains "other" if not input.address.city != "Oslo"
