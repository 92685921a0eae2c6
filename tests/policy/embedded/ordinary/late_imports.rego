# input {"n":2}
# data {"lib":{"limits":{"n":3}}}
package ordinary.late_imports

default ok := false

import data.lib.limits

ok if input.n < limits.n

import input.n as number

twice := number * 2
