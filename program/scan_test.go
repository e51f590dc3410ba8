package program_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// scanned is the output of keys scan --json.
type scanned struct {
	Results []struct {
		File, Status, Organization, Revoke string
		Line                               int
		KeyID                              string `json:"key_id"`
		Places                             []program.Place
		Count                              int `json:"places_total"`
	}
	Total     int
	Fragments []struct {
		File   string
		Line   int
		Prefix string `json:"key_prefix"`
		Length int
		MayBe  []struct {
			KeyID  string `json:"key_id"`
			Status string
			Revoke string
		} `json:"may_be"`
	}
	Unread        []struct{ File, Error string }
	MoreUnknown   int `json:"more_unknown"`
	MoreFragments int `json:"more_fragments"`
}

func scanJSON(t *testing.T, d programtest.Deployment, args ...string) (scanned, int) {
	t.Helper()
	code, out, errs := programtest.Command(t, d.Env, append([]string{"keys", "scan", "--json"}, args...)...)
	var s scanned
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: exit code %d, %v in %s%s", args, code, err, out, errs)
	}
	return s, code
}

func written(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inUTF16 returns the text in UTF-16. high is the index of the high byte in each pair.
func inUTF16(text string, high int) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		two := [2]byte{byte(unit), byte(unit)}
		two[high] = byte(unit >> 8)
		b = append(b, two[:]...)
	}
	return b
}

// inUTF32 returns the text in UTF-32. order contains the indexes of a character's bytes, most significant first.
func inUTF32(text string, order [4]int) []byte {
	var b []byte
	for _, r := range text {
		var four [4]byte
		for i, at := range order {
			four[at] = byte(r >> (24 - 8*i))
		}
		b = append(b, four[:]...)
	}
	return b
}

// organizationKey imports a key with a known plaintext and returns the plaintext.
func organizationKey(t *testing.T, d programtest.Deployment, id, tenant string, with programtest.Fields) string {
	t.Helper()
	_, secret := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
	f := programtest.Fields{"key_hash": secret.Hash(), "key_prefix": secret.Prefix(), "internal_id": tenant, "organization_id": "org_of_" + tenant}
	maps.Copy(f, with)
	programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc(id, "ret_main", f)}})
	return secret.Reveal()
}

// A log can be compressed or in UTF-16, and contain the same key on many lines. The scan reports one key and its organization, and prints a
// command that revokes it.
func TestScanReadsLogs(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Namespaces: []bson.Raw{programtest.NamespaceDoc("ns_named", "named", "int_a", programtest.Fields{"organization_name": "Acme"})}})
		key := organizationKey(t, d, "key_scan", "int_a", nil)
		log := "é first\nkey=" + key + "\nnothing\nagain " + key + " and " + key + "\n"
		places := []int{2, 4, 4}
		bom := "\ufeff"
		for name, text := range map[string][]byte{
			"plain":                              []byte(log),
			"gzip":                               gzipped(t, []byte(log)),
			"gzip of gzip":                       gzipped(t, gzipped(t, []byte(log))),
			"two members":                        append(gzipped(t, []byte(log[:20])), gzipped(t, []byte(log[20:]))...),
			"UTF-16LE":                           inUTF16(bom+log, 1),
			"UTF-16BE":                           inUTF16(bom+log, 0),
			"UTF-16LE without a mark":            inUTF16(log, 1),
			"UTF-16BE without a mark":            inUTF16(log, 0),
			"UTF-16 in gzip":                     gzipped(t, inUTF16(bom+log, 1)),
			"UTF-16 with half a unit at the end": append(inUTF16(bom+log, 1), 'x'),
			"UTF-16 with a surrogate pair":       inUTF16(bom+"😀"+log, 1),
			"UTF-32LE":                           inUTF32(bom+log, [4]int{3, 2, 1, 0}),
			"UTF-32BE":                           inUTF32(bom+log, [4]int{0, 1, 2, 3}),
			"UTF-32LE without a mark":            inUTF32(log, [4]int{3, 2, 1, 0}),
			"UTF-32BE without a mark":            inUTF32(log, [4]int{0, 1, 2, 3}),
			"UTF-32 in gzip":                     gzipped(t, inUTF32(bom+"😀"+log, [4]int{3, 2, 1, 0})),
			"UTF-32 with a part of a unit at the end": append(inUTF32(bom+log, [4]int{3, 2, 1, 0}), "xyz"...),
			"UTF-32 with an invalid character":        append(inUTF32(bom, [4]int{3, 2, 1, 0}), append([]byte{1, 2, 3, 0xFF}, inUTF32(log, [4]int{3, 2, 1, 0})...)...),
			"UTF-8 with a mark":                       []byte(bom + log),
		} {
			file := written(t, "app.log", text)
			got, code := scanJSON(t, d, file)
			if code != program.ExitOK || got.Total != 1 || len(got.Results) != 1 || len(got.Fragments) != 0 || len(got.Unread) != 0 {
				t.Errorf("%s: exit code %d, %+v", name, code, got)
				continue
			}
			r := got.Results[0]
			var lines []int
			for _, p := range r.Places {
				lines = append(lines, p.Line)
			}
			if r.KeyID != "key_scan" || r.Status != "active" || r.File != file || r.Line != 2 || r.Count != 3 || !slices.Equal(lines, places) || r.Organization != "Acme (org_of_int_a)" {
				t.Errorf("%s: %+v", name, r)
			}
		}

		file := written(t, "app.log", []byte(log))
		code, out, errs := programtest.Command(t, d.Env, "keys", "scan", "--exit-code", file)
		if code != program.ExitActive || !strings.Contains(out, "1 key found, 1 active.") || !strings.Contains(out, "Acme (org_of_int_a)") || strings.Contains(out+errs, key) {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		_, revoke, found := strings.Cut(out, "retrieverkeys keys revoke")
		if !found {
			t.Fatal(out)
		}
		programtest.MustRun(t, d, append([]string{"keys", "revoke", "--yes"}, strings.Fields(strings.SplitN(revoke, "\n", 2)[0])...)...)
		if code, out, _ := programtest.Command(t, d.Env, "keys", "scan", "--exit-code", file); code != program.ExitOK || !strings.Contains(out, "1 key found, 0 active.") || strings.Contains(out, "keys revoke") {
			t.Errorf("after the revocation: exit code %d\n%s", code, out)
		}
	})
}

