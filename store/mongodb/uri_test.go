package mongodb

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Errors about a URI are printed and logged, so they must not contain the password, wherever it is. They must say what
// to fix.
func TestBadURI(t *testing.T) {
	const secret = "s3cr3t"
	for uri, want := range map[string]string{
		"":                                       "must begin with",
		"localhost:27017":                        "must begin with",
		"http://u:s3cr3t@h/":                     "must begin with",
		"mongodb://":                             "write mongodb://",
		"mongodb://u:s3cr3t@":                    "write mongodb://",
		"mongodb://u:s3cr3t":                     "write mongodb://",
		"mongodb://u:s3cr3t@h:x/":                "write mongodb://",
		"mongodb://u:s3cr3t@/db":                 "write mongodb://",
		"mongodb://u:s3cr3t@h?w=1":               "write mongodb://",
		"mongodb://u:s3cr3t/x@h/":                "user name or password",
		"mongodb://u:s3cr3t:x@h/":                "user name or password",
		"mongodb://u:s3cr3t@x@h/":                "user name or password",
		"mongodb://u:%zzs3cr3t@h/":               "user name or password",
		"mongodb://u:s3cr3t@h/?maxPoolSize=many": "maxPoolSize",
		"mongodb://u:s3cr3t@h/db?readPreference=secondary&w=x&ssl=perhaps": "ssl",
		"mongodb://u:s3cr3t@h/?authMechanism=s3cr3t":                       "authMechanism",
		"mongodb://u:s3cr3t@h/?maxPoolSize":                                "maxPoolSize",
		"mongodb://h/?minPoolSize=5&maxPoolSize=3":                         "not accepted",
		"mongodb://u:s3cr3t@h/?tlsCAFile=/does/not/exist":                  "/does/not/exist",
		"mongodb://u:s3cr3t@h,i/?directConnection=true":                    "write mongodb://",
		"mongodb://u:s3cr3t@h/a.b":                                         "is not a valid name",
	} {
		s, err := Open(uri, "", nil)
		if err == nil {
			_ = s.Close()
			t.Errorf("Open(%q) = nil error, want %q", uri, want)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("Open(%q): %v, want %q", uri, err, want)
		}
		if err := CheckURI(uri); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("CheckURI(%q): %v", uri, err)
		}
	}
}

func TestCheckURI(t *testing.T) {
	for uri, ok := range map[string]bool{
		"mongodb://localhost":                          true,
		"mongodb://u:p%2F@a,b:1/db?replicaSet=rs":      true,
		"mongodb+srv://does-not-exist.invalid/":        true, // cannot be resolved now, but is valid
		"mongodb+srv://does-not-exist.invalid:27017/":  false,
		"mongodb+srv://does-not-exist.invalid/?w=many": true,
		"mongodb://localhost/?w=-1":                    false,
		"mongo://localhost":                            false,
	} {
		if err := CheckURI(uri); (err == nil) != ok {
			t.Errorf("CheckURI(%q) = %v", uri, err)
		}
	}
}

// Options of the URI must have precedence over the defaults.
func TestDefaults(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	o, database, err := parse("mongodb://localhost", quiet)
	if err != nil || database != "" || *o.AppName != "retrieverkeys" || *o.ServerSelectionTimeout != 3*time.Second || o.MaxPoolSize != nil {
		t.Errorf("parse = %+v, %s, %v", o, database, err)
	}
	o, database, err = parse("mongodb://localhost/path?appName=x&serverSelectionTimeoutMS=7&connectTimeoutMS=8&maxIdleTimeMS=9&maxPoolSize=10", quiet)
	if err != nil || database != "path" || *o.AppName != "x" || *o.ServerSelectionTimeout != 7*time.Millisecond ||
		*o.ConnectTimeout != 8*time.Millisecond || *o.MaxConnIdleTime != 9*time.Millisecond || *o.MaxPoolSize != 10 {
		t.Errorf("parse = %+v, %s, %v", o, database, err)
	}
}

// The database is the one given, else the path's, else the default.
func TestDatabase(t *testing.T) {
	for _, c := range []struct{ uri, database, want string }{
		{"mongodb://localhost/path", "named", "named"},
		{"mongodb://localhost/path", "", "path"},
		{"mongodb://localhost/", "", "retrieverkeys"},
		{"mongodb://localhost", "a.b", ""},
		{"mongodb://localhost/a%20b", "", ""},
		{"mongodb://localhost", strings.Repeat("a", 64), ""},
	} {
		s, err := Open(c.uri, c.database, nil)
		if (err == nil) != (c.want != "") || err == nil && s.primary.Name() != c.want {
			t.Errorf("Open(%q, %q): %v", c.uri, c.database, err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
}

// Without this warning, nobody would notice a mistyped option.
func TestUnknownOption(t *testing.T) {
	var log bytes.Buffer
	s, err := open("mongodb://localhost/?maxPoolSze=s3cr3t", "", slog.New(slog.NewTextHandler(&log, nil)), func(*options.ClientOptions) {})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "maxpoolsze") || strings.Contains(got, "s3cr3t") {
		t.Errorf("logged %q", got)
	}
}
