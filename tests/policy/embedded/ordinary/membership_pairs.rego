# input {"labels":{"env":"prod"},"list":["x","y"]}
package ordinary.membership_pairs

prod if "env", "prod" in input.labels

second if 1, "y" in input.list

not_dev if not "env", "dev" in input.labels

has_x if "x" in input.list
