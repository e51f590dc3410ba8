package apikey

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// Keys have the documented prefix, length, alphabet, visible prefix and hash.
func TestMint(t *testing.T) {
	for prefix, length := range map[string]int{retrieverKeyPrefix: 60, organizationKeyPrefix: 56} {
		shape := regexp.MustCompile(fmt.Sprintf(`\A%s[0-9A-Za-z]{%d}\z`, prefix, length-len(prefix)))
		for range 100 {
			s := mint(prefix)
			text := s.Reveal()
			if len(text) != length || !shape.MatchString(text) {
				t.Fatalf("%q is not %d characters of the shape %s", text, length, shape)
			}
			body, sum := text[:length-6], text[length-6:]
			if want := independentChecksum(body); sum != want {
				t.Fatalf("%q ends in %s, want the checksum %s", text, sum, want)
			}
			if got, want := s.Prefix(), text[:10]+"..."; got != want {
				t.Fatalf("got prefix %q, want %q", got, want)
			}
			if got, want := s.Hash(), fmt.Sprintf("%x", sha256.Sum256([]byte(text))); got != want || len(got) != 64 {
				t.Fatalf("got hash %q, want %q", got, want)
			}
			if !plausible(text) {
				t.Fatalf("%q is not plausible as a bearer token", text)
			}
		}
	}
}

// independentChecksum computes the checksum with big integers, whose base 62 has the lower-case letters first.
func independentChecksum(text string) string {
	n := new(big.Int).SetUint64(uint64(crc32.Checksum([]byte(text), crc32.MakeTable(0xedb88320))))
	swap := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return r
		}
	}
	return fmt.Sprintf("%06s", strings.Map(swap, n.Text(62)))
}

// Without padding, the checksum of some keys is too short, and a scanner does not recognize them. The expected texts were computed in
// Python, with zlib.crc32 and divmod by 62.
func TestChecksumIsPadded(t *testing.T) {
	for text, want := range map[string]string{
		"":           "000000",
		"123456789":  "3jZRME", // 0xcbf43926, the check value of CRC-32 (IEEE)
		"a":          "4GEHKN", // 0xe8b7be43
		"ret_sk_173": "000R7m",
	} {
		if got := checksum(text); got != want {
			t.Errorf("checksum(%q) = %s, want %s", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if got, want := checksum(text), independentChecksum(text); got != want {
			t.Fatalf("checksum(%q) = %s, want %s", text, got, want)
		}
	})
}

// Without this, keys have fewer random bits than their length suggests, and can be guessed.
func TestRandomTextIsEven(t *testing.T) {
	const draws = 620_000
	counts := map[rune]int{}
	for _, c := range randomText(draws) {
		counts[c]++
	}
	if len(counts) != 62 {
		t.Fatalf("got %d different characters, want 62", len(counts))
	}
	for c, n := range counts {
		if n < 9_000 || n > 11_000 { // ten standard deviations; a modulus of a random byte would draw some 12,109 times
			t.Errorf("%q was drawn %d times, want about 10,000", c, n)
		}
	}
	seen, shape := map[string]bool{}, regexp.MustCompile(`\Akey_[0-9A-Za-z]{24}\z`)
	for range 1000 {
		id := NewID("key_")
		if !shape.MatchString(id) || seen[id] {
			t.Fatalf("%q is malformed or not unique", id)
		}
		seen[id] = true
	}
}

// Without this, the key that bootstrap prints cannot manage, authenticates nobody, or has no owner.
func TestNewAdminKey(t *testing.T) {
	org := "org_1"
	ns := Namespace{ID: "ns_1", InternalID: "int_1", OrganizationID: &org}
	k, secret := NewAdminKey(ns, "usr_1", "admin-key", "made by a test", noon)
	if !strings.HasPrefix(string(k.ID), "key_") || len(k.ID) != 28 || !strings.HasPrefix(secret.Reveal(), "sk_") || k.Hash != secret.Hash() || *k.Prefix != secret.Prefix() {
		t.Errorf("the key does not match its plaintext: %+v", k)
	}
	if k.InternalID != "int_1" || *k.OrganizationID != "org_1" || k.UserID != "usr_1" || *k.CreatedBy != "usr_1" ||
		!k.CreatedAt.Equal(noon) || k.Name != "admin-key" || k.Description != "made by a test" {
		t.Errorf("got the key %+v", k)
	}
	if k.StatusAt(noon) != Active || (Caller{Key: &k}).authorize(Admin) != nil || !(Caller{Key: &k}).coversNamespace(ManagePermissions, &ns) {
		t.Errorf("the key cannot manage: %+v", k)
	}
}

// Without this, a retriever's key can manage, read, or execute another retriever.
func TestNewRetrieverKey(t *testing.T) {
	k := NewRetrieverKey("ret_1", "usr_1", noon)
	if k.Type != RetrieverKey || len(k.Permissions) != 1 || k.Permissions[0] != Read || k.StatusAt(noon) != Active {
		t.Errorf("got %+v", k)
	}
	c := Caller{Key: &k}
	if got := codeOf(t, c.authorize(Read)); got != Forbidden {
		t.Errorf("reading with it: %q", got)
	}
	ns := &Namespace{ID: "ns_1"}
	if !c.covers(ExecuteRetriever, ns, "ret_1") || c.covers(ExecuteRetriever, ns, "ret_2") || c.covers(ReadData, ns, "ret_1") {
		t.Errorf("its scopes are %v", k.Scopes)
	}
	if len(k.ID) != 28 || len(k.Hash) != 64 || !strings.HasPrefix(*k.Prefix, "ret_sk_") || len(*k.Prefix) != 13 {
		t.Errorf("hash %q, prefix %q", k.Hash, *k.Prefix)
	}
}

// Without this, a plaintext gets into a log, an error, a response or a database, in one of the ways in which it can be written there.
func TestSecretIsRedacted(t *testing.T) {
	type holder struct {
		Name   string
		Secret Secret
		Ref    *Secret
	}
	type hiding struct{ secret Secret } // fmt does not call methods of unexported fields
	secret := mint(retrieverKeyPrefix)
	h := holder{"n", secret, &secret}
	all := []any{secret, &secret, h, &h, []Secret{secret}, map[string]Secret{"k": secret}, hiding{secret}, &hiding{secret}, []hiding{{secret}}}

	var shown bytes.Buffer
	for _, v := range all {
		for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X % x %d %o %b %t %e %c %U %p %T %w %y %10v %-10.3s %[2]d surplus") {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		fmt.Fprintln(&shown, v, "surplus", fmt.Sprint(v), fmt.Errorf("failed: %w", fmt.Errorf("with %v", v)))
		for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			log := slog.New(handler).With("with", v)
			log.Info("m", "key", v, slog.Group("g", "key", v), "err", fmt.Errorf("with %v", v))
		}
		for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal, bson.Marshal} {
			out, err := marshal(v)
			shown.Write(out)
			fmt.Fprintln(&shown, err)
		}
	}
	fmt.Fprintln(&shown, errors.Join(errors.New("a"), fmt.Errorf("b %s", secret)), Classify(fmt.Errorf("c %s", secret)))
	out, err := json.Marshal(map[string]any{"secret": secret, "in": []any{&secret}})
	shown.Write(out)
	if err != nil {
		t.Error(err)
	}
	assertHides(t, shown.Bytes(), secret.Reveal())
	if secret.Reveal() == "" || !strings.Contains(shown.String(), redacted) {
		t.Error("nothing was written at all")
	}
}

