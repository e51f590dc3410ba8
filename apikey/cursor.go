package apikey

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"time"
	"unicode/utf8"
)

// position is a place in an ordered list: the value that the list is ordered by, then the id. It stays valid after its item is gone.
type position struct {
	kind  listKind
	null  bool   // no value; such items come last
	value string // names as they are; times as 8 bytes that sort like the times
	id    string
}

// listKind identifies the order that a position belongs to, so that a cursor of another order is refused.
type listKind byte

const (
	byCreatedAt  listKind = 'c'
	byLastUsedAt listKind = 'l'
	byExpiresAt  listKind = 'e'
	byName       listKind = 'n'
	retrievers   listKind = 'r'
	namespaces   listKind = 'o'
	scopeOrder   listKind = 's'
	events       listKind = 'a'
)

// timeValue is a time in milliseconds, the precision of BSON dates, as bytes that sort like the times.
func timeValue(t *time.Time) (value string, null bool) {
	if t == nil {
		return "", true
	}
	return string(binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())^1<<63)), false
}

func (p *position) time() *time.Time {
	if p.null {
		return nil
	}
	t := time.UnixMilli(int64(binary.BigEndian.Uint64([]byte(p.value)) ^ 1<<63)).UTC()
	return &t
}

var cursorText = base64.RawURLEncoding.Strict()

// cursor encodes the position as opaque text with a checksum. A cursor carries no authority: the caller's own decides what it reads.
func (p *position) cursor() string {
	flag := byte(0)
	if p.null {
		flag = 1
	}
	b := []byte{byte(p.kind), flag}
	b = binary.AppendUvarint(b, uint64(len(p.value)))
	b = append(b, p.value...)
	b = append(b, p.id...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return cursorText.EncodeToString(b)
}

// maxCursor is the maximum length of a cursor in bytes. Cursors of all names that can be stored are shorter.
const maxCursor = 64 << 10

// parseCursor decodes a cursor of the list. It reports false for any other text.
func parseCursor(text string, l listKind) (*position, bool) {
	if len(text) > maxCursor {
		return nil, false
	}
	b, err := cursorText.DecodeString(text)
	if err != nil || len(b) < 7 {
		return nil, false
	}
	flag, rest := b[1], b[2:len(b)-4]
	n, used := binary.Uvarint(rest)
	if used <= 0 || n > uint64(len(rest)-used) {
		return nil, false
	}
	rest = rest[used:]
	p := &position{kind: l, null: flag == 1, value: string(rest[:n]), id: string(rest[n:])}
	isName := l == byName || l == retrievers || l == namespaces || l == scopeOrder
	switch {
	case p.cursor() != text, // another list, a wrong checksum, or characters that base64 ignores, such as line breaks
		(isName || l == events) && p.null,
		isName && !utf8.ValidString(p.value),
		p.null && p.value != "",
		!isName && !p.null && len(p.value) != 8,
		!utf8.ValidString(p.id):
		return nil, false
	}
	return p, true
}
