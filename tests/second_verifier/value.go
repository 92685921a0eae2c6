package main

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Section 2: what is a line. encoding/json is not used to read: it takes names in any case, keeps the last of two equal
// keys, and puts U+FFFD where bytes are not UTF-8.

const (
	longestLine   = 65535
	deepest       = 512
	longestDigits = 4300
)

var errNoLine = errors.New("no line")

// A value is nil, bool, string, number, []any or object.
type (
	number string
	object map[string]any
)

// integer returns a number that is written as an integer, where it fits 63 bits.
func integer(value any) (int64, bool) {
	text, ok := value.(number)
	if !ok || strings.ContainsAny(string(text), ".eE") {
		return 0, false
	}
	found, err := strconv.ParseInt(string(text), 10, 64)
	return found, err == nil
}

// readLine returns the object that a line is, or errNoLine.
func readLine(line []byte) (object, error) {
	if len(line) > longestLine || !utf8.Valid(line) || strings.ContainsRune(string(line), '\r') {
		return nil, errNoLine
	}
	reader := parser{text: string(line)}
	reader.space()
	if reader.peek() != '{' {
		return nil, errNoLine
	}
	found, err := reader.value(1)
	if err != nil {
		return nil, err
	}
	reader.space()
	if reader.at != len(reader.text) {
		return nil, errNoLine
	}
	return found.(object), nil
}

type parser struct {
	text string
	at   int
}

// peek returns the next byte, or 0 at the end: no token begins with a NUL.
func (p *parser) peek() byte {
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) take(wanted byte) bool {
	if p.peek() != wanted || p.at == len(p.text) {
		return false
	}
	p.at++
	return true
}

func (p *parser) space() {
	for p.peek() == ' ' || p.peek() == '\t' || p.peek() == '\n' || p.peek() == '\r' {
		p.at++
	}
}

// value reads one value. depth is that of the container it would be.
func (p *parser) value(depth int) (any, error) {
	switch next := p.peek(); {
	case next == '{' || next == '[':
		if depth > deepest {
			return nil, errNoLine
		}
		p.at++
		if next == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case next == '"':
		return p.quoted()
	case next == '-' || next >= '0' && next <= '9':
		return p.number()
	}
	for word, meaning := range map[string]any{"true": true, "false": false, "null": nil} {
		if strings.HasPrefix(p.text[p.at:], word) {
			p.at += len(word)
			return meaning, nil
		}
	}
	return nil, errNoLine
}

func (p *parser) object(depth int) (any, error) {
	found := object{}
	p.space()
	if p.take('}') {
		return found, nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return nil, errNoLine
		}
		key, err := p.quoted()
		if err != nil {
			return nil, err
		}
		if _, twice := found[key]; twice {
			return nil, errNoLine
		}
		p.space()
		if !p.take(':') {
			return nil, errNoLine
		}
		p.space()
		if found[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		p.space()
		if p.take('}') {
			return found, nil
		}
		if !p.take(',') {
			return nil, errNoLine
		}
	}
}

func (p *parser) array(depth int) (any, error) {
	found := []any{}
	p.space()
	if p.take(']') {
		return found, nil
	}
	for {
		p.space()
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		found = append(found, item)
		p.space()
		if p.take(']') {
			return found, nil
		}
		if !p.take(',') {
			return nil, errNoLine
		}
	}
}

func (p *parser) digits() int {
	from := p.at
	for p.peek() >= '0' && p.peek() <= '9' {
		p.at++
	}
	return p.at - from
}

func (p *parser) number() (any, error) {
	from, whole := p.at, true
	p.take('-')
	count := 1
	if !p.take('0') {
		if count = p.digits(); count == 0 {
			return nil, errNoLine
		}
	}
	if p.take('.') {
		whole = false
		if p.digits() == 0 {
			return nil, errNoLine
		}
	}
	if p.take('e') || p.take('E') {
		whole = false
		if !p.take('-') {
			p.take('+')
		}
		if p.digits() == 0 {
			return nil, errNoLine
		}
	}
	if whole && count > longestDigits {
		return nil, errNoLine
	}
	return number(p.text[from:p.at]), nil
}

func (p *parser) quoted() (string, error) {
	p.at++
	var found strings.Builder
	for p.at < len(p.text) {
		next := p.text[p.at]
		p.at++
		switch {
		case next == '"':
			return found.String(), nil
		case next < 0x20:
			return "", errNoLine
		case next != '\\':
			found.WriteByte(next)
		default:
			char, err := p.escape()
			if err != nil {
				return "", err
			}
			found.WriteRune(char)
		}
	}
	return "", errNoLine
}

var escapes = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (p *parser) escape() (rune, error) {
	next := p.peek()
	p.at++
	if char, ok := escapes[next]; ok {
		return char, nil
	}
	if next != 'u' {
		return 0, errNoLine
	}
	char, err := p.unit()
	if err != nil || !utf16.IsSurrogate(char) {
		return char, err
	}
	if !strings.HasPrefix(p.text[p.at:], `\u`) {
		return 0, errNoLine
	}
	p.at += 2
	second, err := p.unit()
	if err != nil {
		return 0, err
	}
	if char = utf16.DecodeRune(char, second); char == utf8.RuneError {
		return 0, errNoLine
	}
	return char, nil
}

// unit reads the four hexadecimal digits of one UTF-16 code unit.
func (p *parser) unit() (rune, error) {
	if p.at+4 > len(p.text) {
		return 0, errNoLine
	}
	digits := p.text[p.at : p.at+4]
	p.at += 4
	for _, digit := range []byte(digits) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(digit)) {
			return 0, errNoLine
		}
	}
	found, err := strconv.ParseUint(digits, 16, 16)
	return rune(found), err
}
