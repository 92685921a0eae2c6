package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"regexp"
	"strings"
)

// Sections 3 and 10: the chain, the tree, and the verdict.

type hash = [32]byte

const profile = "sha256-json-lines/1"

var timeStamp = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$`)

func leafHash(line []byte) hash { return sha256.Sum256(append([]byte{0}, line...)) }

func nodeHash(left, right hash) hash {
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// A tree is the roots of the perfect subtrees of its first size leaves, the largest first.
type tree struct {
	size  int64
	roots []hash
}

func (t *tree) add(leaf hash) {
	for size := t.size; size&1 == 1; size >>= 1 {
		last := len(t.roots) - 1
		leaf = nodeHash(t.roots[last], leaf)
		t.roots = t.roots[:last]
	}
	t.roots = append(t.roots, leaf)
	t.size++
}

func (t *tree) root() hash {
	if len(t.roots) == 0 {
		return sha256.Sum256(nil)
	}
	last := len(t.roots) - 1
	found := t.roots[last]
	for last--; last >= 0; last-- {
		found = nodeHash(t.roots[last], found)
	}
	return found
}

// A pruned is what an admin.pruned record says of the records before it.
type pruned struct {
	before int64
	edge   []hash
	leaf   string
}

// A chain is what is known of a log after some of its lines.
type chain struct {
	next      int64 // the number that the next line should have, and so the number of records
	previous  string
	log       string
	key       string
	gone      *pruned
	open      map[string]int64 // call -> number of its decision
	certified map[string]int64 // epoch key -> number of the first record that certifies it
	ended     map[string]int64
	tree      tree
	wanted    int64 // a head's size
	root      *hash // of the tree of that size
	doubts    []doubt
	owners    map[string]owner // session -> whose it is by its first record that says so
	config    *string          // of the last start, empty where it is no string; nil before the first
	changed   bool             // a record behind that start says that the settings changed
}

// A doubt is what a recovery took over, or found lost (section 9.5).
type doubt struct {
	seq, last int64
	lost      bool
}

// An owner is tenant, principal, issuer and agent of a session (section 10).
type owner [4]string

// verify says what section 10 says.
func verify(export, note []byte, given bool, pinned string) answer {
	var top *head
	var malformed error
	if given {
		top, malformed = readHead(note)
	}
	if len(export) == 0 || export[len(export)-1] != '\n' {
		if top != nil && top.size > 0 {
			return answer{Verdict: "torn", Exit: 1}
		}
		return answer{Verdict: "torn", Exit: 3}
	}
	c := &chain{
		previous: strings.Repeat("0", 64), wanted: -1,
		open: map[string]int64{}, certified: map[string]int64{}, ended: map[string]int64{},
		owners: map[string]owner{},
	}
	if top != nil {
		c.wanted = top.size
	}
	bad := !c.follow(bytes.Split(export[:len(export)-1], []byte("\n")))
	found := answer{Records: &c.next}
	if bad {
		found.FirstBad = &c.next
	}
	doubt := c.doubt(top, malformed != nil, pinned)
	if doubt == "" && top != nil && top.size > 0 {
		covered := top.size - 1
		found.LastCovered = &covered
	}
	// the order of the steps: what is said of the head before step 5 goes before tampered, the rest behind it
	switch {
	case doubt == "replaced":
		found.Verdict, found.FirstBad = doubt, nil
	case doubt == "head_malformed":
		found.Verdict = doubt
	case bad:
		found.Verdict = "tampered"
	case doubt != "":
		found.Verdict = doubt
	case found.LastCovered == nil:
		found.Verdict = "not_anchored"
	default:
		found.Verdict = "anchored"
	}
	found.Exit = map[string]int{
		"anchored": 0, "not_anchored": 5, "tampered": 1, "replaced": 1, "truncated": 1, "forked": 1,
		"key_unknown": 3, "head_malformed": 3,
	}[found.Verdict]
	if found.Verdict == "anchored" && (pinned == "" || c.reserved(top.size)) {
		found.Exit = 5
	}
	return found
}

// reserved says whether a head of that size leaves anything of what recoveries took over.
func (c *chain) reserved(size int64) bool {
	for _, each := range c.doubts {
		if each.lost || each.last >= 0 && !(size <= each.seq && size > each.last) {
			return true
		}
	}
	return false
}

// recovered keeps what a record of type admin.recovered says of those before it (section 9.5).
func (c *chain) recovered(record object) {
	detail, _ := record["detail"].(object)
	if record["type"] != "admin.recovered" {
		return
	}
	restarted := detail["action"] == "restart" && c.next == 1
	lost, isLost := integer(detail["lost"])
	found := doubt{seq: c.next, last: -1, lost: isLost && lost > 0 || restarted && detail["loss"] != "none_known"}
	if restarted {
		c.doubts = append(c.doubts, found)
		return
	}
	said, isSaid := detail["doubt"]
	if !isSaid && detail["head"] != nil {
		found.last = c.next - 1
	}
	if isSaid && said != nil {
		span, _ := said.(object)
		first, isFirst := integer(span["first"])
		last, isLast := integer(span["last"])
		if found.last = c.next - 1; isFirst && isLast && 0 <= first && first <= last && last < c.next {
			found.last = last
		}
	}
	c.doubts = append(c.doubts, found)
}

// doubt is what steps 3, 4, 6, 7 and 8 find, or nothing.
func (c *chain) doubt(top *head, malformed bool, pinned string) string {
	switch {
	case malformed:
		return "head_malformed"
	case c.next > 0 && (pinned != "" && pinned != c.key || top != nil && top.log != c.log):
		return "replaced"
	case top == nil:
		return ""
	case top.size > c.next:
		return "truncated"
	case top.size == 0:
		return ""
	case c.gone != nil && top.size < c.gone.before:
		return "not_anchored"
	case c.root == nil || *c.root != top.root:
		return "forked"
	case !c.counts(top):
		return "key_unknown"
	}
	return ""
}

// counts says whether one signature of the head counts (section 9.1).
func (c *chain) counts(top *head) bool {
	if top.signedBy(c.key) {
		return true
	}
	for key, from := range c.certified {
		end, over := c.ended[key]
		if from < top.size && !(over && end+1 < top.size) && top.signedBy(key) {
			return true
		}
	}
	return false
}

// follow takes lines until one is bad, and says whether none was.
func (c *chain) follow(lines [][]byte) bool {
	for at, line := range lines {
		record, err := readLine(line)
		if at == 1 && err == nil {
			if before, ok := integer(record["seq"]); ok && before > 1 && !c.skip(lines, before) {
				return false
			}
		}
		if err != nil || !c.linked(record) || !c.inOrder(record) || !c.certifies(record) || !c.owned(record) || !c.settled(record) {
			return false
		}
		c.recovered(record)
		leaf := leafHash(line)
		c.previous = hex.EncodeToString(leaf[:])
		c.tree.add(leaf)
		c.next++
		c.keepRoot()
	}
	return true
}

// keepRoot keeps the root of the tree that the head is of.
func (c *chain) keepRoot() {
	if c.tree.size == c.wanted {
		root := c.tree.root()
		c.root = &root
	}
}

// skip goes on behind the records that a pruned log no longer has, where their absence is proved (section 9.3).
func (c *chain) skip(lines [][]byte, before int64) bool {
	var detail object
	for _, line := range lines {
		record, err := readLine(line)
		if err != nil || record["type"] != "admin.pruned" {
			continue
		}
		said, ok := record["detail"].(object)
		if !ok {
			continue
		}
		at, isNumber := integer(said["before"])
		seq, isSeq := integer(record["seq"])
		if isNumber && isSeq && at == before && seq >= before {
			detail = said
		}
	}
	if detail == nil || detail["genesis"] != c.previous {
		return false
	}
	leaf, ok := detail["leaf"].(string)
	edge, listed := detail["edge"].([]any)
	if !ok || !listed || !isHash(leaf) || len(edge) != bits.OnesCount64(uint64(before)) {
		return false
	}
	gone := &pruned{before: before, leaf: leaf}
	for _, item := range edge {
		text, ok := item.(string)
		if !ok || !isHash(text) {
			return false
		}
		raw, _ := hex.DecodeString(text)
		gone.edge = append(gone.edge, hash(raw))
	}
	c.gone, c.next, c.previous = gone, before, leaf
	c.tree = tree{size: before, roots: append([]hash{}, gone.edge...)}
	c.keepRoot()
	return true
}

// linked says whether a record is a line (the fields of section 2) that follows the one before (section 3).
func (c *chain) linked(record object) bool {
	version, isVersion := integer(record["v"])
	seq, isSeq := integer(record["seq"])
	log, isLog := record["log"].(string)
	ts, isTime := record["ts"].(string)
	kind, isKind := record["type"].(string)
	if !isVersion || !isSeq || !isLog || !isTime || !isKind {
		return false
	}
	if version != 1 || seq != c.next || record["prev"] != c.previous || !timeStamp.MatchString(ts) {
		return false
	}
	if (kind == "genesis") != (c.next == 0) {
		return false
	}
	if c.next > 0 {
		return log == c.log
	}
	key, public := ed25519Key(record["key"])
	if !isName(log) || record["profile"] != profile || !key {
		return false
	}
	c.log, c.key = log, public
	return true
}

// ed25519Key returns the public half of {"type": "ed25519", "public": 64 hex}.
func ed25519Key(value any) (bool, string) {
	key, _ := value.(object)
	public, ok := key["public"].(string)
	return ok && key["type"] == "ed25519" && isHash(public), public
}

// inOrder says whether a record of a call may stand here, and keeps which calls are open (section 3).
func (c *chain) inOrder(record object) bool {
	kind := record["type"]
	if kind != "call.decision" && kind != "call.outcome" {
		return true
	}
	call, ok := record["call"].(string)
	if !ok {
		return false
	}
	opened, isOpen := c.open[call]
	if kind == "call.decision" {
		decision, _ := record["decision"].(object)
		effect, ok := decision["effect"].(string)
		if !ok || isOpen {
			return false
		}
		if effect == "allow" {
			c.open[call] = c.next
		}
		return true
	}
	decided, ok := integer(record["decision_seq"])
	if !ok {
		return false
	}
	if !isOpen {
		return c.gone != nil && 1 <= decided && decided < c.gone.before
	}
	delete(c.open, call)
	return decided == opened
}

// certifies says whether a record of type admin.key_rotated is good, and keeps what it says (section 9.2).
func (c *chain) certifies(record object) bool {
	if record["type"] != "admin.key_rotated" {
		return true
	}
	detail, ok := record["detail"].(object)
	if !ok {
		return false
	}
	ended, ok := detail["ended"].([]any)
	if !ok {
		return false
	}
	for _, item := range ended {
		entry, _ := item.(object)
		public, ok := entry["public"].(string)
		if !ok {
			return false
		}
		if _, known := c.ended[public]; !known {
			c.ended[public] = c.next
		}
	}
	if detail["key"] == nil {
		return detail["first"] == nil && detail["certificate"] == nil
	}
	isKey, public := ed25519Key(detail["key"])
	first, isFirst := integer(detail["first"])
	certificate, isText := detail["certificate"].(string)
	if !isKey || !isFirst || !isText || first < 0 || first > c.next {
		return false
	}
	raw, ok := plainBase64(certificate)
	signer, _ := hex.DecodeString(c.key)
	statement := fmt.Sprintf("guardrail/epoch/1\n%s\n%s\n%d\n", c.log, public, first)
	if !ok || !isSigned(signer, statement, raw) {
		return false
	}
	if _, known := c.certified[public]; !known {
		c.certified[public] = c.next
	}
	return true
}

// owned says whether a record is of the owner of its session, and keeps who that is (section 10).
func (c *chain) owned(record object) bool {
	if kind := record["type"]; kind != "call.decision" && kind != "call.rejected" {
		return true
	}
	if decision, _ := record["decision"].(object); decision["cause"] == "identity" && decision["detail"] == "session" {
		return true
	}
	principal, _ := record["principal"].(object)
	agent, _ := record["agent"].(object)
	issuer := principal["issuer"]
	if issuer == nil {
		issuer = ""
	}
	session, ok := record["session"].(string)
	if !ok {
		return true
	}
	var here owner
	for at, value := range []any{record["tenant"], principal["id"], issuer, agent["id"]} {
		if here[at], ok = value.(string); !ok {
			return true
		}
	}
	first, known := c.owners[session]
	if !known {
		c.owners[session] = here
		return true
	}
	for at, value := range here {
		if value != first[at] && strings.HasPrefix(value, "gr1:") == strings.HasPrefix(first[at], "gr1:") {
			return false
		}
	}
	return true
}

// settled says whether a start has the settings of the one before it, or a record in between says that they changed (section 10).
func (c *chain) settled(record object) bool {
	switch record["type"] {
	case "admin.config_changed":
		c.changed = true
	case "admin.start":
		detail, _ := record["detail"].(object)
		config, _ := detail["config"].(string)
		good := c.config == nil || c.changed || *c.config == config
		c.config, c.changed = &config, false
		return good
	}
	return true
}