// For a truncated key, the scan lists the keys of all organizations that begin with it. It does not report words that only look similar.
func TestScanReportsFragments(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		key := organizationKey(t, d, "key_cut", "int_a", nil)
		organizationKey(t, d, "key_alike", "int_b", programtest.Fields{"key_prefix": key[:10]}) // the same beginning, stored without dots
		organizationKey(t, d, "key_old", "int_a", programtest.Fields{"key_prefix": key[:10] + "...", "revoked_at": programtest.Date("2026-01-01T00:00:00Z")})
		foreign := "sk_" + strings.Repeat("Ab0", 11) // a key without a checksum, made elsewhere
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_elsewhere", "ret_main", programtest.Fields{"key_hash": programtest.HashOf(foreign), "key_prefix": foreign[:10] + "..."})}})
		nobody := "ret_sk_zZ9y"
		got, code := scanJSON(t, d, written(t, "cut.log", []byte(fmt.Sprintf("a %s\nb %s\nc %s\nd %s sk_customers sk_\ne %s\n", key[:31], key[:10], nobody, foreign, key[:31]))))
		var fragments []string
		for _, f := range got.Fragments {
			var may []string
			for _, k := range f.MayBe {
				if (k.Status == "active") != strings.HasSuffix(k.Revoke, " keys revoke "+k.KeyID) {
					t.Errorf("%+v", k)
				}
				may = append(may, k.KeyID+" "+k.Status)
			}
			fragments = append(fragments, fmt.Sprintf("%s %d line %d: %s", f.Prefix, f.Length, f.Line, strings.Join(may, ", ")))
		}
		candidates := "key_alike active, key_cut active, key_old revoked"
		want := []string{
			key[:10] + "... 31 line 1: " + candidates, key[:10] + "... 10 line 2: " + candidates, nobody[:10] + "... 11 line 3: ",
		}
		if !slices.Equal(fragments, want) {
			t.Errorf("fragments\n%s\nwant\n%s", strings.Join(fragments, "\n"), strings.Join(want, "\n"))
		}
		if code != program.ExitOK || got.Total != 1 || got.Results[0].KeyID != "key_elsewhere" || got.Results[0].Line != 4 {
			t.Errorf("exit code %d, keys %+v", code, got.Results)
		}
		out := programtest.MustRun(t, d, "keys", "scan", written(t, "cut.log", []byte(key[:31])))
		for _, want := range []string{"0 keys found", "1 fragment found", "31 characters of a key, on line 1", "key_cut, ACTIVE", "keys revoke key_cut", "key_old, REVOKED"} {
			if !strings.Contains(out, want) {
				t.Errorf("nothing about %s in\n%s", want, out)
			}
		}
		if strings.Contains(out, key[:11]) {
			t.Errorf("it prints more than the key's prefix:\n%s", out)
		}
	})
}

