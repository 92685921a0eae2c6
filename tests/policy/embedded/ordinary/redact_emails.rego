# input {"args":{"text":"write to bob@example.com or +39 06 1234567","note":"card 4111 1111 1111 1111"}}
package ordinary.redact_emails

emails := regex.find_n(`[\w.+-]+@[\w-]+\.[\w.]+`, input.args.text, -1)

masked := regex.replace(input.args.note, `\d{4}`, "****")

has_card if regex.match(`\b(?:\d[ -]*?){13,16}\b`, input.args.note)

deny contains sprintf("%d addresses", [count(emails)]) if count(emails) > 0
