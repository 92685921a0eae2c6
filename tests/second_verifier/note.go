package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Section 9: a head, as a signed note.

const (
	longestNote    = 65536
	mostSignatures = 100
	signedByLog    = 0x01
)

var errMalformed = errors.New("malformed note")

type head struct {
	text       string
	log        string
	size       int64
	root       [32]byte
	signatures []signature
}

type signature struct {
	name  string
	keyID [4]byte
	bytes []byte
}

func readHead(raw []byte) (*head, error) {
	if len(raw) > longestNote || !utf8.Valid(raw) || bytes.IndexFunc(raw, forbidden) >= 0 {
		return nil, errMalformed
	}
	// the last empty line parts the text from the signatures
	cut := strings.LastIndex(string(raw), "\n\n")
	if cut < 0 || !strings.HasSuffix(string(raw[cut+2:]), "\n") {
		return nil, errMalformed
	}
	found := &head{text: string(raw[:cut+1])}
	lines := strings.Split(string(raw[:cut]), "\n")
	if len(lines) < 3 || slices.Contains(lines, "") {
		return nil, errMalformed
	}
	found.log = lines[0]
	var err error
	if found.size, err = decimal(lines[1]); err != nil {
		return nil, err
	}
	root, ok := plainBase64(lines[2])
	if !ok || len(root) != len(found.root) {
		return nil, errMalformed
	}
	copy(found.root[:], root)
	signatures := strings.Split(string(raw[cut+2:len(raw)-1]), "\n")
	if len(signatures) > mostSignatures {
		return nil, errMalformed
	}
	for _, line := range signatures {
		signed, err := readSignature(line)
		if err != nil {
			return nil, err
		}
		found.signatures = append(found.signatures, signed)
	}
	return found, nil
}

func forbidden(char rune) bool { return char < 0x20 && char != '\n' }

func decimal(text string) (int64, error) {
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != text {
		return 0, errMalformed
	}
	return size, nil
}

func readSignature(line string) (signature, error) {
	rest, ok := strings.CutPrefix(line, "\u2014 ")
	if !ok {
		return signature{}, errMalformed
	}
	name, encoded, ok := strings.Cut(rest, " ")
	raw, sound := plainBase64(encoded)
	if !ok || !sound || !isName(name) || len(raw) < 5 {
		return signature{}, errMalformed
	}
	return signature{name: name, keyID: [4]byte(raw[:4]), bytes: raw[4:]}, nil
}

// isName says whether text can name a log, or another that signs.
func isName(text string) bool {
	return text != "" && strings.IndexFunc(text, func(char rune) bool {
		return char < 0x20 || char == '+' || unicode.IsSpace(char)
	}) < 0
}

// plainBase64 takes the one canonical form only: Go's decoder would pass over line breaks.
func plainBase64(text string) ([]byte, bool) {
	raw, err := base64.StdEncoding.DecodeString(text)
	return raw, err == nil && base64.StdEncoding.EncodeToString(raw) == text
}

// signedBy says whether the log's own line of the head is a good signature by the key, in hex.
func (h *head) signedBy(public string) bool {
	key, err := hex.DecodeString(public)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false
	}
	digest := sha256.Sum256(append([]byte(h.log+"\n"), append([]byte{signedByLog}, key...)...))
	for _, signed := range h.signatures {
		if signed.name == h.log && signed.keyID == [4]byte(digest[:4]) && isSigned(key, h.text, signed.bytes) {
			return true
		}
	}
	return false
}

func isSigned(key []byte, text string, signed []byte) bool {
	return len(signed) == ed25519.SignatureSize && ed25519.Verify(key, []byte(text), signed)
}
