# input {"version":"1.0","at":"2026-01-01T00:00:00.000000Z","items":["a","b"],"n":1}
package ordinary.counted_items

# Texts that look like numbers, such as 2.0 in a comment, do not change how numbers are written.
limits := {"release": "2.0", "pattern": `0.0`}

message := sprintf("%d items of %d, %x", [count(input.items), input.n, 255])

from_zero := sprintf("%d to %d", [0, 2])

template := $"{count(input.items)} items"
