# input {"price":19.99,"quantity":3,"discount":0.5,"total":250}
package ordinary.arithmetic

cost := input.price * input.quantity

reduced := cost - (cost * input.discount)

cents := round(input.price * 100)

percent := (input.quantity * 100) / 8

over if input.total + 50 >= 300

remaining := 1000 - input.total

odd if input.quantity % 2 == 1

total := sum([input.price, 1, 2.5])

all_together := product([2, input.quantity])

average := sum([1, 2, input.quantity]) / 2
