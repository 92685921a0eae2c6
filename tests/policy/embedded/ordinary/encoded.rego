# input {"encoded":"aGVsbG8=","url":"aGk","q":"a%20b","hex":"6869"}
package ordinary.encoded

plain := base64.decode(input.encoded)

short := base64url.decode(input.url)

query := urlquery.decode(input.q)

raw := hex.decode(input.hex)

digest := crypto.sha256(input.encoded)

greeting if startswith(lower(plain), "hell")
