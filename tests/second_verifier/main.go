// A second verifier of guardrail's record format, written from docs/record-format.md.
//
// It shares no code with the Python package, and nothing but the page was read to write it, except for owners and settings
// (section 10), whose rules were taken from the package: where the two disagree, one of them or the page is wrong. Only Go's standard library is used.
//
//	go run tests/second_verifier/*.go EXPORT [--head FILE] [--key HEX]
//
// prints one JSON line, {"verdict", "first_bad", "last_covered", "records", "exit"}, and ends with that exit code: the words
// and codes of section 10 of the page. 2: wrong usage; 3 without a line: a file can't be read.
//
//	go run tests/second_verifier/*.go --batch
//
// reads lines "EXPORT <tab> HEAD <tab> KEY" (HEAD and KEY may be empty) and answers each with one such line, at once.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type answer struct {
	Verdict     string `json:"verdict"`
	FirstBad    *int64 `json:"first_bad"`
	LastCovered *int64 `json:"last_covered"`
	Records     *int64 `json:"records"`
	Exit        int    `json:"exit"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--batch" {
		batch()
		return
	}
	export, head, key, err := arguments(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	found, err := judge(export, head, key)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	show(os.Stdout, found)
	os.Exit(found.Exit)
}

func arguments(given []string) (export, head, key string, err error) {
	for at := 0; at < len(given); at++ {
		switch {
		case (given[at] == "--head" || given[at] == "--key") && at+1 < len(given):
			if given[at] == "--head" {
				head = given[at+1]
			} else {
				key = given[at+1]
			}
			at++
		case export == "" && !strings.HasPrefix(given[at], "-"):
			export = given[at]
		default:
			return "", "", "", fmt.Errorf("unexpected argument %d", at+1)
		}
	}
	if export == "" {
		return "", "", "", fmt.Errorf("usage: second_verifier EXPORT [--head FILE] [--key HEX]")
	}
	if key != "" && !isHash(key) {
		return "", "", "", fmt.Errorf("--key takes 64 lower-case hexadecimal characters")
	}
	return export, head, key, nil
}

func batch() {
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		parts := strings.Split(scanner.Text(), "\t")
		if len(parts) != 3 {
			fmt.Fprintln(os.Stderr, "a line needs three fields")
			os.Exit(2)
		}
		found, err := judge(parts[0], parts[1], parts[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			found = answer{Verdict: "unreadable", Exit: 3}
		}
		show(os.Stdout, found)
	}
}

func show(out *os.File, found answer) {
	line, err := json.Marshal(found)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(out, "%s\n", line)
}

// judge reads the files and says what section 10 says of them. head and key may be empty.
func judge(export, head, key string) (answer, error) {
	lines, err := os.ReadFile(export)
	if err != nil {
		return answer{}, err
	}
	var note []byte
	if head != "" {
		if note, err = os.ReadFile(head); err != nil {
			return answer{}, err
		}
	}
	return verify(lines, note, head != "", key), nil
}

// isHash says whether text is 64 characters of lower-case hexadecimal.
func isHash(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32 && text == strings.ToLower(text)
}
