# input {"role":"ops","action":"deploy","env":"prod"}
package ordinary.mapped_lookup

grants := {"ops": {"deploy": ["prod", "test"]}, "dev": {"deploy": ["test"], "any": []}}

allow if input.env in grants[input.role][input.action]

allow if grants[input.role].any

missing_role if not grants[input.role]

needs := {"prod": 2, "test": 0}[input.env]

labels := {"role": input.role, input.env: true}

flags := {input.env: input.action, "kind": "x"}
