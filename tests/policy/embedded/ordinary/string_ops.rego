# input {"name":"Ann-Marie O'Neil","csv":"a, b,,c","path":"x/y/z.tar.gz"}
package ordinary.string_ops

slug := lower(replace(replace(input.name, " ", "-"), "'", ""))

items := [trim_space(p) | some p in split(input.csv, ","); trim_space(p) != ""]

parts := split(input.path, "/")

last := parts[count(parts) - 1]

extension := substring(last, indexof(last, ".") + 1, -1)

initials := concat("", [upper(substring(word, 0, 1)) | some word in split(input.name, " ")])

n_dashes := strings.count(input.name, "-")

clean := strings.replace_n({"-": "_", " ": "_"}, input.name)

pieces := regex.split(`\s*,\s*`, input.csv)

prefixed if strings.any_prefix_match(input.path, ["x/", "w/"])
