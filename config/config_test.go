package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// parse parses a command line with these settings.
func parse(args string, settings map[string]string) (Config, []error) {
	return Parse(strings.Fields(args), func(name string) string { return settings[name] })
}

// Extra commas in a list must not stop the start, and every notation of an address must be accepted. Otherwise a proxy is not trusted, and all
// its clients have its address.
func TestTrustedProxies(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "[]",
		",":                           "[]",
		"10.0.0.1":                    "[10.0.0.1/32]",
		"10.0.0.0/8":                  "[10.0.0.0/8]",
		" 10.0.0.1 ,, 192.0.2.0/24, ": "[10.0.0.1/32 192.0.2.0/24]",
		"2001:db8::1,[2001:db8::2]":   "[2001:db8::1/128 2001:db8::2/128]",
		"2001:db8::/32":               "[2001:db8::/32]",
		"fe80::1%eth0":                "[fe80::1/128]",
		"::ffff:10.0.0.1":             "[10.0.0.1/32]",
		"::ffff:10.0.0.0/104":         "[10.0.0.0/8]",
		"::ffff:0.0.0.0/96":           "[0.0.0.0/0]",
		"::/0":                        "[::/0]",
		"10.0.0":                      "",
		"10.0.0.1:80":                 "",
		"[10.0.0.1]":                  "",
		"[2001:db8::1":                "",
		"2001:db8::1]":                "",
		"[2001:db8::1]:443":           "",
		"10.0.0.1;10.0.0.2":           "",
		"10.0.0.0/33":                 "",
		"proxy.example":               "",
	} {
		c, problems := parse("", map[string]string{"TRUSTED_PROXIES": text})
		switch {
		case want == "":
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), "TRUSTED_PROXIES") {
				t.Errorf("%q: %v, %v", text, c.TrustedProxies, problems)
			}
		case problems != nil || fmt.Sprint(c.TrustedProxies) != want:
			t.Errorf("%q: %v, %v", text, c.TrustedProxies, problems)
		}
	}
}

func TestLists(t *testing.T) {
	c, problems := parse("", map[string]string{"CORS_ALLOWED_ORIGINS": " https://a.example,, https://*.b.example ,", "CORS_ALLOWED_HEADERS": "X-One, x-two,"})
	if problems != nil || strings.Join(c.CORSOrigins, " ") != "https://a.example https://*.b.example" || strings.Join(c.CORSHeaders, " ") != "X-One x-two" {
		t.Errorf("%q %q %v", c.CORSOrigins, c.CORSHeaders, problems)
	}
}

// People try the demo from pages on their own machine. Other servers allow only the origins in CORS_ALLOWED_ORIGINS.
func TestDemoAllowsLocalPages(t *testing.T) {
	const local = "http://localhost:* http://127.0.0.1:* http://[::1]:*"
	for _, c := range []struct {
		args     string
		settings map[string]string
		want     string
	}{
		{"", nil, local},
		{"", map[string]string{"EMBEDDED_PATH": "x.db"}, local},
		{"", map[string]string{"CORS_ALLOWED_ORIGINS": "https://a.example"}, "https://a.example"},
		{"", map[string]string{"CORS_ALLOWED_ORIGINS": ","}, ""},
		{"", map[string]string{"DEMO": "false"}, ""},
		{"", map[string]string{"MONGODB_URI": "mongodb://127.0.0.1"}, ""},
		{"", map[string]string{"MONGODB_URI": "mongodb://127.0.0.1", "DEMO": "true"}, ""},
		{"serve", map[string]string{"EMBEDDED_PATH": "x.db"}, ""},
		{"serve", map[string]string{"EMBEDDED_PATH": "x.db", "DEMO": "true"}, ""},
	} {
		got, problems := parse(c.args, c.settings)
		if problems != nil || strings.Join(got.CORSOrigins, " ") != c.want {
			t.Errorf("%q %v: %q, %v", c.args, c.settings, got.CORSOrigins, problems)
		}
	}
}

var update = flag.Bool("update", false, "rewrite docs/settings.md")

// The page must have every setting as the program has it.
func TestSettingsPage(t *testing.T) {
	const page = "../docs/settings.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), "| variable |")
	if !found {
		t.Fatal("the page has no table")
	}
	var b strings.Builder
	b.WriteString(before)
	if err := WriteSettings(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if b.String() != string(text) {
		t.Errorf("%s is out of date: run go generate ./config", page)
	}
}
