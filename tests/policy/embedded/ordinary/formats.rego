# input {"s":"txt","n":42,"f":3.14159,"b":true,"l":[1,"x"],"o":{"k":null}}
package ordinary.formats

texts := [
	sprintf("%s|%v|%q", [input.s, input.s, input.s]),
	sprintf("%d %5d|%-5d|%05d %x %o %b", [input.n, input.n, input.n, input.n, input.n, input.n, input.n]),
	sprintf("%f %.2f %8.3f %e %g", [input.f, input.f, input.f, input.f, input.f]),
	sprintf("%t %v", [input.b, input.b]),
	sprintf("%v %s", [input.l, input.o]),
	sprintf("%d%%", [input.n]),
	sprintf("%T %+v %10s|", [input.n, input.o, input.s]),
]

wrong := sprintf("%d and %s", [input.s, input.n])

dynamic := sprintf(input.s, [input.n])