// Without limits per kind, an attacker who writes to a log can hide an active key in it or exhaust the scanner's memory.
func TestScanOfAFloodFindsActiveKeys(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	key := organizationKey(t, d, "key_scan", "int_a", nil)
	foreign, short := "sk_"+strings.Repeat("Ab0", 11), "sk_Made123elsewhere" // keys without a checksum
	programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{
		programtest.KeyDoc("key_elsewhere", "ret_main", programtest.Fields{"key_hash": programtest.HashOf(foreign), "key_prefix": foreign[:10] + "..."}),
		programtest.KeyDoc("key_short", "ret_main", programtest.Fields{"key_hash": programtest.HashOf(short), "key_prefix": short[:10] + "..."}),
	}})
	var b strings.Builder
	b.WriteString(key + "\n")
	const more = 100
	program.Flood(&b, program.MaxUnresolved+more)
	end := 2 + 3*(program.MaxUnresolved+more)
	b.WriteString(foreign + "\n" + short + "\n" + key + "\n")
	file := written(t, "flood.gz", gzipped(t, []byte(b.String())))
	text := programtest.MustRun(t, d, "keys", "scan", "--json", file)
	var got scanned
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	alive := map[string]string{}
	for _, r := range got.Results {
		if r.Status == "active" {
			alive[r.KeyID] += fmt.Sprint(r.Places)
		}
	}
	want := map[string]string{
		"key_scan": fmt.Sprintf("[{%s 1} {%s %d}]", file, file, end+2), "key_elsewhere": fmt.Sprintf("[{%s %d}]", file, end), "key_short": fmt.Sprintf("[{%s %d}]", file, end+1),
	}
	if !maps.Equal(alive, want) {
		t.Errorf("got active keys %v, want %v", alive, want)
	}
	if got.Total != program.MaxUnresolved+3 || len(got.Results) != got.Total || got.MoreUnknown != more {
		t.Errorf("got %d keys, total %d, and %d more", len(got.Results), got.Total, got.MoreUnknown)
	}
	// Words do not displace fragments. Texts beyond the limit are counted.
	if len(got.Fragments) != program.MaxUnresolved || got.MoreFragments != 2*more {
		t.Errorf("got %d fragments, and %d more", len(got.Fragments), got.MoreFragments)
	}
	code, out, _ := programtest.Command(t, d.Env, "keys", "scan", "--exit-code", file)
	if code != program.ExitActive || !strings.Contains(out, "Not listed: 100 more occurrences of keys that are not in the store") || !strings.Contains(out, "Not listed: 200 more occurrences of fragments") {
		t.Errorf("exit code %d\n%.1000s", code, out)
	}
	if programtest.MustRun(t, d, "keys", "scan", "--json", file) != text {
		t.Error("two scans of one file differ")
	}
}

