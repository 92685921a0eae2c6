# input {"memory":"512Mi","disk":"10GB","cpu":"500m"}
package ordinary.units

bytes := units.parse_bytes(input.memory)

cores := units.parse(input.cpu)

too_big if units.parse_bytes(input.disk) > units.parse_bytes("5GB")

deny contains "memory" if bytes > units.parse_bytes("256Mi")