// assertHides fails the test if the plaintext is in the output, as it is, as numbers or in hexadecimal.
func assertHides(t *testing.T, shown []byte, plaintext string) {
	t.Helper()
	part := plaintext[len(retrieverKeyPrefix) : len(plaintext)-checksumChars]
	for _, form := range []string{part, fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part), strings.Trim(fmt.Sprint(string([]byte(part))), "[]")} {
		if i := bytes.Index(shown, []byte(form)); i >= 0 {
			t.Errorf("the output contains the plaintext: …%s…", shown[max(0, i-60):min(len(shown), i+len(form)+20)])
		}
	}
}

// A Secret must always be printed as the same placeholder, so that readers recognize it as a redacted secret.
func TestSecretPrintsAsRedacted(t *testing.T) {
	secret := mint(retrieverKeyPrefix)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, secret); got != redacted {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got, err := json.Marshal(struct{ Key Secret }{secret}); string(got) != `{"Key":"[redacted]"}` || err != nil {
		t.Errorf("JSON: %s, %v", got, err)
	}
	if got, err := secret.MarshalText(); string(got) != redacted || err != nil {
		t.Errorf("text: %s, %v", got, err)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		`k=[redacted]`:     func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		`"k":"[redacted]"`: func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("m", "k", secret)
		if !strings.Contains(b.String(), name) {
			t.Errorf("logged %s", b.String())
		}
	}
	doc, err := bson.Marshal(struct{ Key Secret }{secret})
	if err != nil {
		t.Fatal(err)
	}
	text, err := bson.Marshal(struct{ Key string }{redacted})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(doc, text) {
		t.Errorf("BSON: got % x, want % x", doc, text)
	}
}

// Without this, the store is asked for tokens that cannot be keys, or a token that RFC 6750 allows is refused.
func TestPlausibleTokens(t *testing.T) {
	for _, tt := range []struct {
		name, token string
		want        bool
	}{
		{"a key of this server", mint(retrieverKeyPrefix).Reveal(), true},
		{"a key with a wrong checksum", "ret_sk_" + strings.Repeat("a", 53), true},
		{"one character", "a", true},
		{"the whole alphabet", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/", true},
		{"padding at the end", "abc==", true},
		{"much padding", "a" + strings.Repeat("=", 511), true},
		{"512 bytes", strings.Repeat("a", 512), true},
		{"513 bytes", strings.Repeat("a", 513), false},
		{"a megabyte", strings.Repeat("a", 1<<20), false},
		{"empty", "", false},
		{"padding alone", "=", false},
		{"padding in the middle", "a=b", false},
		{"padding at the start", "=ab", false},
		{"a space at the start", " abc", false},
		{"a space at the end", "abc ", false},
		{"a space in the middle", "a b", false},
		{"a tab", "a\tb", false},
		{"a line break", "abc\r\n", false},
		{"NUL", "abc\x00", false},
		{"DEL", "abc\x7f", false},
		{"a comma", "abc,", false},
		{"a quote", `"abc"`, false},
		{"a colon", "user:password", false},
		{"a star", "abc*", false},
		{"a percent sign", "a%20b", false},
		{"a letter beyond ASCII", "clé", false},
		{"a full-width letter", "ａ", false},
		{"a byte that is not UTF-8", "abc\xff", false},
		{"a letter beyond ASCII before padding", "é=", false},
	} {
		if got := plausible(tt.token); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	alphabet := regexp.MustCompile(`\A[A-Za-z0-9._~+/-]\z`)
	for b := range 256 {
		want := alphabet.Match([]byte{byte(b)})
		if got := plausible(string([]byte{byte(b)})); got != want {
			t.Errorf("the byte %#x: %v", b, got)
		}
	}
}