// The rules match keys only. e2e runs both scanners with them.
func TestScannersRules(t *testing.T) {
	key, look := func() (string, string) {
		_, s := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
		return s.Reveal(), s.Reveal()[:40] + strings.Repeat("0", 16)
	}()
	code, out, errs := programtest.Command(t, nil, "keys", "scan", "--rules", "gitleaks") // needs no store
	found := regexp.MustCompile(`(?m)^regex = '''(.*)'''$`).FindStringSubmatch(out)
	if code != program.ExitOK || errs != "" || found == nil {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	rule := regexp.MustCompile(found[1])
	for text, want := range map[string]string{
		key: key, "token=" + key + "\n": key, `"\n` + key + `\u0026"`: key, "ret_" + key + "&": "ret_" + key, look + " ": look, key + "x": "", key[:55]: "", "sk_customers": "",
	} {
		got := append(rule.FindStringSubmatch(text), "", "")[1]
		if got != want {
			t.Errorf("in %q: got %q, want %q", text, got, want)
		}
	}
	code, out, errs = programtest.Command(t, nil, "keys", "scan", "--rules", "detect-secrets")
	if code != program.ExitOK || errs != "" || !strings.Contains(out, "class RetrieverkeysDetector(RegexBasedDetector)") || !strings.Contains(out, apikey.Pattern) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// A key passed as a file name must not be printed, because others may see the screen or the log of CI. A file that cannot be read is
// reported, and keys found in it before the error count.
func TestScanOfUnreadableFiles(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	key := organizationKey(t, d, "key_scan", "int_a", nil)
	dir := t.TempDir()
	whole := gzipped(t, []byte(key+"\n"+strings.Repeat("0123456789", 1000)))
	for _, c := range []struct {
		name, arg, want string
		alive           int
	}{
		{"a key", key, key[:10] + "... looks like an API key", 0},
		{"a part of a key", key[:30], key[:10] + "... looks like an API key", 0},
		{"a missing file", filepath.Join(dir, "none.log"), "none.log could not be read: no such file", 0},
		{"a missing file named by a key", filepath.Join(dir, key+".log"), key[:10] + "....log looks like an API key", 0},
		{"a directory", dir, "is a directory", 0},
		{"a file that is cut off", written(t, "cut.gz", whole[:len(whole)-4]), "cut.gz could not be read completely: the compressed data is truncated", 1},
		{"damaged gzip", written(t, "bad.gz", append(whole[:20:20], 0xFF, 0xFF, 0xFF, 0xFF)), "bad.gz could not be read completely", 0},
	} {
		for _, flag := range []string{"--json", "--exit-code"} {
			code, out, errs := programtest.Command(t, d.Env, "keys", "scan", flag, c.arg, written(t, "empty.log", nil))
			want := program.ExitFailed
			if flag == "--exit-code" && c.alive > 0 {
				want = program.ExitActive
			}
			if code != want || !strings.Contains(errs, c.want) || strings.Contains(out+errs, key[:11]) {
				t.Errorf("%s: exit code %d, want %d and %q\n%s%s", c.name, code, want, c.want, out, errs)
			}
			var got scanned
			if flag == "--json" && (json.Unmarshal([]byte(out), &got) != nil || got.Total != c.alive || len(got.Unread) != 1 || got.Unread[0].Error == "") {
				t.Errorf("%s: %s", c.name, out)
			}
		}
	}
	// A file can have a key as its name.
	file := filepath.Join(dir, key)
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"keys", "scan", file}, {"keys", "scan", "--json", file}} {
		if out := programtest.MustRun(t, d, args...); strings.Contains(out, key[:11]) || !strings.Contains(out, "key_scan") {
			t.Errorf("%v prints\n%s", args[:2], out)
		}
	}
}

// No command prints a key that was passed by mistake, for example as an id.
func TestCommandsPrintNoKey(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	key := organizationKey(t, d, "key_scan", "int_a", nil)
	for _, args := range [][]string{
		{key}, {"keys", key}, {"help", key}, {"keys", "revoke", key}, {"keys", "revoke", key, "b"}, {"keys", "list", "--namespace", key},
		{"keys", "list", "--namespace", "ns_prod", "--search", key}, {"keys", "list", "--namespace", "ns_prod", "--retriever", key}, {"keys", "list", "--" + key},
		{"keys", "list", "--namespace", "ns_prod", "--json=" + key}, {"keys", "rotate", "--namespace", "ns_prod", key}, {"keys", "rotate", "--namespace", "ns_prod", "--overlap", key, "x"},
		{"keys", "create", "--expires-at", key}, {"import", key}, {"backup", filepath.Join(key, "x")}, {"completion", key}, {"schema", key}, {"retrievers", "list", "--namespace", key},
	} {
		if _, out, errs := programtest.Command(t, d.Env, args...); strings.Contains(out+errs, key[:11]) {
			t.Errorf("%s prints\n%s%s", apikey.HideKeys(strings.Join(args, " ")), out, errs)
		}
	}
	if _, _, errs := programtest.Command(t, d.Env, "keys", "revoke", key); !strings.Contains(errs, "is an API key, not a key id") {
		t.Errorf("revoke of a key: %s", errs)
	}
	for name, value := range map[string]string{"LISTEN_ADDR": key, "LOG_LEVEL": key, "EMBEDDED_PATH": filepath.Join(t.TempDir(), key, "none.db")} {
		if _, out, errs := programtest.Command(t, programtest.Fields{name: value}, "keys", "scan", "-"); strings.Contains(out+errs, key[:11]) {
			t.Errorf("%s: %s%s", name, out, errs)
		}
	}
}
